//! The tasks of a service: watched while they run, and waited for when they stop.

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

/// Runs `task` on its own thread, beside those that serve requests.
///
/// For a task that asks the database a dozen times in a row: after each result it would queue behind all requests that wait
/// for a thread.
pub(crate) async fn on_a_thread(
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let (done, finished) = oneshot::channel();
    let runtime = Handle::current();
    let work = move || {
        runtime.block_on(task);
        let _ = done.send(());
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.expect("a thread can be started");
    finished.await.expect("its thread does not panic");
}

/// The tasks of a service, in the order in which they stop.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    pub(crate) http: Phase,
    pub(crate) background: Phase,
    pub(crate) writer: Phase,
    /// Cancelled when a task ended before it was told to.
    pub(crate) failed: CancellationToken,
}

/// Tasks that stop together.
#[derive(Clone, Default)]
pub(crate) struct Phase {
    pub(crate) stop: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

impl Phase {
    /// Tells the tasks to stop, and waits for them for `grace` at most. Returns whether all have ended.
    pub(crate) async fn end(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        timeout(grace, self.tracker.wait()).await.is_ok()
    }
}

impl Tasks {
    /// Runs a task that must not end before it is told to. One that does, or panics, ends the whole service: the orchestrator
    /// restarts a service that ended, and would not notice one that lacks a task.
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
