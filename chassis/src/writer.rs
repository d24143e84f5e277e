//! One writer a service: load, decide, save, commit, answer, a batch at a time.
//!
//! All writes of a service, from requests and from events alike, are commands to one task that owns
//! the writing connection. It takes what waits, and in one transaction marks the events' inbox rows,
//! loads what the commands name, decides in memory in order, saves what changed, appends the events
//! to the outbox and commits once. Only then are callers answered. Two hundred reservations of one
//! gifticon read one row and write one row, and nobody ever waits for a lock.

mod attempt;

use crate::db::{Db, Tx};
use crate::inbox::Incoming;
use crate::mailbox::Chore;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::telemetry::{self, Trace};
use common_events::Event;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::error;
use uuid::Uuid;

/// Commands in one transaction. Beyond a few hundred a batch takes longer to answer without
/// carrying more a second.
const BATCH: usize = 500;
/// Under load, batches begin no sooner after each other, unless so many commands wait that a batch is worth its
/// fixed cost.
const APART: Duration = Duration::from_millis(5);
const ENOUGH: usize = 32;
/// Requests that may wait. More than the writer does in a tenth of a second would only wait for an
/// answer that comes too late: they are refused at once instead.
const WAITING: usize = 2_048;
/// How long a batch may take before the requests behind it are refused. Its database does not answer then, or is
/// away, and with it the outcome of a commit; whoever stands in front of us gives up after 3 s.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// More waits than can be done soon.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The transaction failed, and changed nothing.
    #[error("the database failed")]
    Database,
}

impl From<Unavailable> for crate::problem::Problem {
    fn from(_: Unavailable) -> Self {
        let now = "the service is busy; try again shortly";
        Self::unavailable(crate::lang::Text::fixed(now, "잠시 후 다시 시도해 주세요"))
    }
}

type Outcome<D> = Result<<D as Domain>::Answer, NotDone<<D as Domain>::Refusal>>;

enum Job<D: Domain> {
    /// A command of a request, which somebody waits for.
    Asked(Order<D>),
    /// A command of a worker, which has time.
    Told(Order<D>),
    /// Events from the bus, handled together or not at all.
    Events(Vec<Incoming<D::Command>>, oneshot::Sender<anyhow::Result<()>>),
}

/// A command, the story that it belongs to, and where its outcome goes.
type Order<D> = (<D as Domain>::Command, Option<Trace>, oneshot::Sender<Outcome<D>>);

/// A chore and where its number of rows goes.
pub(crate) type ChoreJob = (Chore, oneshot::Sender<anyhow::Result<i64>>);

/// The way to the writer. Clones go to the same one.
pub struct Writer<D: Domain> {
    jobs: mpsc::Sender<Job<D>>,
    enough: Arc<Notify>,
    committed: Arc<watch::Sender<u64>>,
}

impl<D: Domain> Clone for Writer<D> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
            enough: Arc::clone(&self.enough),
            committed: Arc::clone(&self.committed),
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

    /// Carries out one command, and answers when it is durable. Refused at once where too many wait.
    pub async fn ask(&self, command: D::Command) -> Outcome<D> {
        let (answer, answered) = oneshot::channel();
        let job = Job::Asked((command, telemetry::current(), answer));
        if self.jobs.try_send(job).is_err() {
            return Err(NotDone::Unavailable(Unavailable::Overloaded));
        }
        if self.waiting() >= ENOUGH {
            self.enough.notify_one();
        }
        answered.await.unwrap_or(Err(NotDone::Unavailable(Unavailable::Database)))
    }

    /// Carries out many commands of a worker in order, each with the story that it belongs to. Waits
    /// where [`Writer::ask`] would refuse.
    pub async fn ask_all(
        &self,
        commands: impl IntoIterator<Item = (D::Command, Option<Trace>), IntoIter: Send> + Send,
    ) -> Vec<Outcome<D>> {
        let mut waiting = Vec::new();
        for (command, trace) in commands {
            let (answer, answered) = oneshot::channel();
            let _ = self.jobs.send(Job::Told((command, trace, answer))).await;
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
    pub(crate) async fn take(&self, events: Vec<Incoming<D::Command>>) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        let sent = self.jobs.send(Job::Events(events, answer)).await;
        sent.map_err(|_| anyhow::anyhow!("the writer has stopped"))?;
        answered.await?
    }

    /// Changes whenever a transaction was committed: what workers wait for.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }
}

/// The task.
pub(crate) struct Task<D: Domain> {
    jobs: mpsc::Receiver<Job<D>>,
    /// Tells that [`ENOUGH`] of them wait.
    enough: Arc<Notify>,
    chores: mpsc::Receiver<ChoreJob>,
    batches: Batches<D>,
}

/// What carries out batches.
struct Batches<D: Domain> {
    domain: D,
    db: Db,
    metrics: Arc<Metrics>,
    relay: Arc<Notify>,
    committed: Arc<watch::Sender<u64>>,
    /// Its connection to the database, between two batches.
    connection: Mutex<Option<attempt::Held>>,
    /// This writer among those of other replicas, and how many batches it tried.
    name: String,
    batch: AtomicI64,
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
    let writer =
        Writer { jobs: sender, enough: Arc::clone(&enough), committed: Arc::clone(&committed) };
    let name = Uuid::new_v4().to_string();
    let batch = AtomicI64::new(0);
    let connection = Mutex::default();
    let batches = Batches { domain, db, metrics, relay, committed, connection, name, batch };
    (writer, Task { jobs, enough, chores, batches })
}

impl<D: Domain> Task<D> {
    /// Works until `stop`, and then does what still waits.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (mut jobs, mut chores) = (Vec::new(), Vec::new());
        let mut pace = Pace::new(APART, BATCH);
        loop {
            tokio::select! {
                () = pace.wait() => {}
                () = self.enough.notified() => {}
                () = stop.cancelled() => {}
            }
            if jobs.is_empty() {
                tokio::select! {
                    _ = self.jobs.recv_many(&mut jobs, BATCH) => {}
                    _ = self.chores.recv_many(&mut chores, BATCH) => {}
                    () = stop.cancelled() => {}
                }
            }
            while jobs.len() < BATCH
                && let Ok(job) = self.jobs.try_recv()
            {
                jobs.push(job);
            }
            while let Ok(chore) = self.chores.try_recv() {
                chores.push(chore);
            }
            if jobs.is_empty() && chores.is_empty() {
                stop.cancelled().await; // or nobody is left who could ask
                return;
            }
            pace.begins(jobs.len());
            let mut batch = pin!(
                self.batches.carry_out(std::mem::take(&mut jobs), std::mem::take(&mut chores))
            );
            if timeout(PATIENCE, batch.as_mut()).await.is_err() {
                loop {
                    tokio::select! {
                        () = batch.as_mut() => break,
                        Some(job) = self.jobs.recv(), if jobs.len() < BATCH => match job {
                            Job::Asked((.., answer)) => {
                                let _ = answer.send(Err(NotDone::Unavailable(Unavailable::Database)));
                            }
                            Job::Told(_) | Job::Events(..) => jobs.push(job), // for the next
                        },
                    }
                }
            }
        }
    }
}

impl<D: Domain> Batches<D> {
    /// One batch. If it fails, the commands of requests get one more try without the events, of
    /// which one may be what failed; their consumer finds out which. So do those that another
    /// replica was in the way of.
    async fn carry_out(&self, jobs: Vec<Job<D>>, chores: Vec<ChoreJob>) {
        let mut commands = Vec::new();
        let mut events = Vec::new();
        for job in jobs {
            match job {
                Job::Asked(command) | Job::Told(command) => commands.push(command),
                Job::Events(some, answer) => events.push((some, answer)),
            }
        }
        let work = attempt::Work {
            commands: commands
                .iter()
                .map(|(command, trace, _)| (command, trace.as_ref()))
                .collect(),
            events: events.iter().flat_map(|(some, _)| some).collect(),
            chores: chores.iter().map(|(chore, _)| chore).collect(),
        };
        let mut done = self.attempt(&work).await;
        if let Err(error) = &done
            && (!events.is_empty() || is_conflict(error))
        {
            let error = format!("{error:#}");
            for (_, answer) in events.drain(..) {
                let _ = answer.send(Err(anyhow::anyhow!("{error}")));
            }
            if commands.is_empty() && chores.is_empty() {
                return;
            }
            let work = attempt::Work {
                commands: commands
                    .iter()
                    .map(|(command, trace, _)| (command, trace.as_ref()))
                    .collect(),
                events: Vec::new(),
                chores: chores.iter().map(|(chore, _)| chore).collect(),
            };
            done = self.attempt(&work).await;
        }
        match done {
            Ok(done) => {
                if done.published > 0 {
                    self.relay.notify_one();
                }
                self.committed.send_modify(|count| *count += 1);
                for ((_, answer), rows) in chores.into_iter().zip(done.rows) {
                    let _ = answer.send(Ok(rows));
                }
                for (_, answer) in events {
                    let _ = answer.send(Ok(()));
                }
                // Requests are woken by a task beside them: from this thread each would be a call of the kernel.
                let asked = commands.into_iter().map(|(_, _, answer)| answer).zip(done.outcomes);
                let answers: Vec<_> = asked.collect();
                tokio::spawn(async move {
                    for (answer, outcome) in answers {
                        let _ = answer.send(outcome.map_err(NotDone::Refused));
                    }
                });
            }
            Err(error) => {
                let error = format!("{error:#}");
                for (_, answer) in events {
                    let _ = answer.send(Err(anyhow::anyhow!("{error}")));
                }
                error!(error, commands = commands.len(), "a batch could not be written");
                for (_, _, answer) in commands {
                    let _ = answer.send(Err(NotDone::Unavailable(Unavailable::Database)));
                }
                for (_, answer) in chores {
                    let _ = answer.send(Err(anyhow::anyhow!("{error}")));
                }
            }
        }
    }
}

/// Whether the database understood the transaction and refused it: another replica made the same row
/// first, or two of them waited for each other.
fn is_conflict(error: &anyhow::Error) -> bool {
    error.downcast_ref::<sqlx::Error>().is_some_and(|error| error.as_database_error().is_some())
}
