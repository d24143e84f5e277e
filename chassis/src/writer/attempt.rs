//! One try at a batch: one transaction.

use crate::base::limits::{BATCH_TIMEOUT, LONG_BATCH_TIMEOUT};
use crate::base::metrics::Metrics;
use crate::base::trace::Trace;
use crate::mailbox::housekeeping::{HousekeepingCommand, HousekeepingJob};
use crate::mailbox::message::IncomingEvent;
use crate::mailbox::{dead_letters, inbox, outbox};
use crate::model::handle_all;
use crate::storage::{Connection, Db, Dialect, Statement, Tx, may_be_committed, vanished};
use crate::writer::job::EventsJob;
use crate::writer::model::WriteModel;
use crate::writer::order::Order;
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
    /// This writer among those of other replicas, and how many batches it tried.
    name: String,
    batch: AtomicI64,
}

/// What a batch is to do.
pub(super) struct Work<'a, M: WriteModel> {
    pub(super) orders: Vec<&'a Order<M>>,
    pub(super) events: Vec<&'a IncomingEvent<M::Command>>,
    pub(super) housekeeping: Vec<&'a HousekeepingCommand>,
}

impl<'a, M: WriteModel> Work<'a, M> {
    pub(super) fn of(
        orders: &'a [Order<M>],
        events: &'a [EventsJob<M>],
        housekeeping: &'a [HousekeepingJob],
    ) -> Self {
        Self {
            orders: orders.iter().collect(),
            events: events.iter().flat_map(|(events, _)| events).collect(),
            housekeeping: housekeeping.iter().map(|(command, _)| command).collect(),
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
struct Wrote<'c, 'w, M: WriteModel> {
    done: Done<M>,
    sorted: inbox::SortedEvents<'w, M::Command>,
    batch: i64,
    tx: Tx<'c>,
}

impl<M: WriteModel> Attempts<M> {
    pub(super) fn new(model: M, db: Db, metrics: Arc<Metrics>) -> Self {
        let name = Uuid::new_v4().to_string();
        Self { model, db, metrics, name, batch: AtomicI64::new(0) }
    }

    /// Does the work, all of it or nothing. A panic of the rules is a failure like another: the
    /// writer must outlive it.
    pub(super) async fn attempt(&self, work: &Work<'_, M>) -> anyhow::Result<Done<M>> {
        let began = Instant::now();
        let tried = AssertUnwindSafe(self.transact(work)).catch_unwind().await;
        let tried = tried.unwrap_or_else(|_| Err(anyhow!("a command made the rules panic")));
        self.db.wrote(&tried);
        let done = tried?;
        self.metrics.batch(work.orders.len() + work.events.len(), began.elapsed());
        Ok(done)
    }

    async fn transact(&self, work: &Work<'_, M>) -> anyhow::Result<Done<M>> {
        if !self.db.is_ready() {
            return Err(vanished()).context("the database is not ready yet");
        }
        let (of_statements, of_commit) = self.timeouts(work);
        let mut connection = self.db.connection().await?; // not kept where something fails
        let wrote = timeout(of_statements, self.write(&mut connection, work)).await;
        let Wrote { done, sorted, batch, tx } = wrote.unwrap_or_else(|_| Err(vanished().into()))?;
        match timeout(of_commit, tx.commit()).await.unwrap_or_else(|_| Err(vanished())) {
            Ok(()) => self.db.keep(connection),
            Err(error) => {
                drop(connection); // there are two
                if !may_be_committed(&error) || !self.holds(batch).await {
                    return Err(error).context("the batch was not committed");
                }
            }
        }

        self.metrics.handled_total.inc_by(sorted.fresh.len() as u64);
        self.metrics.repeated_total.inc_by(sorted.repeated as u64);
        for (incoming, rejection) in &sorted.park {
            self.metrics.parked_total.inc();
            warn!(
                event.id = incoming.id,
                event.key = incoming.delivery.key,
                reason = rejection.reason,
                "parked an event; see /admin/parked"
            );
        }
        Ok(done)
    }

    /// How long the statements of a batch may take, and how long its commit.
    fn timeouts(&self, work: &Work<'_, M>) -> (Duration, Duration) {
        match self.db.dialect() {
            Dialect::Sqlite => (Duration::MAX, Duration::MAX), // a file does not vanish
            Dialect::Postgres => {
                let may_take_minutes =
                    work.orders.iter().any(|order| M::may_take_minutes(&order.command));
                (if may_take_minutes { LONG_BATCH_TIMEOUT } else { BATCH_TIMEOUT }, BATCH_TIMEOUT)
            }
        }
    }

    /// All of a batch but its commit.
    async fn write<'c, 'w>(
        &self,
        connection: &'c mut Connection,
        work: &Work<'w, M>,
    ) -> anyhow::Result<Wrote<'c, 'w, M>> {
        let mut tx = self.db.begin_on(connection).await?;
        // Taken no sooner: where another process has the lock of the file, commands wait for it as they wait in the queue.
        let taken = self.take(&work.orders);
        let sorted = inbox::sort(&mut tx, &work.events).await?;

        let of_events = sorted.fresh.iter().flat_map(|incoming| {
            incoming.commands().iter().map(|command| (command, incoming.trace.as_ref()))
        });
        let of_orders = taken.iter().map(|order| (&order.command, order.trace.as_ref()));
        let all: Vec<(&M::Command, Option<&Trace>)> = of_orders.chain(of_events).collect();
        let mut done = Done { outcomes: Vec::new(), rows: Vec::new(), published: 0 };
        if !all.is_empty() {
            self.handle(&mut tx, &all, taken.len(), &mut done).await?;
        }
        dead_letters::park(&mut tx, &sorted.park).await?;
        dead_letters::unpark(&mut tx, &sorted.unpark).await?;
        for command in &work.housekeeping {
            done.rows.push(command.run(&mut tx).await?);
        }
        let batch = self.batch.fetch_add(1, Ordering::Relaxed) + 1;
        self.mark(&mut tx, batch);
        if self.db.dialect() == Dialect::Postgres {
            tx.flush().await?; // on SQLite they go with the commit, in one round trip
        }
        Ok(Wrote { done, sorted, batch, tx })
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

    /// Leaves the number of the batch in its transaction. So even an empty batch writes, and shows
    /// whether the database can.
    fn mark(&self, tx: &mut Tx<'_>, batch: i64) {
        let mark = "insert into batches (writer, batch, minute) \
                    values ($1, $2, (select minutes from running_time)) \
                    on conflict (writer) do update set batch = excluded.batch, minute = excluded.minute";
        tx.later(Statement::new(mark).text(self.name.as_str()).number(batch));
    }

    /// Whether a commit that brought no answer holds. Asks until the database is there: whoever waits
    /// for this batch must hear the truth, and nothing else could be written meanwhile.
    async fn holds(&self, batch: i64) -> bool {
        loop {
            match timeout(BATCH_TIMEOUT, self.last_batch()).await {
                Ok(Ok(last)) => return last >= batch,
                Ok(Err(error)) => self.db.wrote::<()>(&Err(error.into())),
                Err(_) => self.db.wrote::<()>(&Err(vanished().into())),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
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

    /// Carries out all commands, of which the first `asked` come from callers who want a reply.
    async fn handle(
        &self,
        tx: &mut Tx<'_>,
        commands: &[(&M::Command, Option<&Trace>)],
        asked: usize,
        done: &mut Done<M>,
    ) -> anyhow::Result<()> {
        let commands_alone: Vec<&M::Command> =
            commands.iter().map(|(command, _)| *command).collect();
        let mut state = self.model.load(tx, &commands_alone).await?;
        let (outcomes, published) = handle_all::<M>(&mut state, commands_alone);
        for (number, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                outcome if number < asked => done.outcomes.push(outcome),
                Ok(_) => {}
                // Nobody is there to be told of the refusal: the event cannot be acted on.
                Err(refusal) => return Err(anyhow!("refused: {refusal}")),
            }
        }
        self.model.save(tx, &state).await?;
        let published = published.into_events();
        done.published = published.len();
        let outgoing: Vec<(Event, Option<&Trace>)> =
            published.into_iter().map(|(command, event)| (event, commands[command].1)).collect();
        outbox::append(tx, &outgoing)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
