//! The key of the issuer, in `issuer/key.pk8` of the data directory.

use anyhow::Context;
use chassis::auth::{Algorithm, SigningKey};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use uuid::Uuid;

/// Returns the key of the issuer in `data_dir`, which is made if it is missing. Nobody but the owner of the file can read it.
pub(crate) fn signing_key(data_dir: &Path) -> anyhow::Result<SigningKey> {
    let dir = data_dir.join("issuer");
    let file = dir.join("key.pk8");
    let at = || format!("the key of the issuer in {}", file.display());
    fs::create_dir_all(&dir).with_context(at)?;
    if let Some(key) = read(&file).with_context(at)? {
        return Ok(key);
    }
    // Written under another name first: nobody sees half a key. Whoever links first decides.
    let made = SigningKey::generate("dev", Algorithm::ES256)?;
    let draft = dir.join(Uuid::new_v4().to_string());
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let written = written.and_then(|mut draft| {
        draft.write_all(made.pkcs8())?;
        draft.sync_all()
    });
    let linked = written.and_then(|()| fs::hard_link(&draft, &file));
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(at),
        _ => read(&file).with_context(at)?.with_context(at),
    }
}

/// Reads a key, whose id is a part of its public half.
fn read(file: &Path) -> anyhow::Result<Option<SigningKey>> {
    let private = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let key = |id: &str| SigningKey::from_pkcs8(id, Algorithm::ES256, &private);
    let public = key("")?.jwk()["x"].to_string();
    let id: String = public.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    Ok(Some(key(&format!("dev-{id}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_nobody_else_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let keys = std::thread::scope(|scope| {
            let open = || scope.spawn(|| signing_key(dir.path()).unwrap().jwk().clone());
            let all: Vec<_> = (0..8).map(|_| open()).collect();
            all.into_iter().map(|key| key.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        let files: Vec<_> = fs::read_dir(dir.path().join("issuer")).unwrap().collect();
        assert_eq!(files.len(), 1);
        let mode = files[0].as_ref().unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("issuer")).unwrap();
        fs::write(dir.path().join("issuer/key.pk8"), "x").unwrap();
        let error = format!("{:#}", signing_key(dir.path()).unwrap_err());
        assert!(error.contains("key.pk8") && error.contains("no key"), "{error}");
    }
}
