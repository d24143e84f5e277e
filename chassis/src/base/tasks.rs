//! Tasks that are watched while they run and waited for when they stop.

use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

/// Runs `task` on a thread of its own, beside those that serve requests.
///
/// For a task that goes to the database a dozen times in a row: at each answer it would stand behind all requests
/// that wait for a thread.
pub(crate) async fn on_a_thread(
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let (done, ended) = oneshot::channel();
    let runtime = Handle::current();
    let work = move || {
        runtime.block_on(task);
        let _ = done.send(());
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.expect("a thread can be started");
    ended.await.expect("its thread does not panic");
}

/// The tasks of a service, and the order in which they stop.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    pub(crate) http: Phase,
    pub(crate) background: Phase,
    pub(crate) writer: Phase,
    /// A task ended that should not have.
    pub(crate) failed: CancellationToken,
}

#[derive(Clone, Default)]
pub(crate) struct Phase {
    pub(crate) stop: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

impl Phase {
    /// Tells its tasks to stop, and waits for them no longer than `grace`.
    pub(crate) async fn end(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        timeout(grace, self.tracker.wait()).await.is_ok()
    }
}

impl Tasks {
    /// Runs a task that must not end before it is told to: one that does, or panics, takes the
    /// service down with it. The orchestrator starts a whole one, where half of one would go unseen.
    pub(crate) fn spawn(
        &self,
        phase: &Phase,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (failed, stop) = (self.failed.clone(), phase.stop.clone());
        phase.tracker.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if ended.is_err() || !stop.is_cancelled() {
                error!(task = name, panicked = ended.is_err(), "a task ended on its own");
                failed.cancel();
            }
        });
    }
}
