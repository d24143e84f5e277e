//! Settings from files: `NAME_FILE` is the path of a file that holds the value of the setting `NAME`.
//!
//! So a secret is neither in an environment, which other programs of the user can read, nor in a list of processes.

use clap::{Arg, Command};
use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Upper bound for the length of a value.
const VALUE_BYTES_MAX: u64 = 64 * 1024;

/// What `--help` says of it.
pub(super) const HELP: &str = "Each setting that is not a path itself can come from a file: its variable with _FILE at the end, \
     as DATABASE_URL_FILE, names that file.";

/// The arguments of a process, with what is in files.
pub(super) struct Arguments {
    /// The command, which shows no value that came from a file.
    pub(super) command: Command,
    /// The name of the program, a flag for each setting from a file, and the arguments of the caller.
    pub(super) all: Vec<OsString>,
}

/// Returns the arguments of a process that was called with `given`. `variable` returns the value of an environment variable.
///
/// # Errors
/// One line that names the variable whose file cannot be used.
pub(super) fn arguments(
    command: Command,
    given: &[OsString],
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Arguments, String> {
    let (mut flags, mut from_files) = (Vec::new(), Vec::new());
    for setting in command.get_arguments() {
        let (Some(name), Some(long)) =
            (setting.get_env().and_then(OsStr::to_str), setting.get_long())
        else {
            continue;
        };
        let of_file = format!("{name}_FILE");
        let Some(path) = variable(&of_file) else { continue };
        let flag = format!("--{long}");
        let refused = |why: String| Err(format!("{of_file} cannot be used: {why}"));
        if setting.get_value_parser().type_id() == TypeId::of::<PathBuf>() {
            return refused(format!("{name} is the path of a file itself: set {name} to it"));
        }
        let is_given = |one: &OsString| {
            let one = one.to_string_lossy();
            one.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        if variable(name).is_some() || given.iter().any(is_given) {
            return refused(format!("{name} is set too; set one of them"));
        }
        match read(Path::new(&path)) {
            Ok(value) => flags.push(OsString::from(format!("{flag}={value}"))),
            Err(why) => {
                let path = Path::new(&path).display();
                return refused(format!("{path}: {why}; it is a file with the value of {name}"));
            }
        }
        from_files.push(setting.get_id().clone());
    }
    let hide = |command: Command, id| command.mut_arg(id, |arg: Arg| arg.hide_env_values(true));
    let (program, rest) = given.split_at(given.len().min(1));
    Ok(Arguments {
        command: from_files.into_iter().fold(command, hide),
        all: [program, &flags, rest].concat(),
    })
}

/// Returns what is in a file, without the end of its last line.
fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut value = Vec::new();
    let read = file.take(VALUE_BYTES_MAX + 1).read_to_end(&mut value);
    if read.map_err(|error| error.to_string())? as u64 > VALUE_BYTES_MAX {
        return Err(format!("it is longer than {} KiB", VALUE_BYTES_MAX / 1024));
    }
    let mut value = String::from_utf8(value).map_err(|_| "it is not UTF-8")?;
    if value.ends_with('\n') {
        value.truncate(value.len() - 1 - usize::from(value.ends_with("\r\n")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::value_parser;
    use std::collections::BTreeMap;

    fn command() -> Command {
        let setting = |id: &'static str, long, env| Arg::new(id).long(long).env(env);
        Command::new("x")
            .arg(setting("some_secret", "some-secret", "SETTING_FILES_SECRET"))
            .arg(setting("plain", "plain", "SETTING_FILES_PLAIN").value_delimiter(','))
            .arg(setting("path", "path", "SETTING_FILES_PATH").value_parser(value_parser!(PathBuf)))
            .subcommand(Command::new("token").arg(Arg::new("role").long("role")))
    }

    /// Returns the arguments of a process with these variables.
    fn with(variables: &[(&str, &str)], given: &[&str]) -> Result<Arguments, String> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let given: Vec<OsString> = given.iter().map(OsString::from).collect();
        arguments(command(), &given, |name| variables.get(name).map(OsString::from))
    }

    #[test]
    fn the_value_of_a_setting_comes_from_its_file_without_the_end_of_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        for (content, value) in [
            ("hush", "hush"),
            ("hush\n", "hush"),
            ("hush\r\n", "hush"),
            (" hush \n\n", " hush \n"),
            ("\n", ""),
            ("", ""),
            ("-hush=,가", "-hush=,가"),
        ] {
            std::fs::write(&file, content).unwrap();
            let variables = [("SETTING_FILES_SECRET_FILE", file.to_str().unwrap())];
            let Arguments { command, all } = with(&variables, &["x", "token", "--role=a"]).unwrap();
            let found = command.try_get_matches_from(all).unwrap();
            assert_eq!(found.get_one::<String>("some_secret").unwrap(), value, "{content:?}");
            let (name, token) = found.subcommand().unwrap();
            assert_eq!((name, token.get_one::<String>("role").unwrap().as_str()), ("token", "a"));
        }
        std::fs::write(&file, "a,b\n").unwrap();
        let variables = [("SETTING_FILES_PLAIN_FILE", file.to_str().unwrap())];
        let Arguments { command, all } = with(&variables, &["x"]).unwrap();
        let setting = command.get_arguments().find(|one| one.get_id() == "plain").unwrap();
        assert!(setting.is_hide_env_values_set(), "an error would show what is in the file");
        let found = command.try_get_matches_from(all).unwrap();
        let values: Vec<&String> = found.get_many("plain").unwrap().collect();
        assert_eq!(values, ["a", "b"]);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_in_one_line_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (good, binary) = (file("good", b"hush"), file("binary", b"hush\xff"));
        let (long, folder) =
            (file("long", "x".repeat(65_537).as_bytes()), dir.path().to_str().unwrap());
        let secret = |path| ("SETTING_FILES_SECRET_FILE", path);
        let both = [secret(&*good), ("SETTING_FILES_SECRET", "")];
        for (variables, given, why) in [
            (&[secret("/no/such/file")][..], "x", "/no/such/file: No such file"),
            (&[secret("")], "x", "No such file"),
            (&[secret(folder)], "x", "directory"),
            (&[secret(&binary)], "x", "not UTF-8"),
            (&[secret(&long)], "x", "longer than 64 KiB"),
            (&both, "x", "SETTING_FILES_SECRET is set too"),
            (&[secret(&good)], "--some-secret", "is set too"),
            (&[secret(&good)], "--some-secret=1", "is set too"),
            (&[("SETTING_FILES_PATH_FILE", &*good)], "x", "set SETTING_FILES_PATH to it"),
        ] {
            let line = with(variables, &["x", given]).err().unwrap_or_else(|| panic!("{why}"));
            assert!(line.contains(why) && line.contains("_FILE cannot be used: "), "{line}");
            assert!(!line.contains('\n') && !line.contains("hush"), "{line}");
        }
        assert!(with(&[secret(&good)], &["x", "--some-secrets"]).is_ok());
    }
}
