//! The way to the writer, for requests, workers and consumers.

use crate::base::metrics::Metrics;
use crate::base::patience;
use crate::base::span::Tracer;
use crate::base::trace::{self, Trace};
use crate::base::unavailable::Unavailable;
use crate::mailbox::housekeeping::HousekeepingJob;
use crate::mailbox::message::IncomingEvent;
use crate::storage::Db;
use crate::writer::job::{ENOUGH, EventError, Job, WAITING};
use crate::writer::model::{CommandError, Outcome, WriteModel};
use crate::writer::order::{Order, Waits};
use crate::writer::queue::Queue;
use crate::writer::task::{Batches, Task};
use common_events::Owner;
use prometheus_client::metrics::histogram::Histogram;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep_until;

const OVERLOADED: Unavailable = Unavailable::Overloaded { at: "writer" };

/// A command in the queue: the claim on it, and where its outcome arrives.
type Queued<M> = (Waits, oneshot::Receiver<Outcome<M>>);

/// The way to the writer. Clones go to the same one.
pub struct Writer<M: WriteModel> {
    jobs: mpsc::Sender<Job<M>>,
    enough: Arc<Notify>,
    waited: Histogram,
}

impl<M: WriteModel> Clone for Writer<M> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
            enough: Arc::clone(&self.enough),
            waited: self.waited.clone(),
        }
    }
}

impl<M: WriteModel> fmt::Debug for Writer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl<M: WriteModel> Writer<M> {
    /// How many jobs wait.
    fn waiting(&self) -> usize {
        WAITING - self.jobs.capacity()
    }

    /// Carries out one command, and returns its outcome when it is durable.
    ///
    /// A command that the writer has not begun when the [patience](patience::until) of its request is over, or when the
    /// returned future is dropped, is not carried out. Once it is begun, its caller waits for the truth.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] when it was not begun in time: nothing was done.
    pub async fn execute(&self, command: M::Command) -> Outcome<M> {
        self.execute_unless(command, std::future::pending()).await
    }

    /// Carries out one command as [`Writer::execute`] does, and names `actor` in the audit log for what it changes.
    pub async fn execute_for(&self, actor: &Owner, command: M::Command) -> Outcome<M> {
        self.execute_in_time(command, Some(actor.clone()), std::future::pending()).await
    }

    /// Carries out one command as [`Writer::execute`] does, unless `withdrawn` resolves before the writer has begun it: for a
    /// caller who must hear the outcome of what was begun.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] also when it was withdrawn: nothing was done.
    pub async fn execute_unless(
        &self,
        command: M::Command,
        withdrawn: impl Future<Output = ()>,
    ) -> Outcome<M> {
        self.execute_in_time(command, None, withdrawn).await
    }

    async fn execute_in_time(
        &self,
        command: M::Command,
        actor: Option<Owner>,
        withdrawn: impl Future<Output = ()>,
    ) -> Outcome<M> {
        match self.enqueue(command, trace::current(), actor) {
            Err(overloaded) => Err(CommandError::Unavailable(overloaded)),
            Ok(queued) => {
                let over = async {
                    tokio::select! {
                        () = sleep_until(patience::until()) => {}
                        () = withdrawn => {}
                    }
                };
                self.outcome(queued, over).await
            }
        }
    }

    /// Carries out the commands of one request, each with its own trace, as [`Writer::execute`] does with one. Each has its own
    /// outcome.
    pub async fn execute_each(
        &self,
        commands: impl IntoIterator<Item = (M::Command, Option<Trace>)>,
    ) -> Vec<Outcome<M>> {
        let queued: Vec<_> = commands
            .into_iter()
            .map(|(command, trace)| self.enqueue(command, trace, None))
            .collect();
        let mut over = pin!(sleep_until(patience::until()));
        let mut outcomes = Vec::with_capacity(queued.len());
        for queued in queued {
            outcomes.push(match queued {
                Err(overloaded) => Err(CommandError::Unavailable(overloaded)),
                Ok(queued) => self.outcome(queued, over.as_mut()).await,
            });
        }
        outcomes
    }

    /// Puts a command in the queue.
    fn enqueue(
        &self,
        command: M::Command,
        trace: Option<Trace>,
        actor: Option<Owner>,
    ) -> Result<Queued<M>, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let order = Order::new(command, trace, actor, answer);
        let waits = Waits::of(&order);
        self.jobs.try_send(Job::Command(order)).map_err(|_| OVERLOADED)?;
        if self.waiting() >= ENOUGH {
            self.enough.notify_one();
        }
        Ok((waits, answered))
    }

    /// Returns the outcome of a command in the queue, which is given up if the writer has not begun it when `over` resolves.
    async fn outcome(
        &self,
        (waits, mut answered): Queued<M>,
        over: impl Future<Output = ()>,
    ) -> Outcome<M> {
        let lost = |_| Err(CommandError::Unavailable(Unavailable::Database));
        tokio::select! {
            biased;
            outcome = &mut answered => return outcome.unwrap_or_else(lost),
            () = over => {}
        }
        match waits.give_up() {
            Some(waited) => {
                self.waited.observe(waited.as_secs_f64());
                Err(CommandError::Unavailable(OVERLOADED))
            }
            None => answered.await.unwrap_or_else(lost),
        }
    }

    /// Carries out many commands of a worker in order, each with the story that it belongs to. They have time: none is
    /// refused for how long it waited.
    pub async fn execute_all(
        &self,
        commands: impl IntoIterator<Item = (M::Command, Option<Trace>), IntoIter: Send> + Send,
    ) -> Vec<Outcome<M>> {
        let mut waiting = Vec::new();
        for (command, trace) in commands {
            let (answer, answered) = oneshot::channel();
            let _ = self.jobs.send(Job::Command(Order::new(command, trace, None, answer))).await;
            waiting.push(answered);
        }
        let mut outcomes = Vec::with_capacity(waiting.len());
        for answered in waiting {
            let lost = Err(CommandError::Unavailable(Unavailable::Database));
            outcomes.push(answered.await.unwrap_or(lost));
        }
        outcomes
    }

    /// Acts on events, all in one transaction with their inbox marks.
    pub(crate) async fn apply_events(
        &self,
        events: Arc<[IncomingEvent<M::Command>]>,
    ) -> Result<(), EventError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Events((events, answer))).await.map_err(EventError::stopped)?;
        answered.await.map_err(EventError::stopped)?
    }
}

/// Makes the writer of a service.
pub(crate) fn writer<M: WriteModel>(
    model: M,
    db: Db,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    relay: Arc<Notify>,
    housekeeping: mpsc::Receiver<HousekeepingJob>,
) -> (Writer<M>, Task<M>) {
    let (sender, jobs) = mpsc::channel(WAITING);
    let enough = Arc::new(Notify::new());
    let writer = Writer {
        jobs: sender,
        enough: Arc::clone(&enough),
        waited: metrics.writer_wait_seconds.clone(),
    };
    let batches = Batches::new(model, db, metrics, tracer, relay);
    (writer, Task { queue: Queue { jobs, housekeeping }, enough, batches })
}
