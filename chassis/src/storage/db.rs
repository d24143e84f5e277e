//! The database of one service: one connection that writes, a pool that reads.

use crate::base::config::DatabaseUrl;
use crate::base::outage::Outage;
use crate::base::patience;
use crate::base::unavailable::Unavailable;
use crate::storage::connection::Role;
use crate::storage::dialect::Dialect;
use crate::storage::fault::{self, causes, is_at_fault, is_database_fault, vanished};
use crate::storage::pool::{Connection, Pool, READ_TIMEOUT};
use crate::storage::running_time::{self, RunningTime};
use crate::storage::schema::Schema;
use crate::storage::target::Target;
use crate::storage::tx::Tx;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Connection as _, Executor};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};

/// The writer's connection, and one to ask whether its commit was lost.
const WRITERS: u32 = 2;
/// Reading connections. On two cores more of them only queue in the database instead of here.
const READERS: u32 = 8;
/// How long a connection may take to be made at the start.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one waits before the database is tried again at the start.
const RETRY: Duration = Duration::from_secs(1);

/// The database of one service: one connection that writes, a pool that reads.
#[derive(Clone, Debug)]
pub struct Db {
    target: Arc<Target>,
    writer: Pool,
    readers: Pool,
    ready: Arc<watch::Sender<bool>>,
    running_time: RunningTime,
    outages: Arc<Outages>,
}

#[derive(Debug)]
struct Outages {
    connects: Outage,
    reads: Outage,
    writes: Outage,
}

impl Db {
    /// Opens the database.
    ///
    /// A SQLite file is made, locked, migrated and written to here, and an error means that it cannot be used. Postgres
    /// may be away: call [`Db::migrate`], which tries until it is there.
    pub async fn open(url: &DatabaseUrl, schema: &Schema) -> anyhow::Result<Self> {
        let target = Arc::new(Target::open(url)?);
        let outages = Outages {
            connects: Outage::new(format!("attempts to use {target}")),
            reads: Outage::new(format!("reads from {target}")),
            writes: Outage::new(format!("writes to {target}")),
        };
        let db = Self {
            writer: Pool::new(Arc::clone(&target), Role::Writer, WRITERS),
            readers: Pool::new(Arc::clone(&target), Role::Reader, READERS),
            target,
            ready: Arc::new(watch::Sender::new(false)),
            running_time: RunningTime::unknown(),
            outages: Arc::new(outages),
        };
        if db.dialect() == Dialect::Sqlite
            && let Err(error) = db.try_migrate(schema).await
        {
            db.close().await;
            return Err(error.context(db.target.to_string()));
        }
        Ok(db)
    }

    /// Brings the tables up to date, and tries until the database is there.
    ///
    /// Safe when several replicas start at once: sqlx takes an advisory lock.
    pub async fn migrate(&self, schema: &Schema) {
        while !self.is_ready() {
            match self.try_migrate(schema).await {
                Ok(()) => self.outages.connects.works(),
                Err(error) => {
                    self.outages.connects.failed(&causes(&error));
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn try_migrate(&self, schema: &Schema) -> anyhow::Result<()> {
        let migrator = schema.migrator(self.dialect());
        let connecting = timeout(CONNECT, self.target.connect_to_migrate()).await;
        let mut connection = connecting.unwrap_or_else(|_| Err(vanished().into()))?;
        let mut migrated = migrator.run_direct(None, &mut connection, false).await;
        if migrated.is_ok() && self.dialect() == Dialect::Sqlite {
            // A file that can only be read is opened all the same. The version is nobody's, and writing it is a write.
            migrated =
                connection.execute("pragma user_version = 0").await.map(|_| ()).map_err(Into::into);
        }
        if migrated.is_ok() && schema.has_those_of_chassis() {
            // Known before the first batch.
            let read = connection.fetch_one(running_time::SELECT).await;
            migrated =
                read.and_then(|row| self.running_time.take(&row).map(drop)).map_err(Into::into);
        }
        // Where it fails, sqlx leaves its lock to the connection, and all others would wait for it.
        let _ = connection.close().await;
        migrated?;
        self.ready.send_replace(true);
        info!(database = %self.target, "the database is ready");
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

    /// Reads rows within [`READ_TIMEOUT`] or not at all; what a request reads last has what those before it left, once its
    /// patience is over. A read never waits for the writer. A statement that takes longer, or whose caller is dropped, ends
    /// on the database too, and its connection is given back then.
    ///
    /// # Errors
    /// [`sqlx::Error::PoolTimedOut`] when no connection was free within the patience of the request: the service is
    /// overloaded, and the database is not at fault.
    pub async fn fetch_all(
        &self,
        query: Query<'_, Any, AnyArguments>,
    ) -> sqlx::Result<Vec<AnyRow>> {
        let read = async {
            let mut connection = self.readers.take().await?;
            let rows = connection.fetch_all(query).await?;
            self.readers.keep(connection);
            Ok(rows)
        };
        let until = patience::until().min(Instant::now()) + READ_TIMEOUT;
        let read = timeout_at(until, read).await.unwrap_or_else(|_| Err(vanished()));
        match &read {
            Err(sqlx::Error::PoolTimedOut) => {}
            Err(error) if is_database_fault(error) => {
                self.outages.reads.failed(&error.to_string());
            }
            _ => self.outages.reads.works(),
        }
        read
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
        self.target.dialect()
    }

    /// The end of a `select` whose rows this transaction will change. Lock rows in order.
    pub fn for_update(&self) -> &'static str {
        match self.dialect() {
            Dialect::Sqlite => "",
            Dialect::Postgres => " for update",
        }
    }

    /// Starts a transaction that may write, for tests and what fills tables. A service has its writer.
    pub async fn begin(&self) -> sqlx::Result<Tx<'static>> {
        Tx::own(self.writer.take().await?, self.begin_write()).await
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
        connection.begin_with(self.begin_write()).await.map(Tx::of)
    }

    /// Returns the minutes that the service has run, as far as this process knows. Rows are stamped with what the database
    /// knows: see [`crate::storage::rows::insert_stamped`].
    pub(crate) fn minute(&self) -> i64 {
        self.running_time.minutes()
    }

    /// Reads the minutes that the service has run, so that this process knows what others counted.
    pub(crate) async fn read_running_time(&self) -> sqlx::Result<i64> {
        self.running_time.take(&self.fetch_one(sqlx::query(running_time::SELECT)).await?)
    }

    /// SQLite takes its write lock at the beginning rather than at the first write, where a reader that
    /// turns writer would fail as busy instead of waiting.
    fn begin_write(&self) -> &'static str {
        match self.dialect() {
            Dialect::Sqlite => "begin immediate",
            Dialect::Postgres => "begin",
        }
    }

    /// Connections of the reading pool: all, and those that do nothing.
    pub fn readers_in_pool(&self) -> (u32, usize) {
        self.readers.size()
    }

    /// Notes how a write went, and logs the cause once where it is the database's fault.
    pub(crate) fn wrote<T>(&self, outcome: &anyhow::Result<T>) {
        match outcome {
            Err(error) if is_at_fault(error) && !fault::is_conflict(error) => {
                self.outages.writes.failed(&causes(error));
            }
            Err(_) => {}
            Ok(_) => self.outages.writes.works(),
        }
    }

    /// Closes all connections, waits for those in use, and lets other processes have the file.
    pub async fn close(&self) {
        tokio::join!(self.readers.close(), self.writer.close());
        self.target.unlock();
    }
}

/// Logs why a worker could not do its work. What the database is at fault for is logged once by [`Db`], and here at DEBUG.
pub fn log_failure(error: &anyhow::Error, what: &'static str) {
    let cause = causes(error);
    if is_at_fault(error) || error.is::<Unavailable>() {
        debug!(error = cause, "{what}");
    } else {
        warn!(error = cause, "{what}");
    }
}

#[cfg(test)]
mod tests;
