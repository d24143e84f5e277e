//! An open connection, and its role.

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

/// An open connection of sqlx.
#[derive(Debug)]
pub(super) enum RawConnection {
    /// With the statements that are prepared on it.
    Any(AnyConnection, Prepared),
    /// A connection to SQLite. Setting the flag interrupts its running statement.
    Interruptible(SqliteConnection, Arc<AtomicBool>),
}

impl RawConnection {
    pub(super) async fn ping(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Any(connection, _) => connection.ping().await,
            Self::Interruptible(connection, _) => connection.ping().await,
        }
    }

    pub(super) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::Any(connection, _) => connection.close().await,
            Self::Interruptible(connection, _) => connection.close().await,
        }
    }
}
