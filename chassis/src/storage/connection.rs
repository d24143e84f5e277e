//! An open connection, and its role.

use crate::storage::dialect::Dialect;
use crate::storage::sqlite_writer::SqliteWriter;
use crate::storage::statement::Prepared;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AnyConnection, Connection as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

/// An open connection.
#[derive(Debug)]
pub(super) enum RawConnection {
    /// A connection to Postgres, with the statements that are prepared on it.
    Postgres(AnyConnection, Prepared),
    /// A connection to SQLite for reading. Setting the flag interrupts its running statement.
    SqliteReader(SqliteConnection, Arc<AtomicBool>),
    /// A connection to SQLite for writing, which blocks the thread.
    SqliteWriter(SqliteWriter),
}

impl RawConnection {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(..) => Dialect::Postgres,
            Self::SqliteReader(..) | Self::SqliteWriter(_) => Dialect::Sqlite,
        }
    }

    pub(super) async fn ping(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Postgres(connection, _) => connection.ping().await,
            Self::SqliteReader(connection, _) => connection.ping().await,
            Self::SqliteWriter(_) => Ok(()),
        }
    }

    pub(super) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::Postgres(connection, _) => connection.close().await,
            Self::SqliteReader(connection, _) => connection.close().await,
            Self::SqliteWriter(connection) => {
                // The last connection to a file moves the WAL into it.
                let _ = tokio::task::spawn_blocking(move || drop(connection)).await;
                Ok(())
            }
        }
    }
}
