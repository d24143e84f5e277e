//! The location of a database, and how to connect to it.

use crate::base::config::DatabaseUrl;
use crate::base::limits::{
    IDLE_TRANSACTION_TIMEOUT, LOCK_TIMEOUT, READ_STATEMENT_TIMEOUT, STATEMENT_TIMEOUT,
};
use crate::storage::connection::{RawConnection, Role};
use crate::storage::dialect::Dialect;
use crate::storage::file::SqliteFile;
use crate::storage::pooler;
use crate::storage::sqlite_writer::SqliteWriter;
use crate::storage::statement::Prepared;
use sqlx::any::{AnyConnectOptions, install_default_drivers};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions, Connection as _, Executor};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long SQLite waits for a lock of another process, such as a backup.
const SQLITE_LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The same at the start, where the user waits for the error.
const SQLITE_START_LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Instructions of SQLite between two checks whether a statement is interrupted: some 0.1 ms.
const INTERRUPT_CHECK_INSTRUCTIONS: i32 = 10_000;

/// One database.
pub(super) enum Target {
    Sqlite { file: SqliteFile, url: AnyConnectOptions },
    Postgres { url: AnyConnectOptions, name: String },
}

impl Target {
    /// Opens the database at `url`. Creates and locks a SQLite file; does not connect to Postgres yet.
    pub(super) fn open(url: &DatabaseUrl) -> anyhow::Result<Self> {
        install_default_drivers();
        if let Some(path) = url.sqlite_path() {
            let file = SqliteFile::open(path)?;
            let url = file.url().parse()?;
            return Ok(Self::Sqlite { file, url });
        }
        let options: PgConnectOptions = url.as_str().parse()?;
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let host = options.get_socket().map_or_else(
            || format!("{}:{}", options.get_host(), options.get_port()),
            |socket| socket.display().to_string(),
        );
        let name = format!("postgres {host}/{database}");
        Ok(Self::Postgres { url: url.as_str().parse()?, name })
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite { .. } => Dialect::Sqlite,
            Self::Postgres { .. } => Dialect::Postgres,
        }
    }

    /// Returns a new connection.
    pub(super) async fn connect(&self, role: Role) -> sqlx::Result<RawConnection> {
        match self {
            Self::Sqlite { file, .. } if role == Role::Reader => {
                let options = SqliteConnectOptions::new().filename(file.path());
                let mut connection = options.connect().await?;
                connection.execute(AssertSqlSafe(pragmas(SQLITE_LOCK_TIMEOUT))).await?;
                let interrupt = Arc::new(AtomicBool::new(false));
                let is_interrupted = Arc::clone(&interrupt);
                let mut handle = connection.lock_handle().await?;
                handle.set_progress_handler(INTERRUPT_CHECK_INSTRUCTIONS, move || {
                    !is_interrupted.load(Ordering::Relaxed)
                });
                drop(handle);
                Ok(RawConnection::SqliteReader(connection, interrupt))
            }
            Self::Sqlite { file, .. } => {
                let path = file.path().to_owned();
                let open = move || SqliteWriter::open(&path, &pragmas(SQLITE_LOCK_TIMEOUT));
                let opened = tokio::task::spawn_blocking(open).await;
                let opened =
                    opened.map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
                Ok(RawConnection::SqliteWriter(opened?))
            }
            Self::Postgres { url, .. } => {
                let mut url = url.clone();
                if role == Role::Writer {
                    url = url.disable_statement_logging(); // it would log values, and `Tx` logs without
                }
                let mut connection = AnyConnection::connect_with(&url).await?;
                connection.execute(AssertSqlSafe(session_settings(role))).await?;
                Ok(RawConnection::Postgres(connection, Prepared::default()))
            }
        }
    }

    /// Returns a connection for migrations. Fails if a pooler in transaction mode is in front of Postgres.
    pub(super) async fn connect_to_migrate(&self) -> anyhow::Result<AnyConnection> {
        match self {
            Self::Sqlite { url, .. } => {
                let mut connection = AnyConnection::connect_with(url).await?;
                let settings = pragmas(SQLITE_START_LOCK_TIMEOUT);
                connection.execute(AssertSqlSafe(settings)).await?;
                Ok(connection)
            }
            Self::Postgres { url, .. } => {
                pooler::refuse(url).await?;
                // Without timeouts: the migration of another replica, or of a large table, may take long.
                Ok(AnyConnection::connect_with(url).await?)
            }
        }
    }

    /// Unlocks a SQLite file for other processes.
    pub(super) fn unlock(&self) {
        if let Self::Sqlite { file, .. } = self {
            file.unlock();
        }
    }
}

/// Writes the file, or the server and the name of the database, without user and password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { file, .. } => file.path().display().fmt(f),
            Self::Postgres { name, .. } => f.write_str(name),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the statements that set up a session of Postgres.
///
/// All our statements find rows by key. Postgres knows too little of a table that grew within minutes to choose its index: it
/// compared 75,000 marks with each of 500 ids, for a second. Compiling a plan takes longer than running it. Postgres
/// compresses the events of the outbox: with its own method that took 5 % of its CPU. Not every build has lz4.
fn session_settings(role: Role) -> String {
    let statement = match role {
        Role::Reader => READ_STATEMENT_TIMEOUT,
        Role::Writer => STATEMENT_TIMEOUT,
    };
    format!(
        "set idle_in_transaction_session_timeout = {}; set lock_timeout = {}; \
         set statement_timeout = {}; set enable_seqscan = off; set jit = off; \
         set standard_conforming_strings = on; \
         select set_config(name, 'lz4', false) from pg_settings \
         where name = 'default_toast_compression' and 'lz4' = any(enumvals)",
        IDLE_TRANSACTION_TIMEOUT.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        statement.as_millis(),
    )
}

fn pragmas(lock_timeout: Duration) -> String {
    format!(
        "pragma busy_timeout = {}; pragma journal_mode = wal; pragma synchronous = full; \
         pragma foreign_keys = on",
        lock_timeout.as_millis()
    )
}
