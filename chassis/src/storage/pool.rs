//! A pool of connections. A connection is closed as soon as anything fails on it.
//!
//! A connection goes back to the pool only if its user calls [`Pool::keep`]. After an error, or when its user was dropped, it
//! may be in the middle of a transaction or of a statement, so it is closed and the next user gets a new one.

use crate::base::limits::{
    ACQUIRE_TIMEOUT, IDLE_BEFORE_PING, IDLE_TIMEOUT, PING_TIMEOUT, READ_TIMEOUT,
    RECONNECT_PAUSE_MAX,
};
use crate::base::pace::Backoff;
use crate::base::patience;
use crate::storage::connection::{RawConnection, Role};
use crate::storage::dialect::Dialect;
use crate::storage::fault;
use crate::storage::target::Target;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Any, Execute as _};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};

/// The connections of one role.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    target: Arc<Target>,
    role: Role,
    max_connections: u32,
    /// One permit per connection: a holder is guaranteed an idle connection or room to open one.
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<IdleConnections>>,
}

#[derive(Debug, Default)]
struct IdleConnections {
    /// Each with the time of its last use, the most recent last.
    connections: Vec<(RawConnection, Instant)>,
    closed: bool,
    /// Why the last attempt to connect failed. `None` after a success.
    connect_error: Option<String>,
    /// A task connects again and again.
    reconnecting: bool,
}

/// A connection in use. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    /// `None` only while it is given back.
    inner: Option<RawConnection>,
    permit: Option<OwnedSemaphorePermit>,
    role: Role,
    taken_at: Instant,
    /// A transaction was begun on it, and not committed.
    pub(super) in_transaction: bool,
}

impl Pool {
    pub(super) fn new(target: Arc<Target>, role: Role, max_connections: u32) -> Self {
        let permits = Arc::new(Semaphore::new(max_connections as usize));
        Self { target, role, max_connections, permits, idle: Arc::default() }
    }

    /// Returns a connection to use. Waits for [`ACQUIRE_TIMEOUT`] at most, and a reader no longer than the patience of its
    /// request. Pass it to [`Pool::keep`] after a success.
    pub(super) async fn take(&self) -> sqlx::Result<Connection> {
        let latest = tokio::time::Instant::now() + ACQUIRE_TIMEOUT;
        let until = match self.role {
            Role::Reader => latest.min(patience::until()),
            Role::Writer => latest, // no request waits for it
        };
        let permit = timeout_at(until, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| self.all_in_use())?.map_err(|_| sqlx::Error::PoolClosed)?;
        loop {
            let last_used = {
                let mut idle = self.idle();
                if idle.closed {
                    return Err(sqlx::Error::PoolClosed);
                }
                idle.connections.pop()
            };
            let Some((mut inner, used_at)) = last_used else { break };
            if self.target.dialect() == Dialect::Sqlite
                || used_at.elapsed() < IDLE_BEFORE_PING
                || matches!(timeout(PING_TIMEOUT, inner.ping()).await, Ok(Ok(())))
            {
                return Ok(self.in_use(inner, permit));
            }
        }
        Ok(self.in_use(self.connect().await?, permit))
    }

    /// Returns a new connection.
    ///
    /// After an attempt that failed, a task connects again and again. Until an attempt succeeds this fails at once with the
    /// cause: no request waits for a server that does not answer.
    async fn connect(&self) -> sqlx::Result<RawConnection> {
        if let Some(cause) = self.idle().connect_error.clone() {
            return Err(unavailable(cause));
        }
        // In a task of its own: its outcome counts also if this request is dropped meanwhile.
        let pool = self.clone();
        let attempt = tokio::spawn(async move {
            let connected = pool.attempt().await;
            if connected.is_err() {
                pool.reconnect();
            }
            connected
        });
        let connected = attempt.await.unwrap_or_else(|error| Err(error.to_string()));
        connected.map_err(unavailable)
    }

    /// Connects once, and notes the outcome. Returns the cause of a failure.
    async fn attempt(&self) -> Result<RawConnection, String> {
        let connected = timeout(ACQUIRE_TIMEOUT, self.target.connect(self.role)).await;
        let connected =
            connected.unwrap_or_else(|_| Err(fault::vanished())).map_err(|error| match error {
                sqlx::Error::Io(error) => error.to_string(), // `unavailable` makes one of it again
                error => error.to_string(),
            });
        self.idle().connect_error = connected.as_ref().err().cloned();
        connected
    }

    /// Starts the task that connects again and again, unless it runs.
    fn reconnect(&self) {
        if !std::mem::replace(&mut self.idle().reconnecting, true) {
            tokio::spawn(Reconnecting(self.clone()).run());
        }
    }

    fn in_use(&self, inner: RawConnection, permit: OwnedSemaphorePermit) -> Connection {
        let (inner, permit) = (Some(inner), Some(permit));
        Connection {
            inner,
            permit,
            role: self.role,
            taken_at: Instant::now(),
            in_transaction: false,
        }
    }

    /// Returns why no connection is free: the last error of connecting, if the others wait for that. If all readers are in
    /// use otherwise, the service is overloaded and the database is not at fault.
    fn all_in_use(&self) -> sqlx::Error {
        match (self.idle().connect_error.clone(), self.role) {
            (Some(cause), _) => unavailable(cause),
            (None, Role::Reader) => sqlx::Error::PoolTimedOut,
            (None, Role::Writer) => {
                unavailable(format!("all {} connections are in use", self.max_connections))
            }
        }
    }

    /// Takes back a connection on which nothing failed. One with an open transaction is closed: the next would be part of it.
    pub(super) fn keep(&self, mut connection: Connection) {
        let mut idle = self.idle();
        if idle.closed || connection.in_transaction {
            return;
        }
        let inner = connection.inner.take();
        idle.connections.extend(inner.map(|inner| (inner, Instant::now())));
        if idle.connections.first().is_some_and(|(_, used_at)| used_at.elapsed() > IDLE_TIMEOUT) {
            idle.connections.remove(0);
        }
    }

    /// Returns the number of open connections, and how many of them are idle.
    pub(super) fn size(&self) -> (u32, usize) {
        let idle = self.idle().connections.len();
        let used = (self.max_connections as usize).saturating_sub(self.permits.available_permits());
        (u32::try_from(used + idle).unwrap_or(u32::MAX), idle)
    }

    /// Closes all connections, and waits for those in use.
    pub(super) async fn close(&self) {
        let idle = {
            let mut idle = self.idle();
            idle.closed = true;
            std::mem::take(&mut idle.connections)
        };
        for (inner, _) in idle {
            let _ = inner.close().await;
        }
        let _ = self.permits.acquire_many(self.max_connections).await;
        self.permits.close();
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects again and again after a failure, with growing pauses, until an attempt succeeds or the pool is closed.
struct Reconnecting(Pool);

impl Reconnecting {
    async fn run(self) {
        let mut backoff = Backoff::up_to(RECONNECT_PAUSE_MAX);
        loop {
            backoff.wait().await;
            {
                let idle = self.0.idle();
                if idle.closed || idle.connect_error.is_none() {
                    return;
                }
            }
            if let Ok(connection) = self.0.attempt().await {
                let mut idle = self.0.idle();
                if !idle.closed {
                    idle.connections.push((connection, Instant::now()));
                }
                return;
            }
        }
    }
}

impl Drop for Reconnecting {
    /// Also if an attempt panicked, or the runtime ends: then requests connect themselves again.
    fn drop(&mut self) {
        let mut idle = self.0.idle();
        (idle.reconnecting, idle.connect_error) = (false, None);
    }
}

fn unavailable(cause: String) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(cause))
}

impl Connection {
    pub(super) fn inner(&mut self) -> &mut RawConnection {
        self.inner.as_mut().expect("it is in use")
    }

    /// Returns the kind of its database.
    pub(super) fn dialect(&self) -> Dialect {
        self.inner.as_ref().expect("it is in use").dialect()
    }

    /// Returns all rows of a query.
    pub(super) async fn fetch_all(
        &mut self,
        mut query: Query<'_, Any, AnyArguments>,
    ) -> sqlx::Result<Vec<AnyRow>> {
        match self.inner() {
            RawConnection::Postgres(connection, _) => query.fetch_all(connection).await,
            RawConnection::SqliteReader(connection, _) => {
                let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
                let arguments = arguments.unwrap_or_default().convert_into::<SqliteArguments>();
                let arguments = arguments.map_err(sqlx::Error::Encode)?;
                let rows = sqlx::query_with(query.sql(), arguments).fetch_all(connection).await?;
                rows.iter().map(AnyRow::try_from).collect()
            }
            RawConnection::SqliteWriter(_) => unreachable!("a writer reads in a transaction"),
        }
    }
}

impl Drop for Connection {
    /// Closes it. A reader may be in the middle of a statement whose caller was dropped: its permit is released after the
    /// statement, so that there are never more statements than readers.
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else { return };
        if let RawConnection::SqliteReader(_, interrupt) = &inner {
            interrupt.store(true, Ordering::Relaxed);
        }
        let rest = READ_TIMEOUT.saturating_sub(self.taken_at.elapsed());
        if let Ok(runtime) = Handle::try_current()
            && self.role == Role::Reader
        {
            let permit = self.permit.take();
            runtime.spawn(async move {
                let close = async {
                    let _ = inner.ping().await; // waits for the end of the statement
                    let _ = inner.close().await;
                };
                let _ = timeout(rest, close).await;
                drop(permit);
            });
        }
    }
}
