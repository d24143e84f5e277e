//! The file of a SQLite database: its path as it is written, and a lock that keeps other processes from it.

use anyhow::{Context, bail};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// A file that this process alone has open.
#[derive(Debug)]
pub(super) struct SqliteFile {
    path: PathBuf,
    lock: File,
}

impl SqliteFile {
    /// Makes the file and its directory where they are missing, and locks it. Fails where another process has it, where it
    /// cannot be written, and where its path is not UTF-8.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        // Closed before SQLite opens it: a file that is closed later takes SQLite's locks with it.
        drop(file.with_context(|| shown.to_string())?);
        // One name for all the ways to write it, links among them.
        let path = path.canonicalize().with_context(|| shown.to_string())?;
        if path.to_str().is_none() {
            bail!("{}: the path has to be UTF-8", path.display());
        }
        let mut of_lock = path.clone().into_os_string();
        of_lock.push(".lock");
        let lock = File::create(&of_lock).with_context(|| of_lock.display().to_string())?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, lock }),
            Err(TryLockError::WouldBlock) => bail!("{shown} is in use by another process"),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| of_lock.display().to_string())
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The URL by which sqlx finds the file. All but letters and digits is escaped, or sqlx would read a path with `%`, `?`
    /// or `..` in it as another one.
    pub(super) fn url(&self) -> String {
        let mut url = "sqlite:".to_owned();
        for byte in self.path.as_os_str().as_encoded_bytes() {
            if byte.is_ascii_alphanumeric() {
                url.push(char::from(*byte));
            } else {
                let _ = write!(url, "%{byte:02X}");
            }
        }
        url.push_str("?mode=rw"); // one that was removed is not made again, empty
        url
    }

    /// Lets other processes have it. Not left to the end of the file: a child that is just being started has our files open
    /// until it runs its own program.
    pub(super) fn unlock(&self) {
        let _ = self.lock.unlock();
    }
}
