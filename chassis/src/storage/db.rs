//! The database of a service: one connection that writes, and a pool that reads.

use crate::base::config::DatabaseUrl;
use crate::base::limits::READ_TIMEOUT;
use crate::base::outage::Outage;
use crate::base::patience;
use crate::base::unavailable::Unavailable;
use crate::storage::connection::Role;
use crate::storage::dialect::Dialect;
use crate::storage::fault::{self, causes, is_at_fault, is_database_fault, vanished};
use crate::storage::pool::{Connection, Pool};
use crate::storage::running_time;
use crate::storage::schema::Schema;
use crate::storage::statement::Statement;
use crate::storage::target::Target;
use crate::storage::tx::Tx;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Connection as _, Executor, Row as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};

/// Connections for writing: the writer's, and one to find out whether a commit whose response was lost succeeded.
const WRITER_CONNECTIONS: u32 = 2;
/// Connections for reading. On two cores more of them only queue in the database instead of here.
const READER_CONNECTIONS: u32 = 8;
/// How long connecting may take at the start.
const START_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The database of a service: one connection that writes, and a pool that reads. Clones share it.
#[derive(Clone, Debug)]
pub struct Db(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    target: Arc<Target>,
    writer: Pool,
    readers: Pool,
    ready: watch::Sender<bool>,
    outages: Outages,
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
    /// Creates, locks, migrates and writes a SQLite file; an error means that it cannot be used. Postgres may be away: call
    /// [`Db::migrate`], which retries until it is there.
    pub async fn open(url: &DatabaseUrl, schema: &Schema) -> anyhow::Result<Self> {
        let target = Arc::new(Target::open(url)?);
        let outages = Outages {
            connects: Outage::new(format!("attempts to use {target}")),
            reads: Outage::new(format!("reads from {target}")),
            writes: Outage::new(format!("writes to {target}")),
        };
        let db = Self(Arc::new(Shared {
            writer: Pool::new(Arc::clone(&target), Role::Writer, WRITER_CONNECTIONS),
            readers: Pool::new(Arc::clone(&target), Role::Reader, READER_CONNECTIONS),
            target,
            ready: watch::Sender::new(false),
            outages,
        }));
        if db.dialect() == Dialect::Sqlite
            && let Err(error) = db.try_migrate(schema).await
        {
            db.close().await;
            return Err(error.context(db.0.target.to_string()));
        }
        Ok(db)
    }

    /// Migrates the tables, and retries until the database is there. Several replicas may call it at once: sqlx takes an
    /// advisory lock.
    pub async fn migrate(&self, schema: &Schema) {
        if !self.is_ready() {
            let migrate =
                || async { self.try_migrate(schema).await.map_err(|error| causes(&error)) };
            self.0.outages.connects.until_it_works(migrate).await;
        }
    }

    async fn try_migrate(&self, schema: &Schema) -> anyhow::Result<()> {
        let connecting = timeout(START_CONNECT_TIMEOUT, self.0.target.connect_to_migrate()).await;
        let mut connection = connecting.unwrap_or_else(|_| Err(vanished().into()))?;
        let mut migrated = schema.migrate(self.dialect(), &mut connection).await;
        if migrated.is_ok() && self.dialect() == Dialect::Sqlite {
            // A read-only file can be opened. Only a write shows it, such as that of `user_version`, which has no other use.
            migrated =
                connection.execute("pragma user_version = 0").await.map(|_| ()).map_err(Into::into);
        }
        // After a failure the connection still holds the lock of sqlx, and other replicas would wait for it.
        let _ = connection.close().await;
        migrated?;
        self.0.ready.send_replace(true);
        info!(database = %self.0.target, "the database is ready");
        Ok(())
    }

    /// Waits until the tables are migrated.
    pub async fn ready(&self) {
        // It cannot fail: `self` has the sender.
        let _ = self.0.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// True once the tables are migrated.
    pub(crate) fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// True if the tables are migrated and the database answers a query.
    pub async fn answers(&self) -> bool {
        self.is_ready() && self.fetch_all(sqlx::query("select 1")).await.is_ok()
    }

    /// Returns the rows of a query, which may take [`READ_TIMEOUT`]. Once the patience of a request is over, all its reads
    /// share that time. A read never waits for the writer. A statement that takes longer, or whose caller is dropped, is ended
    /// on the database too, and its connection becomes free then.
    ///
    /// # Errors
    /// Returns [`sqlx::Error::PoolTimedOut`] if no connection became free within the patience of the request: the service is
    /// overloaded, and the database is not at fault.
    pub async fn fetch_all(
        &self,
        query: Query<'_, Any, AnyArguments>,
    ) -> sqlx::Result<Vec<AnyRow>> {
        let read = async {
            let mut connection = self.0.readers.take().await?;
            let rows = connection.fetch_all(query).await?;
            self.0.readers.keep(connection);
            Ok(rows)
        };
        let until = patience::until().min(Instant::now()) + READ_TIMEOUT;
        let read = timeout_at(until, read).await.unwrap_or_else(|_| Err(vanished()));
        match &read {
            Err(sqlx::Error::PoolTimedOut) => {}
            Err(error) if is_database_fault(error) => {
                self.0.outages.reads.failed(&error.to_string());
            }
            _ => self.0.outages.reads.works(),
        }
        read
    }

    /// Returns the row of a query that finds at most one.
    pub async fn fetch_optional(
        &self,
        query: Query<'_, Any, AnyArguments>,
    ) -> sqlx::Result<Option<AnyRow>> {
        Ok(self.fetch_all(query).await?.pop())
    }

    /// Returns the row of a query that finds exactly one.
    pub async fn fetch_one(&self, query: Query<'_, Any, AnyArguments>) -> sqlx::Result<AnyRow> {
        self.fetch_optional(query).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Returns the kind of database.
    pub fn dialect(&self) -> Dialect {
        self.0.target.dialect()
    }

    /// Returns the end of a `select` that locks its rows until the transaction ends. Lock rows in a fixed order.
    pub fn for_update(&self) -> &'static str {
        self.dialect().for_update()
    }

    /// Begins a transaction that may write. For tests and tools: a service writes through its writer.
    pub async fn begin(&self) -> sqlx::Result<Tx<'static>> {
        Tx::own(self.0.writer.take().await?).await
    }

    /// Returns a connection for the writer. Pass it to [`Db::keep`] after the commit.
    pub(crate) async fn connection(&self) -> sqlx::Result<Connection> {
        self.0.writer.take().await
    }

    /// Takes back a connection on which nothing failed.
    pub(crate) fn keep(&self, connection: Connection) {
        self.0.writer.keep(connection);
    }

    /// Begins a transaction on a connection of [`Db::connection`].
    pub(crate) async fn begin_on<'c>(
        &self,
        connection: &'c mut Connection,
    ) -> sqlx::Result<Tx<'c>> {
        Tx::begin(connection).await
    }

    /// The same with the statement `first`, once it is this replica's turn to write: see [`Tx::begin_in_turn`].
    pub(crate) async fn begin_in_turn<'c>(
        &self,
        connection: &'c mut Connection,
        first: Statement,
    ) -> sqlx::Result<Tx<'c>> {
        Tx::begin_in_turn(connection, first).await
    }

    /// Returns the minutes that the service has run, those of other replicas included.
    pub(crate) async fn running_time(&self) -> sqlx::Result<i64> {
        self.fetch_one(sqlx::query(running_time::SELECT_MINUTES)).await?.try_get(0)
    }

    /// Returns the number of open connections for reading, and how many of them are idle.
    pub fn readers_in_pool(&self) -> (u32, usize) {
        self.0.readers.size()
    }

    /// Records the outcome of a write, and logs a failure once if it is the database's fault.
    pub(crate) fn wrote<T>(&self, outcome: &anyhow::Result<T>) {
        match outcome {
            Err(error) if is_at_fault(error) && !fault::is_conflict(error) => {
                self.0.outages.writes.failed(&causes(error));
            }
            Err(_) => {}
            Ok(_) => self.0.outages.writes.works(),
        }
    }

    /// Closes all connections, waits for those in use, and unlocks the file.
    pub async fn close(&self) {
        tokio::join!(self.0.readers.close(), self.0.writer.close());
        self.0.target.unlock();
    }
}

/// Logs why a worker failed: at WARN, and at DEBUG if the database is at fault, since [`Db`] logs that once.
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
