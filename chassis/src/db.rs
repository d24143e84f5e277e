//! The databases: SQLite and Postgres behind one text of SQL.
//!
//! Columns are `text` and `bigint` (instants are epoch milliseconds), placeholders are `$1`, and
//! whatever differs is in this file.

mod pool;
mod schema;
mod tx;

pub use crate::clock::now;
pub(crate) use pool::Connection;
pub use schema::Schema;
pub use tx::{Statement, Tx};

use crate::config::DatabaseUrl;
use crate::running_time::RunningTime;
use pool::{ACQUIRE, Pool};
use sqlx::any::{AnyArguments, AnyConnectOptions, AnyPoolOptions, AnyRow, install_default_drivers};
use sqlx::query::Query;
use sqlx::{Any, Connection as _, Executor};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

/// How long a read may take before it is refused with 503; whoever asks gives up after 3 s. A server that vanished
/// says nothing, and TCP does not find out while one only waits.
const READ: Duration = Duration::from_millis(2_500);
/// The writer's connection, and one to ask whether its commit was lost.
const WRITERS: u32 = 2;
/// Reading connections. On two cores more of them only queue in the database instead of here.
const READERS: u32 = 8;
/// A process that was stopped in the middle of a transaction must not hold its row locks for longer than
/// this, nor may a lock or a statement keep the one writer for ever.
///
/// And all statements look rows up by key. Of a table that grew within minutes Postgres knows too little to see that
/// an index is better: it compared 75,000 marks with each of 500 ids, for a second. To compile a plan takes longer than to
/// run it.
const SETTINGS: &str = "set idle_in_transaction_session_timeout = '3s'; set lock_timeout = '5s'; \
                        set statement_timeout = '10s'; set enable_seqscan = off; set jit = off";

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one process.
    Sqlite,
    /// Postgres 15 or newer, any number of processes.
    Postgres,
}

impl Dialect {
    /// The one of a transaction.
    pub fn of(tx: &Tx<'_>) -> Self {
        if tx.backend_name() == "SQLite" { Self::Sqlite } else { Self::Postgres }
    }

    /// The text of tables, with the types that differ written as this database wants them.
    pub fn expand(self, sql: &str) -> String {
        let (identity, id, bytes) = match self {
            Self::Sqlite => ("integer primary key autoincrement", "integer primary key", "blob"),
            Self::Postgres => {
                ("bigint generated always as identity primary key", "bigint primary key", "bytea")
            }
        };
        sql.replace("{identity}", identity).replace("{id}", id).replace("{bytes}", bytes)
    }
}

/// The database of one service: one connection that writes, a pool that reads.
#[derive(Clone, Debug)]
pub struct Db {
    dialect: Dialect,
    writer: Pool,
    readers: Pool,
    ready: Arc<watch::Sender<bool>>,
    running_time: RunningTime,
}

impl Db {
    /// Opens the database.
    ///
    /// A SQLite file is made and migrated here, and an error means that it cannot be used. Postgres
    /// may be away: call [`Db::migrate`], which tries until it is there.
    pub async fn open(url: &DatabaseUrl, schema: &Schema) -> anyhow::Result<Self> {
        install_default_drivers();
        let (dialect, url) = match url.sqlite_path() {
            Some(path) => {
                if let Some(folder) = Path::new(path).parent() {
                    tokio::fs::create_dir_all(folder).await?;
                }
                (Dialect::Sqlite, format!("sqlite:{path}?mode=rwc"))
            }
            None => (Dialect::Postgres, url.as_str().to_owned()),
        };
        let options: AnyConnectOptions = url.parse()?;
        let pool = |connections| {
            let pool = AnyPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE);
            let pool = pool.after_connect(move |connection, _| {
                Box::pin(async move {
                    connection
                        .execute(match dialect {
                            Dialect::Sqlite => {
                                "pragma busy_timeout = 5000; pragma journal_mode = wal; \
                                     pragma synchronous = full; pragma foreign_keys = on"
                            }
                            Dialect::Postgres => SETTINGS,
                        })
                        .await
                        .map(|_| ())
                })
            });
            pool.connect_lazy_with(options.clone())
        };
        let db = Self {
            dialect,
            writer: Pool::new(pool(WRITERS), dialect),
            readers: Pool::new(pool(READERS), dialect),
            ready: Arc::new(watch::Sender::new(false)),
            running_time: RunningTime::unknown(),
        };
        if dialect == Dialect::Sqlite {
            db.try_migrate(schema).await?;
        }
        Ok(db)
    }

    /// Brings the tables up to date, and tries until the database is there.
    ///
    /// Safe when several replicas start at once: sqlx takes an advisory lock.
    pub async fn migrate(&self, schema: &Schema) {
        let mut said = String::new();
        while !self.is_ready() {
            let Err(error) = self.try_migrate(schema).await else { return };
            let error = format!("{error:#}");
            if error != said {
                warn!(error, "the database cannot be used yet; trying again every second");
                said = error;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn try_migrate(&self, schema: &Schema) -> anyhow::Result<()> {
        let migrator = schema.migrator(self.dialect);
        let mut connection = self.writer.all.acquire().await?;
        if self.dialect == Dialect::Postgres {
            // Another replica's turn, or a large table, may take as long as it takes.
            connection.execute("set lock_timeout = 0; set statement_timeout = 0").await?;
        }
        let mut migrated = migrator.run_direct(None, &mut *connection, false).await;
        if migrated.is_ok() {
            // Known before the first row is stamped with it.
            let read = self.running_time.read(&mut connection).await;
            migrated = read.map(drop).map_err(Into::into);
        }
        if self.dialect == Dialect::Postgres {
            // Where it fails, sqlx leaves its lock to the connection, and all others would wait for it.
            let _ = connection.close().await;
        }
        migrated?;
        self.ready.send_replace(true);
        info!(dialect = ?self.dialect, "the database is ready");
        Ok(())
    }

    /// Waits until the tables are there.
    pub async fn ready(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Whether the tables are there.
    pub(crate) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Whether the tables are there and the database answers a read.
    pub async fn answers(&self) -> bool {
        self.is_ready() && self.fetch_all(sqlx::query("select 1")).await.is_ok()
    }

    /// Reads rows, in 2.5 s or not at all. A read never waits for the writer.
    pub async fn fetch_all(
        &self,
        query: Query<'_, Any, AnyArguments>,
    ) -> sqlx::Result<Vec<AnyRow>> {
        let read = async {
            let mut connection = self.readers.take().await?;
            let rows = query.fetch_all(&mut *connection).await?;
            self.readers.keep(connection);
            Ok(rows)
        };
        timeout(READ, read).await.unwrap_or_else(|_| Err(vanished()))
    }

    /// The row of a query that finds one or none.
    pub async fn fetch_optional(
        &self,
        query: Query<'_, Any, AnyArguments>,
    ) -> sqlx::Result<Option<AnyRow>> {
        Ok(self.fetch_all(query).await?.pop())
    }

    /// The row of a query that always finds one.
    pub async fn fetch_one(&self, query: Query<'_, Any, AnyArguments>) -> sqlx::Result<AnyRow> {
        self.fetch_optional(query).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The end of a `select` whose rows this transaction will change. Lock rows in order.
    pub fn for_update(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => "",
            Dialect::Postgres => " for update",
        }
    }

    /// Starts a transaction that may write, for tests and what fills tables. A service has its writer.
    pub async fn begin(&self) -> sqlx::Result<Tx<'static>> {
        let tx = self.writer.all.begin_with(self.begin_write()).await?;
        Ok(Tx::new(tx).at(self.minute()))
    }

    /// A connection for the writer. Once its transaction is committed, [`Db::keep`] has it.
    pub(crate) async fn connection(&self) -> sqlx::Result<Connection> {
        self.writer.take().await
    }

    /// Takes one back on which nothing failed.
    pub(crate) fn keep(&self, connection: Connection) {
        self.writer.keep(connection);
    }

    /// Starts a transaction on a connection of [`Db::connection`].
    pub(crate) async fn begin_on<'c>(
        &self,
        connection: &'c mut Connection,
    ) -> sqlx::Result<Tx<'c>> {
        let tx = connection.begin_with(self.begin_write()).await?;
        Ok(Tx::new(tx).at(self.minute()))
    }

    /// Returns the minutes that the service has run, as far as this process knows: the age of rows.
    pub(crate) fn minute(&self) -> i64 {
        self.running_time.minutes()
    }

    /// Reads the minutes that the service has run, so that this process knows what others counted.
    pub(crate) async fn read_running_time(&self) -> sqlx::Result<i64> {
        let read = async {
            let mut connection = self.readers.take().await?;
            let minutes = self.running_time.read(&mut connection).await?;
            self.readers.keep(connection);
            Ok(minutes)
        };
        timeout(READ, read).await.unwrap_or_else(|_| Err(vanished()))
    }

    /// SQLite takes its write lock at the beginning rather than at the first write, where a reader that
    /// turns writer would fail as busy instead of waiting.
    fn begin_write(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => "begin immediate",
            Dialect::Postgres => "begin",
        }
    }

    /// Connections of the reading pool: all, and those that do nothing.
    pub fn readers_in_pool(&self) -> (u32, usize) {
        self.readers.size()
    }

    /// Closes all connections, and waits for those in use.
    pub async fn close(&self) {
        tokio::join!(self.readers.close(), self.writer.close());
    }
}

/// Whether it is the database that fails, and not what it was asked to write: it is away or full, or its tables are not
/// those that this version of the service knows.
pub(crate) fn is_at_fault(dialect: Dialect, error: &anyhow::Error) -> bool {
    /// Classes of SQLSTATE: <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
    const CLASSES: [&str; 11] = ["08", "0A", "25", "26", "40", "42", "53", "55", "57", "58", "XX"];
    use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, WorkerCrashed};
    match error.downcast_ref() {
        Some(Io(_) | PoolTimedOut | PoolClosed | WorkerCrashed) => true,
        // SQLite has one code for most of it; nobody else changes its tables, and a full disk shows in any write.
        Some(Database(error)) if dialect == Dialect::Postgres => {
            error.code().is_some_and(|code| CLASSES.iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

pub(crate) fn vanished() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the database does not answer").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDb;

    #[tokio::test]
    async fn a_replica_that_cannot_migrate_keeps_no_other_from_it() {
        let Some(test) = TestDb::postgres().await else {
            eprintln!("skipped: TEST_DATABASE_URL is unset");
            return;
        };
        let newer = Schema::new(&[(1001, "newer", "create table newer (id bigint)")]);
        test.open(&newer).await;
        let older = Schema::new(&[]);
        let of_before = Db::open(&test.url, &older).await.unwrap();
        assert!(of_before.try_migrate(&older).await.is_err(), "it does not know the tables");
        let opened = timeout(Duration::from_secs(5), test.open(&newer)).await;
        opened.expect("the lock is free");
        drop(of_before);
    }
}
