//! An open connection, and what it is for.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AnyConnection, Connection as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Inner {
    Any(AnyConnection),
    /// One of SQLite whose statement is interrupted once the flag is set.
    Interruptible(SqliteConnection, Arc<AtomicBool>),
}

impl Inner {
    pub(super) async fn ping(&mut self) -> sqlx::Result<()> {
        match self {
            Self::Any(connection) => connection.ping().await,
            Self::Interruptible(connection, _) => connection.ping().await,
        }
    }

    pub(super) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::Any(connection) => connection.close().await,
            Self::Interruptible(connection, _) => connection.close().await,
        }
    }
}
