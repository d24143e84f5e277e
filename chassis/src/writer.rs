//! One writer a service: load, decide, save, commit, answer, a batch at a time.
//!
//! All writes of a service, from requests and from events alike, are commands to one task that owns
//! the writing connection. It takes what waits, and in one transaction marks the events' inbox rows,
//! loads what the commands name, decides in memory in order, saves what changed, appends the events
//! to the outbox and commits once. Only then are callers answered. Two hundred reservations of one
//! gifticon read one row and write one row, and nobody ever waits for a lock.

mod attempt;
mod order;
mod task;

use crate::db::{Db, Tx};
use crate::inbox::Incoming;
use crate::mailbox::Chore;
use crate::metrics::Metrics;
use crate::patience;
use crate::telemetry::{self, Trace};
use common_events::Event;
use order::{Order, Waits};
use prometheus_client::metrics::histogram::Histogram;
use std::fmt;
use std::sync::Arc;
use task::{Batches, Task};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::sleep_until;

/// A batch is worth its fixed cost when so many commands wait: it begins at once then.
const ENOUGH: usize = 32;
/// Jobs that may wait, beyond which requests are refused at once. It only bounds the memory: requests are refused by the time
/// that they waited.
const WAITING: usize = 8_192;

/// What a service decides: its `domain.rs` and `store.rs` as the writer sees them.
pub trait Domain: Send + Sync + 'static {
    /// The rows that the commands of a batch name, in memory.
    type Batch: Send + Sync;
    /// What is asked. Cloned when a batch fails and is tried again.
    type Command: Clone + Send + Sync + 'static;
    /// What happened. Private to the service; [`Domain::published`] says what others hear of it.
    type Event: Send + Sync;
    /// What the caller of a command wants to know.
    type Answer: Send + 'static;
    /// Why the rules say no.
    type Refusal: fmt::Display + Send + 'static;

    /// Reads, and on Postgres locks in order, what the commands name.
    fn load(
        &self,
        tx: &mut Tx<'_>,
        commands: &[&Self::Command],
    ) -> impl Future<Output = anyhow::Result<Self::Batch>> + Send;

    /// The events that follow from `command`; none if its work is done already; or why it may not
    /// be. Pure.
    fn decide(
        batch: &Self::Batch,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// Folds one event in. Pure.
    fn evolve(batch: &mut Self::Batch, event: &Self::Event);

    /// What the caller of `command` is told, once its events are folded in; `new` says whether there
    /// were any. Pure.
    fn answer(batch: &Self::Batch, command: &Self::Command, new: bool) -> Self::Answer;

    /// Writes what changed, many rows a statement.
    fn save(
        &self,
        tx: &mut Tx<'_>,
        batch: &Self::Batch,
        events: &[Self::Event],
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Whether a batch with `command` may take minutes. Of another one the writer takes it that the server vanished.
    /// Pure.
    fn has_time(_command: &Self::Command) -> bool {
        false
    }

    /// What others hear, in order: each with the place in `events` of the one that caused it. Pure.
    fn published(batch: &Self::Batch, events: &[Self::Event]) -> Vec<(usize, Event)>;
}

/// Why a command was not carried out. It changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotDone<R> {
    /// The rules say no.
    #[error("{0}")]
    Refused(R),
    /// The service cannot, now.
    #[error(transparent)]
    Unavailable(Unavailable),
}

/// Why the service cannot, now. The client may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It waited for as long as its patience allowed, in the queue that is called `at`.
    #[error("it waited for too long in the queue \"{at}\"")]
    Overloaded {
        /// The name of the queue in the metrics.
        at: &'static str,
    },
    /// The database failed, and the transaction changed nothing.
    #[error("the database failed")]
    Database,
    /// The transaction failed although the database did not, and changed nothing.
    #[error("the transaction failed")]
    Failed,
}

impl From<Unavailable> for crate::problem::Problem {
    fn from(unavailable: Unavailable) -> Self {
        let now = "the service is busy; try again shortly";
        let problem =
            Self::unavailable(crate::lang::Text::fixed(now, "잠시 후 다시 시도해 주세요"));
        match unavailable {
            Unavailable::Overloaded { at } => problem.shed_at(at),
            Unavailable::Database | Unavailable::Failed => problem,
        }
    }
}

type Outcome<D> = Result<<D as Domain>::Answer, NotDone<<D as Domain>::Refusal>>;

enum Job<D: Domain> {
    Command(Order<D>),
    /// Events from the bus, handled together or not at all.
    Events(Vec<Incoming<D::Command>>, oneshot::Sender<Result<(), NotTaken>>),
}

/// Why events were not acted on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct NotTaken {
    pub(crate) reason: String,
    /// The database failed, so that nothing is known about the events.
    pub(crate) database: bool,
}

impl NotTaken {
    fn stopped<E>(_: E) -> Self {
        Self { reason: "the writer has stopped".into(), database: true }
    }
}

/// A chore and where its number of rows goes.
pub(crate) type ChoreJob = (Chore, oneshot::Sender<anyhow::Result<i64>>);

/// The way to the writer. Clones go to the same one.
pub struct Writer<D: Domain> {
    jobs: mpsc::Sender<Job<D>>,
    enough: Arc<Notify>,
    committed: Arc<watch::Sender<u64>>,
    waited: Histogram,
}

impl<D: Domain> Clone for Writer<D> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
            enough: Arc::clone(&self.enough),
            committed: Arc::clone(&self.committed),
            waited: self.waited.clone(),
        }
    }
}

impl<D: Domain> fmt::Debug for Writer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl<D: Domain> Writer<D> {
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
    pub async fn ask(&self, command: D::Command) -> Outcome<D> {
        self.ask_unless(command, std::future::pending()).await
    }

    /// Carries out one command as [`Writer::ask`] does, unless `withdrawn` resolves before the writer has begun it: for a
    /// caller who must hear the outcome of what was begun.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] also when it was withdrawn: nothing was done.
    pub async fn ask_unless(
        &self,
        command: D::Command,
        withdrawn: impl Future<Output = ()>,
    ) -> Outcome<D> {
        const OVERLOADED: Unavailable = Unavailable::Overloaded { at: "writer" };
        let (answer, mut answered) = oneshot::channel();
        let order = Order::new(command, telemetry::current(), answer);
        let waits = Waits::of(&order);
        if self.jobs.try_send(Job::Command(order)).is_err() {
            return Err(NotDone::Unavailable(OVERLOADED));
        }
        if self.waiting() >= ENOUGH {
            self.enough.notify_one();
        }
        let lost = |_| Err(NotDone::Unavailable(Unavailable::Database));
        tokio::select! {
            biased;
            outcome = &mut answered => return outcome.unwrap_or_else(lost),
            () = sleep_until(patience::until()) => {}
            () = withdrawn => {}
        }
        match waits.give_up() {
            Some(waited) => {
                self.waited.observe(waited.as_secs_f64());
                Err(NotDone::Unavailable(OVERLOADED))
            }
            None => answered.await.unwrap_or_else(lost),
        }
    }

    /// Carries out many commands of a worker in order, each with the story that it belongs to. They have time: none is
    /// refused for how long it waited.
    pub async fn ask_all(
        &self,
        commands: impl IntoIterator<Item = (D::Command, Option<Trace>), IntoIter: Send> + Send,
    ) -> Vec<Outcome<D>> {
        let mut waiting = Vec::new();
        for (command, trace) in commands {
            let (answer, answered) = oneshot::channel();
            let _ = self.jobs.send(Job::Command(Order::new(command, trace, answer))).await;
            waiting.push(answered);
        }
        let mut outcomes = Vec::with_capacity(waiting.len());
        for answered in waiting {
            let lost = Err(NotDone::Unavailable(Unavailable::Database));
            outcomes.push(answered.await.unwrap_or(lost));
        }
        outcomes
    }

    /// Acts on events, all in one transaction with their inbox marks.
    pub(crate) async fn take(&self, events: Vec<Incoming<D::Command>>) -> Result<(), NotTaken> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Events(events, answer)).await.map_err(NotTaken::stopped)?;
        answered.await.map_err(NotTaken::stopped)?
    }

    /// Changes whenever a transaction was committed: what workers wait for.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }
}

/// Makes the writer of a service.
pub(crate) fn writer<D: Domain>(
    domain: D,
    db: Db,
    metrics: Arc<Metrics>,
    relay: Arc<Notify>,
    chores: mpsc::Receiver<ChoreJob>,
) -> (Writer<D>, Task<D>) {
    let (sender, jobs) = mpsc::channel(WAITING);
    let committed = Arc::new(watch::Sender::new(0));
    let enough = Arc::new(Notify::new());
    let writer = Writer {
        jobs: sender,
        enough: Arc::clone(&enough),
        committed: Arc::clone(&committed),
        waited: metrics.writer_wait_seconds.clone(),
    };
    let batches = Batches::new(domain, db, metrics, relay, committed);
    (writer, Task { jobs, enough, chores, batches })
}
