//! An error of SQLite on the connection of a writer.

use sqlx::error::{DatabaseError, ErrorKind};
use std::borrow::Cow;
use std::error::Error;

/// SQLite returned an error. It reads like the one of sqlx for the same code.
#[derive(Debug, thiserror::Error)]
#[error("(code: {code}) {message}")]
pub(super) struct SqliteFailure {
    /// The extended result code: <https://www.sqlite.org/rescode.html>.
    pub(super) code: i32,
    message: String,
}

impl SqliteFailure {
    pub(super) fn new(code: i32, message: Option<String>) -> Self {
        let message = message.unwrap_or_else(|| rusqlite::ffi::code_to_str(code).to_owned());
        Self { code, message }
    }
}

impl DatabaseError for SqliteFailure {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        use rusqlite::ffi;
        match self.code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
                ErrorKind::UniqueViolation
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorKind::ForeignKeyViolation,
            ffi::SQLITE_CONSTRAINT_NOTNULL => ErrorKind::NotNullViolation,
            ffi::SQLITE_CONSTRAINT_CHECK => ErrorKind::CheckViolation,
            _ => ErrorKind::Other,
        }
    }
}
