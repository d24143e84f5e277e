//! How many watch: a task reads only while somebody does.

use chassis::base::patience;
use chassis::base::unavailable::Unavailable;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

/// How long a task goes on after the last one has gone: a page that is loaded again comes back within this time.
const LINGER: Duration = Duration::from_secs(10);
/// Frames that wait for a client. One that is further behind is dropped.
pub(super) const FRAMES_MAX: usize = 32;

/// The number of those who watch.
#[derive(Debug, Default)]
pub(super) struct Watchers(watch::Sender<usize>);

/// One who watches, until it is dropped.
#[derive(Debug)]
pub(super) struct Watcher(Arc<Watchers>);

impl Watchers {
    pub(super) fn enter(self: &Arc<Self>) -> Watcher {
        self.0.send_modify(|count| *count += 1);
        Watcher(Arc::clone(self))
    }

    /// Waits until somebody watches.
    pub(super) async fn some(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Waits until nobody has watched for [`LINGER`].
    pub(super) async fn none(&self) {
        let mut count = self.0.subscribe();
        loop {
            let _ = count.wait_for(|count| *count == 0).await;
            if timeout(LINGER, count.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }
}

/// Waits until `started` is true.
///
/// # Errors
/// That takes longer than the patience of the request.
pub(super) async fn begun(started: &watch::Sender<bool>) -> Result<(), Unavailable> {
    let mut started = started.subscribe();
    let wait = timeout_at(patience::until(), started.wait_for(|started| *started));
    wait.await.map(drop).map_err(|_| Unavailable::Database)
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
