//! Connections that are kept between uses.
//!
//! sqlx's pool pings each connection that comes back, in a task of its own: half of what a read by key costs, and
//! under load it took milliseconds until the connection could be had again. So those that are in use again and again do not
//! go back. Whoever fails with one, or is cut off, drops it, and the pool finds out what is left of it.

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long one waits for a connection before it is refused with 503.
pub(super) const ACQUIRE: Duration = Duration::from_secs(1);
/// A connection that was not used for longer goes back: a server may have gone meanwhile, and the pool asks it, and
/// ends it after some minutes.
const RESTS: Duration = Duration::from_secs(1);

/// Some connections.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) all: AnyPool,
    /// As many as there are connections: one that is kept is not missed by whoever waits in the pool.
    free: Arc<Semaphore>,
    kept: Arc<Mutex<Kept>>,
}

/// Each with when it was used; the last used comes last.
type Kept = Vec<(PoolConnection<Any>, Instant)>;

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Connection {
    inner: PoolConnection<Any>,
    _free: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(all: AnyPool) -> Self {
        let most = all.options().get_max_connections() as usize;
        Self { all, free: Arc::new(Semaphore::new(most)), kept: Arc::default() }
    }

    /// One to use. Whoever is done gives it to [`Pool::keep`].
    pub(super) async fn take(&self) -> sqlx::Result<Connection> {
        let free = timeout(ACQUIRE, Arc::clone(&self.free).acquire_owned()).await;
        let free = free.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let free = free.map_err(|_| sqlx::Error::PoolClosed)?;
        let last = self.kept().pop();
        let inner = match last.filter(|(_, since)| since.elapsed() < RESTS) {
            Some((kept, _)) => kept,
            None => self.all.acquire().await?,
        };
        Ok(Connection { inner, _free: free })
    }

    /// Keeps one on which all went well.
    pub(super) fn keep(&self, connection: Connection) {
        let mut kept = self.kept();
        if self.all.is_closed() {
            return; // which waits for it to come back
        }
        kept.push((connection.inner, Instant::now()));
        if kept[0].1.elapsed() >= RESTS {
            kept.remove(0);
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

impl Deref for Connection {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}
