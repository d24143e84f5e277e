//! Where a database is, and how a connection to it is made.

use crate::base::config::DatabaseUrl;
use crate::storage::connection::{Inner, Role};
use crate::storage::dialect::Dialect;
use crate::storage::file::SqliteFile;
use crate::storage::pooler;
use sqlx::any::{AnyConnectOptions, install_default_drivers};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions, Connection as _, Executor};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long SQLite waits for a lock of another process, such as a backup.
const LOCKED: Duration = Duration::from_secs(5);
/// The same at the start, which has to say at once what is wrong.
const LOCKED_AT_START: Duration = Duration::from_secs(1);
/// Instructions of SQLite between two looks at whether a statement is still wanted: some 0.1 ms.
const LOOK: i32 = 10_000;
/// A process that was stopped in the middle of a transaction must not hold its row locks for longer than
/// this, nor may a lock or a statement keep the one writer for ever.
///
/// And all statements look rows up by key. Of a table that grew within minutes Postgres knows too little to see that
/// an index is better: it compared 75,000 marks with each of 500 ids, for a second. To compile a plan takes longer than to
/// run it.
const SETTINGS: &str = "set idle_in_transaction_session_timeout = '3s'; set lock_timeout = '5s'; \
                        set enable_seqscan = off; set jit = off";
/// How long a statement of a transaction may take on Postgres.
const STATEMENT: Duration = Duration::from_secs(10);
/// The same of a read: Postgres ends it before its reader gives it up, so that none outlives its reader.
const READ_STATEMENT: Duration = Duration::from_millis(1_500);

/// One database.
pub(super) enum Target {
    Sqlite { file: SqliteFile, url: AnyConnectOptions },
    Postgres { url: AnyConnectOptions, name: String },
}

impl Target {
    /// Looks at the URL. A SQLite file is made and locked; Postgres is not asked yet.
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

    /// A new connection.
    pub(super) async fn connect(&self, role: Role) -> sqlx::Result<Inner> {
        match self {
            Self::Sqlite { file, .. } if role == Role::Reader => {
                let options = SqliteConnectOptions::new().filename(file.path());
                let mut connection = options.connect().await?;
                connection.execute(AssertSqlSafe(pragmas(LOCKED))).await?;
                let unwanted = Arc::new(AtomicBool::new(false));
                let looks = Arc::clone(&unwanted);
                let mut handle = connection.lock_handle().await?;
                handle.set_progress_handler(LOOK, move || !looks.load(Ordering::Relaxed));
                drop(handle);
                Ok(Inner::Interruptible(connection, unwanted))
            }
            Self::Sqlite { url, .. } => sqlite_writer(url, LOCKED).await.map(Inner::Any),
            Self::Postgres { url, .. } => {
                let mut connection = AnyConnection::connect_with(url).await?;
                let statement = if role == Role::Reader { READ_STATEMENT } else { STATEMENT };
                let settings =
                    format!("{SETTINGS}; set statement_timeout = {}", statement.as_millis());
                connection.execute(AssertSqlSafe(settings)).await?;
                Ok(Inner::Any(connection))
            }
        }
    }

    /// A connection to bring the tables up to date with. Fails where a pooler is in between that cannot be worked with.
    pub(super) async fn connect_to_migrate(&self) -> anyhow::Result<AnyConnection> {
        match self {
            Self::Sqlite { url, .. } => Ok(sqlite_writer(url, LOCKED_AT_START).await?),
            Self::Postgres { url, .. } => {
                pooler::refuse(url).await?;
                // Without time-outs: another replica's turn, or a large table, may take as long as it takes.
                Ok(AnyConnection::connect_with(url).await?)
            }
        }
    }

    /// Lets other processes have it.
    pub(super) fn unlock(&self) {
        if let Self::Sqlite { file, .. } = self {
            file.unlock();
        }
    }
}

/// The file, or the server and the database on it. Without the user and the password.
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

async fn sqlite_writer(url: &AnyConnectOptions, busy: Duration) -> sqlx::Result<AnyConnection> {
    let mut connection = AnyConnection::connect_with(url).await?;
    connection.execute(AssertSqlSafe(pragmas(busy))).await?;
    Ok(connection)
}

fn pragmas(busy: Duration) -> String {
    format!(
        "pragma busy_timeout = {}; pragma journal_mode = wal; pragma synchronous = full; \
         pragma foreign_keys = on",
        busy.as_millis()
    )
}
