//! The databases: SQLite and Postgres behind one text of SQL.
//!
//! Columns are `text` and `bigint` (instants are epoch milliseconds), placeholders are `$1`, and
//! whatever differs is in this file.

mod tx;

pub use tx::{Statement, Tx};

use crate::config::DatabaseUrl;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, AssertSqlSafe, Connection, Executor, SqlSafeStr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{info, warn};

/// How long a read waits for a connection before it is refused with 503.
const ACQUIRE: Duration = Duration::from_secs(1);
/// The writer's connection, and one for migrations and tests.
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

/// The tables of a service: numbered texts, run in order, each once.
///
/// In a text, `{identity}` becomes the type of a primary key that the database counts up, `{id}` that
/// of a primary key that the service counts up, and `{bytes}` that of bytes. Chassis takes the
/// versions up to 999.
#[derive(Clone, Debug)]
pub struct Schema(Vec<Step>);

#[derive(Clone, Copy, Debug)]
struct Step {
    version: i64,
    description: &'static str,
    sql: &'static str,
    /// The database that it is for; none for both.
    only: Option<Dialect>,
}

impl Schema {
    /// The tables of chassis and, after them, `own`: version, description, SQL.
    pub fn new(own: &[(i64, &'static str, &'static str)]) -> Self {
        let schema = Self(Vec::new())
            .and(&[
                (1, "mailbox", include_str!("../migrations/0001_mailbox.sql")),
                (2, "retention", include_str!("../migrations/0002_retention.sql")),
                (3, "outbox batches", include_str!("../migrations/0003_outbox_batches.sql")),
            ])
            .on_sqlite(&[(4, "clustered", include_str!("../migrations/0004_clustered.sql"))]);
        schema.and(own)
    }

    /// More of them, for both databases.
    fn and(self, steps: &[(i64, &'static str, &'static str)]) -> Self {
        self.with(steps, None)
    }

    /// More of them, for SQLite only: how its rows are laid down is for a table to say.
    pub fn on_sqlite(self, steps: &[(i64, &'static str, &'static str)]) -> Self {
        self.with(steps, Some(Dialect::Sqlite))
    }

    fn with(mut self, steps: &[(i64, &'static str, &'static str)], only: Option<Dialect>) -> Self {
        let step = |&(version, description, sql)| Step { version, description, sql, only };
        self.0.extend(steps.iter().map(step));
        self
    }

    fn migrator(&self, dialect: Dialect) -> Migrator {
        let migration = |&Step { version, description, sql, .. }: &Step| {
            let sql = AssertSqlSafe(dialect.expand(sql)).into_sql_str();
            Migration::new(version, description.into(), MigrationType::Simple, sql, false)
        };
        let ours = self.0.iter().filter(|step| step.only.is_none_or(|only| only == dialect));
        let mut migrations: Vec<Migration> = ours.map(migration).collect();
        migrations.sort_by_key(|migration| migration.version);
        Migrator::with_migrations(migrations)
    }
}

/// The database of one service: one connection that writes, a pool that reads.
#[derive(Clone, Debug)]
pub struct Db {
    dialect: Dialect,
    writer: AnyPool,
    readers: AnyPool,
    ready: Arc<watch::Sender<bool>>,
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
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE)
                // A server may have gone meanwhile; a file has not.
                .test_before_acquire(dialect == Dialect::Postgres)
                .after_connect(move |connection, _| {
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
                })
                .connect_lazy_with(options.clone())
        };
        let db = Self {
            dialect,
            writer: pool(WRITERS),
            readers: pool(READERS),
            ready: Arc::new(watch::Sender::new(false)),
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
        let mut connection = self.writer.acquire().await?;
        if self.dialect == Dialect::Postgres {
            // Another replica's turn, or a large table, may take as long as it takes.
            connection.execute("set lock_timeout = 0; set statement_timeout = 0").await?;
        }
        let migrated = migrator.run_direct(None, &mut *connection, false).await;
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
        self.is_ready() && sqlx::query("select 1").execute(&self.readers).await.is_ok()
    }

    /// Where reads go. They never wait for the writer.
    pub fn reader(&self) -> &AnyPool {
        &self.readers
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

    /// Starts a transaction that may write. Only the service's writer does this, and tests.
    pub async fn begin(&self) -> sqlx::Result<Tx<'static>> {
        self.writer.begin_with(self.begin_write()).await.map(Tx::new)
    }

    /// A connection for the writer to keep: one that goes back to the pool after each transaction comes back only when
    /// the runtime has time for that, which under load took milliseconds.
    pub(crate) async fn connect(&self) -> sqlx::Result<PoolConnection<Any>> {
        self.writer.acquire().await
    }

    /// Starts a transaction on a connection of [`Db::connect`].
    pub(crate) async fn begin_on<'c>(
        &self,
        connection: &'c mut PoolConnection<Any>,
    ) -> sqlx::Result<Tx<'c>> {
        connection.begin_with(self.begin_write()).await.map(Tx::new)
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
        (self.readers.size(), self.readers.num_idle())
    }

    /// Closes all connections, and waits for those in use.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Milliseconds since 1970, now.
pub fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDb;
    use tokio::time::timeout;

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
