//! Connections that are kept between uses, and given up as soon as anything fails on them.
//!
//! A connection is kept only where its user says that all went well. After an error, or where its user was cut off, it may be
//! in the middle of a transaction or of a statement, so it is closed and the next user gets a new one.

use crate::base::patience;
use crate::storage::connection::{Inner, Role};
use crate::storage::dialect::Dialect;
use crate::storage::fault;
use crate::storage::target::Target;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Any, AnyConnection, Execute as _};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};

/// How long a read may take before it is refused with 503, and how long after the patience of its request all of them may.
/// A server that vanished says nothing, and TCP does not find out while one only waits. With the patience before it, this
/// ends before the gateway gives a service up, so that clients hear 503 and not 504.
pub const READ_TIMEOUT: Duration = Duration::from_millis(1_750);
/// How long one waits for a connection at most, before it is refused with 503, and how long it may take to make one.
const ACQUIRE: Duration = Duration::from_secs(1);
/// A connection to Postgres that was not used for longer is pinged before it is used.
const RESTS: Duration = Duration::from_secs(1);
/// How long a ping may take. Less than [`ACQUIRE`], in which another connection is made then.
const PING: Duration = Duration::from_millis(500);
/// A connection that was not used for longer is closed.
const IDLE: Duration = Duration::from_mins(1);

/// Some connections of one role.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    target: Arc<Target>,
    role: Role,
    most: u32,
    /// One permit for each connection that may be open.
    free: Arc<Semaphore>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Each with when it was used; the last used comes last.
    connections: Vec<(Inner, Instant)>,
    closed: bool,
    /// Why the last connection could not be made, until one can.
    cause: Option<String>,
}

/// A connection in use. It is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    /// None only while it is given back.
    inner: Option<Inner>,
    free: Option<OwnedSemaphorePermit>,
    role: Role,
    since: Instant,
}

impl Pool {
    pub(super) fn new(target: Arc<Target>, role: Role, most: u32) -> Self {
        let free = Arc::new(Semaphore::new(most as usize));
        Self { target, role, most, free, kept: Arc::default() }
    }

    /// A connection to use. One waits for it for [`ACQUIRE`], and for a reader no longer than the running request allows.
    /// Give it to [`Pool::keep`] where all went well.
    pub(super) async fn take(&self) -> sqlx::Result<Connection> {
        let within = tokio::time::Instant::now() + ACQUIRE;
        let until = match self.role {
            Role::Reader => within.min(patience::until()),
            Role::Writer => within, // which no request waits for
        };
        let free = timeout_at(until, Arc::clone(&self.free).acquire_owned()).await;
        let free = free.map_err(|_| self.all_in_use())?.map_err(|_| sqlx::Error::PoolClosed)?;
        loop {
            let last = {
                let mut kept = self.kept();
                if kept.closed {
                    return Err(sqlx::Error::PoolClosed);
                }
                kept.connections.pop()
            };
            let Some((mut inner, since)) = last else { break };
            if self.target.dialect() == Dialect::Sqlite
                || since.elapsed() < RESTS
                || matches!(timeout(PING, inner.ping()).await, Ok(Ok(())))
            {
                return Ok(self.in_use(inner, free));
            }
        }
        let made = timeout(ACQUIRE, self.target.connect(self.role)).await;
        match made.unwrap_or_else(|_| Err(fault::vanished())) {
            Ok(inner) => {
                self.kept().cause = None;
                Ok(self.in_use(inner, free))
            }
            Err(error) => {
                self.kept().cause = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn in_use(&self, inner: Inner, free: OwnedSemaphorePermit) -> Connection {
        Connection { inner: Some(inner), free: Some(free), role: self.role, since: Instant::now() }
    }

    /// Why no connection is free: what the others wait for, where that is known. Readers that are all in use otherwise are
    /// no fault of the database.
    fn all_in_use(&self) -> sqlx::Error {
        match (self.kept().cause.clone(), self.role) {
            (Some(cause), _) => sqlx::Error::Io(std::io::Error::other(cause)),
            (None, Role::Reader) => sqlx::Error::PoolTimedOut,
            (None, Role::Writer) => {
                let why = format!("all {} connections are in use", self.most);
                sqlx::Error::Io(std::io::Error::other(why))
            }
        }
    }

    /// Keeps one on which all went well.
    pub(super) fn keep(&self, mut connection: Connection) {
        let mut kept = self.kept();
        if kept.closed {
            return;
        }
        let inner = connection.inner.take();
        kept.connections.extend(inner.map(|inner| (inner, Instant::now())));
        if kept.connections.first().is_some_and(|(_, since)| since.elapsed() > IDLE) {
            kept.connections.remove(0);
        }
    }

    /// How many there are, and how many of them are not in use.
    pub(super) fn size(&self) -> (u32, usize) {
        let idle = self.kept().connections.len();
        let used = (self.most as usize).saturating_sub(self.free.available_permits());
        (u32::try_from(used + idle).unwrap_or(u32::MAX), idle)
    }

    /// Closes all, and waits for those in use.
    pub(super) async fn close(&self) {
        let kept = {
            let mut kept = self.kept();
            kept.closed = true;
            std::mem::take(&mut kept.connections)
        };
        for (inner, _) in kept {
            let _ = inner.close().await;
        }
        let _ = self.free.acquire_many(self.most).await;
        self.free.close();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Runs a query to its end.
    pub(super) async fn fetch_all(
        &mut self,
        mut query: Query<'_, Any, AnyArguments>,
    ) -> sqlx::Result<Vec<AnyRow>> {
        match self.inner.as_mut().expect("it is in use") {
            Inner::Any(connection) => query.fetch_all(connection).await,
            Inner::Interruptible(connection, _) => {
                let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
                let arguments = arguments.unwrap_or_default().convert_into::<SqliteArguments>();
                let arguments = arguments.map_err(sqlx::Error::Encode)?;
                let rows = sqlx::query_with(query.sql(), arguments).fetch_all(connection).await?;
                rows.iter().map(AnyRow::try_from).collect()
            }
        }
    }
}

impl Drop for Connection {
    /// Closes it. A reader may be in the middle of a statement, whose client is gone: its permit is given back once the
    /// statement is over, so that there are never more statements than readers.
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else { return };
        if let Inner::Interruptible(_, unwanted) = &inner {
            unwanted.store(true, Ordering::Relaxed);
        }
        let left = READ_TIMEOUT.saturating_sub(self.since.elapsed());
        if let Ok(runtime) = Handle::try_current()
            && self.role == Role::Reader
        {
            let free = self.free.take();
            runtime.spawn(async move {
                let ends = async {
                    let _ = inner.ping().await; // answered after the statement
                    let _ = inner.close().await;
                };
                let _ = timeout(left, ends).await;
                drop(free);
            });
        }
    }
}

/// As the writer uses it, and its transactions.
impl Deref for Connection {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match self.inner.as_ref() {
            Some(Inner::Any(connection)) => connection,
            _ => unreachable!("only a writer's connection is used so"),
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self.inner.as_mut() {
            Some(Inner::Any(connection)) => connection,
            _ => unreachable!("only a writer's connection is used so"),
        }
    }
}
