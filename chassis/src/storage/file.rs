//! The file of a SQLite database, and a lock that keeps other processes out.

use anyhow::{Context, bail};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// A file that only this process has open.
#[derive(Debug)]
pub(super) struct SqliteFile {
    path: PathBuf,
    lock: File,
}

impl SqliteFile {
    /// Creates the file and its directory if they are missing, and locks the file. Fails if another process has it, if it
    /// cannot be written, or if its path is not UTF-8.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        // Close it before SQLite opens it: closing any descriptor of a file releases all POSIX locks of the process on it.
        drop(file.with_context(|| shown.to_string())?);
        // One name for all paths to the file, links included.
        let path = path.canonicalize().with_context(|| shown.to_string())?;
        if path.to_str().is_none() {
            bail!("{}: the path has to be UTF-8", path.display());
        }
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock = File::create(&lock_path).with_context(|| lock_path.display().to_string())?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, lock }),
            Err(TryLockError::WouldBlock) => bail!("{shown} is in use by another process"),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| lock_path.display().to_string())
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the URL of the file for sqlx. All bytes but letters and digits are escaped, since sqlx would read `%`, `?` and
    /// `..` in a path as something else.
    pub(super) fn url(&self) -> String {
        let mut url = "sqlite:".to_owned();
        for byte in self.path.as_os_str().as_encoded_bytes() {
            if byte.is_ascii_alphanumeric() {
                url.push(char::from(*byte));
            } else {
                let _ = write!(url, "%{byte:02X}");
            }
        }
        url.push_str("?mode=rw"); // a file that was removed is not created again, empty
        url
    }

    /// Unlocks the file. Explicitly, and not by closing it: a child that was just forked shares our file descriptors until
    /// exec and would keep the lock.
    pub(super) fn unlock(&self) {
        let _ = self.lock.unlock();
    }
}
