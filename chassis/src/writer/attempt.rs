//! One try at a batch: one transaction.

use crate::base::limits::{BATCH_TIMEOUT, LONG_BATCH_TIMEOUT};
use crate::base::metrics::Metrics;
use crate::base::span::Tracer;
use crate::base::trace::Trace;
use crate::mailbox::housekeeping::HousekeepingCommand;
use crate::mailbox::message::IncomingEvent;
use crate::mailbox::{audit, dead_letters, inbox, outbox};
use crate::model::handle_all;
use crate::storage::{Db, Dialect, Statement, Tx, may_be_committed, vanished};
use crate::writer::model::WriteModel;
use crate::writer::order::Order;
use crate::writer::queue::{Batch, Queue};
use crate::writer::spans::BatchSpans;
use anyhow::{Context, anyhow};
use common_events::Event;
use futures_util::FutureExt;
use sqlx::{Row, query};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::warn;
use uuid::Uuid;

/// What tries batches, and knows which of them hold.
pub(super) struct Attempts<M: WriteModel> {
    model: M,
    db: Db,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    /// This writer among those of other replicas, and how many batches it tried.
    name: String,
    batch: AtomicI64,
}

/// What a batch is to do.
struct Work<'a, M: WriteModel> {
    orders: Vec<&'a Order<M>>,
    events: Vec<&'a IncomingEvent<M::Command>>,
    housekeeping: Vec<&'a HousekeepingCommand>,
}

impl<'a, M: WriteModel> Work<'a, M> {
    fn of(batch: &'a Batch<M>) -> Self {
        Self {
            orders: batch.orders.iter().collect(),
            events: batch.events.iter().flat_map(|(events, _)| events.iter()).collect(),
            housekeeping: batch.housekeeping.iter().map(|(command, _)| command).collect(),
        }
    }
}

/// What a batch did.
pub(super) struct Done<M: WriteModel> {
    /// One for each order that was taken.
    pub(super) outcomes: Vec<Result<M::Reply, M::Refusal>>,
    /// One for each housekeeping command.
    pub(super) rows: Vec<i64>,
    /// How many events went to the outbox.
    pub(super) published: usize,
}

/// A batch before its commit.
struct Wrote<'w, M: WriteModel> {
    done: Done<M>,
    sorted: inbox::SortedEvents<'w, M::Command>,
    spans: BatchSpans,
}

impl<M: WriteModel> Attempts<M> {
    pub(super) fn new(model: M, db: Db, metrics: Arc<Metrics>, tracer: Tracer) -> Self {
        let name = Uuid::new_v4().to_string();
        Self { model, db, metrics, tracer, name, batch: AtomicI64::new(0) }
    }

    /// Carries out the batch, all of it or nothing. If it `may_grow`, what came into `queue` before its turn is added to it. A
    /// panic of the rules is a failure like another: the writer must outlive it.
    pub(super) async fn attempt(
        &self,
        batch: &mut Batch<M>,
        queue: &mut Queue<M>,
        may_grow: bool,
    ) -> anyhow::Result<Done<M>> {
        let began = Instant::now();
        let tried = AssertUnwindSafe(self.transact(batch, queue, may_grow)).catch_unwind().await;
        let tried = tried.unwrap_or_else(|_| Err(anyhow!("a command made the rules panic")));
        self.db.wrote(&tried);
        let done = tried?;
        let events: usize = batch.events.iter().map(|(events, _)| events.len()).sum();
        self.metrics.batch(batch.orders.len() + events, began.elapsed());
        Ok(done)
    }

    async fn transact(
        &self,
        batch: &mut Batch<M>,
        queue: &mut Queue<M>,
        may_grow: bool,
    ) -> anyhow::Result<Done<M>> {
        if !self.db.is_ready() {
            return Err(vanished()).context("the database is not ready yet");
        }
        let number = self.batch.fetch_add(1, Ordering::Relaxed) + 1;
        let mut connection = self.db.connection().await?; // not kept where something fails
        let begin = self.db.begin_in_turn(&mut connection, self.mark(number));
        let in_turn = timeout(self.timeout(BATCH_TIMEOUT), begin).await;
        let mut tx = in_turn.unwrap_or_else(|_| Err(vanished()))?;
        // What came while another replica wrote, or another process had the lock of the file, goes with this batch.
        if may_grow {
            queue.top_up(batch);
        }
        let work = Work::of(batch);
        let may_take_minutes = work.orders.iter().any(|order| M::may_take_minutes(&order.command));
        let most = if may_take_minutes { LONG_BATCH_TIMEOUT } else { BATCH_TIMEOUT };
        let wrote = timeout(self.timeout(most), self.write(&mut tx, &work)).await;
        let Wrote { done, sorted, spans } = wrote.unwrap_or_else(|_| Err(vanished().into()))?;
        let committed = timeout(self.timeout(BATCH_TIMEOUT), tx.commit()).await;
        match committed.unwrap_or_else(|_| Err(vanished())) {
            Ok(()) => self.db.keep(connection),
            Err(error) => {
                drop(connection); // there are two
                if !may_be_committed(&error) || !self.holds(number, queue).await {
                    return Err(error).context("the batch was not committed");
                }
            }
        }

        spans.committed();
        self.metrics.handled_total.inc_by(sorted.fresh.len() as u64);
        self.metrics.repeated_total.inc_by(sorted.repeated as u64);
        for (incoming, rejection) in &sorted.park {
            self.metrics.parked_total.inc();
            if let Some(span) = &incoming.span {
                span.fail("parked");
            }
            warn!(
                trace.id = incoming.trace.map(|trace| display(trace.id())),
                event.id = incoming.id,
                event.key = incoming.delivery.key,
                reason = rejection.reason,
                "parked an event; see /admin/parked"
            );
        }
        Ok(done)
    }

    /// Returns how long a step of a batch may take, if it may take `most` on Postgres.
    fn timeout(&self, most: Duration) -> Duration {
        match self.db.dialect() {
            Dialect::Sqlite => Duration::MAX, // a file does not vanish
            Dialect::Postgres => most,
        }
    }

    /// All of a batch but what goes with its commit.
    async fn write<'w>(&self, tx: &mut Tx<'_>, work: &Work<'w, M>) -> anyhow::Result<Wrote<'w, M>> {
        let taken = self.take(&work.orders);
        let sorted = inbox::sort(tx, &work.events).await?;

        let of_events = sorted.fresh.iter().flat_map(|incoming| {
            incoming.commands().iter().map(|command| (command, incoming.trace))
        });
        let of_orders = taken.iter().map(|order| (&order.command, order.trace));
        let all: Vec<(&M::Command, Option<Trace>)> = of_orders.chain(of_events).collect();
        let mut done = Done { outcomes: Vec::new(), rows: Vec::new(), published: 0 };
        let spans =
            BatchSpans::start(&self.tracer, all.len(), taken.iter().map(|order| order.trace));
        if !all.is_empty() {
            self.handle(tx, &all, &spans, &taken, &mut done).await?;
        }
        dead_letters::park(tx, &sorted.park).await?;
        dead_letters::unpark(tx, &sorted.unpark).await?;
        for command in &work.housekeeping {
            done.rows.push(command.run(tx).await?);
        }
        Ok(Wrote { done, sorted, spans })
    }

    /// Takes the orders that nobody gave up, some of which an attempt before this one may have taken.
    fn take<'w>(&self, orders: &[&'w Order<M>]) -> Vec<&'w Order<M>> {
        let mut taken = Vec::with_capacity(orders.len());
        for order in orders {
            if let Some(waited) = order.take() {
                self.metrics.writer_wait_seconds.observe(waited.as_secs_f64());
            }
            taken.extend(order.is_taken().then_some(*order));
        }
        taken
    }

    /// Returns the statement that leaves the number of a batch in its transaction. So even an empty batch writes, and shows
    /// whether the database can.
    ///
    /// On Postgres it is the first, in a round trip before that of the commit: who asks about the commit then waits for the
    /// lock of the row, even where the commit arrives late.
    fn mark(&self, batch: i64) -> Statement {
        let mark = "insert into batches (writer, batch, minute) \
                    values ($1, $2, (select minutes from running_time)) \
                    on conflict (writer) do update set batch = excluded.batch, minute = excluded.minute";
        Statement::new(mark).text(self.name.as_str()).number(batch)
    }

    /// Whether a commit that brought no answer holds. Asks until the database is there: whoever waits for this batch must hear
    /// the truth. Nothing else can be written meanwhile, so once the database did not answer, all that comes is refused.
    async fn holds(&self, batch: i64, queue: &mut Queue<M>) -> bool {
        if let Some(holds) = self.holds_now(batch).await {
            return holds;
        }
        let ask = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if let Some(holds) = self.holds_now(batch).await {
                    return holds;
                }
            }
        };
        let away = vanished().into();
        tokio::select! {
            holds = ask => holds,
            never = queue.refuse(&away) => match never {},
        }
    }

    /// Asks once whether a commit holds. Returns `None` if the database does not answer.
    async fn holds_now(&self, batch: i64) -> Option<bool> {
        let last = timeout(BATCH_TIMEOUT, self.last_batch()).await;
        match last.unwrap_or_else(|_| Err(vanished())) {
            Ok(last) => Some(last >= batch),
            Err(error) => {
                self.db.wrote::<()>(&Err(error.into()));
                None
            }
        }
    }

    /// Returns the last batch that was written. Waits for a transaction that is still being committed: it holds the lock of this
    /// writer's row, or has made the row, which retention deletes while a writer is idle.
    ///
    /// On SQLite it writes the row again: the pages of a transaction whose commit failed may be in the WAL, where a restart
    /// would find them, and are overwritten so. The row alone would not be written, since it stays as it is; the index by
    /// minute is, because `minute` is set.
    async fn last_batch(&self) -> sqlx::Result<i64> {
        let mut connection = self.db.connection().await?;
        let mut tx = self.db.begin_on(&mut connection).await?;
        let last = query(
            "insert into batches (writer, batch, minute) \
             values ($1, 0, (select minutes from running_time)) \
             on conflict (writer) do update set minute = excluded.minute \
             returning batch",
        );
        let last = last.bind(self.name.as_str()).fetch_one(&mut *tx).await?.try_get(0)?;
        tx.commit().await?;
        self.db.keep(connection);
        Ok(last)
    }

    /// Carries out all commands, of which the first come from callers who want a reply: those of `orders`.
    async fn handle(
        &self,
        tx: &mut Tx<'_>,
        commands: &[(&M::Command, Option<Trace>)],
        spans: &BatchSpans,
        orders: &[&Order<M>],
        done: &mut Done<M>,
    ) -> anyhow::Result<()> {
        let commands_alone: Vec<&M::Command> =
            commands.iter().map(|(command, _)| *command).collect();
        let mut state = self.model.load(tx, &commands_alone).await?;
        let (outcomes, mut published) = handle_all::<M>(&mut state, commands_alone);
        for (number, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                outcome if number < orders.len() => done.outcomes.push(outcome),
                Ok(_) => {}
                // Nobody is there to be told of the refusal: the event cannot be acted on.
                Err(refusal) => return Err(anyhow!("refused: {refusal}")),
            }
        }
        self.model.save(tx, &state).await?;
        for (number, change) in published.take_changes() {
            let actor = orders.get(number).and_then(|order| order.actor.as_ref());
            audit::append(tx, actor, &change);
        }
        let published = published.into_events();
        done.published = published.len();
        // The trace of the span that appends, and not of the relay: its rounds mix the events of many purchases.
        let trace = |command: usize| spans.trace(command).or(commands[command].1);
        let outgoing: Vec<(Event, Option<Trace>)> =
            published.into_iter().map(|(command, event)| (event, trace(command))).collect();
        outbox::append(tx, &outgoing)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
