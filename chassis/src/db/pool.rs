//! Connections that are kept between uses.
//!
//! sqlx's pool pings each connection that comes back, in a task of its own: a round trip, and under load it took
//! milliseconds until the connection could be had again. So those that are in use again and again do not go back. One on
//! which something failed, or whose user was cut off, does not either, since the pool would ask it for as long as it takes,
//! and neither does one that nobody needs: they are closed.

use super::Dialect;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long one waits for a connection before it is refused with 503.
pub(super) const ACQUIRE: Duration = Duration::from_secs(1);
/// A connection that was not used for longer is asked first whether it still is one. A file is still there.
const RESTS: Duration = Duration::from_secs(1);
/// How long one may take to say so. Less than [`ACQUIRE`], in which another is made then.
const SAYS_SO: Duration = Duration::from_millis(500);
/// One that was not used for longer is closed.
const IDLE: Duration = Duration::from_mins(1);

/// Some connections.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) all: AnyPool,
    dialect: Dialect,
    /// As many as there are connections: whoever has one finds a kept one, or room in the pool.
    free: Arc<Semaphore>,
    kept: Arc<Mutex<Kept>>,
}

/// Each with when it was used; the last used comes last.
type Kept = Vec<(PoolConnection<Any>, Instant)>;

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Connection {
    /// None only while it is taken or given back.
    inner: Option<PoolConnection<Any>>,
    _free: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(all: AnyPool, dialect: Dialect) -> Self {
        let most = all.options().get_max_connections() as usize;
        Self { all, dialect, free: Arc::new(Semaphore::new(most)), kept: Arc::default() }
    }

    /// One to use. Whoever is done gives it to [`Pool::keep`], where all went well.
    pub(super) async fn take(&self) -> sqlx::Result<Connection> {
        let free = timeout(ACQUIRE, Arc::clone(&self.free).acquire_owned()).await;
        let free = free.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let free = free.map_err(|_| sqlx::Error::PoolClosed)?;
        let mut connection = Connection { inner: None, _free: free };
        loop {
            let last = self.kept().pop();
            let Some((kept, since)) = last else { break };
            connection.inner = Some(kept);
            if self.dialect == Dialect::Sqlite
                || since.elapsed() < RESTS
                || matches!(timeout(SAYS_SO, connection.ping()).await, Ok(Ok(())))
            {
                return Ok(connection);
            }
            connection.close();
        }
        connection.inner = Some(self.all.acquire().await?);
        Ok(connection)
    }

    /// Keeps one on which all went well.
    pub(super) fn keep(&self, mut connection: Connection) {
        let mut kept = self.kept();
        let inner = connection.inner.take();
        if self.all.is_closed() {
            return; // which waits for it to come back
        }
        kept.extend(inner.map(|inner| (inner, Instant::now())));
        if kept.first().is_some_and(|(_, since)| since.elapsed() > IDLE) {
            let (idle, _) = kept.remove(0);
            drop(idle.detach());
        }
    }

    /// How many there are, and how many of them are not in use.
    pub(super) fn size(&self) -> (u32, usize) {
        let used =
            self.all.options().get_max_connections() as usize - self.free.available_permits();
        let all = self.all.size();
        (all, (all as usize).saturating_sub(used))
    }

    /// Closes all, and waits for those in use.
    pub(super) async fn close(&self) {
        let closed = self.all.close(); // from here on
        self.kept().clear();
        closed.await;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn close(&mut self) {
        drop(self.inner.take().map(PoolConnection::detach));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Deref for Connection {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        self.inner.as_ref().expect("it is in use")
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.inner.as_mut().expect("it is in use")
    }
}
