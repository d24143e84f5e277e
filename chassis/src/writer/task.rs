//! The task: takes what waits, carries it out, answers.

use crate::base::limits::MIN_BATCH_INTERVAL;
use crate::base::metrics::Metrics;
use crate::base::pace::Pace;
use crate::base::span::Tracer;
use crate::model::Rules;
use crate::storage::{Db, is_at_fault};
use crate::writer::attempt::{Attempts, Done};
use crate::writer::job::BATCH_SIZE;
use crate::writer::model::{CommandError, ConflictError, WriteModel};
use crate::writer::order::Order;
use crate::writer::queue::{Batch, Queue};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::display;
use tracing::{debug, error};

/// The task.
pub(crate) struct Task<M: WriteModel> {
    pub(super) queue: Queue<M>,
    /// Tells that [`crate::writer::job::ENOUGH`] jobs wait.
    pub(super) enough: Arc<Notify>,
    pub(super) batches: Batches<M>,
}

/// What carries out batches.
pub(super) struct Batches<M: WriteModel> {
    attempts: Attempts<M>,
    relay: Arc<Notify>,
}

impl<M: WriteModel> Task<M> {
    /// Works until `stop`, and then does what still waits.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut pace = Pace::new(MIN_BATCH_INTERVAL, BATCH_SIZE);
        loop {
            tokio::select! {
                () = pace.wait() => {}
                () = self.enough() => {}
                () = stop.cancelled() => {}
            }
            let batch = self.queue.next(&stop).await;
            if batch.is_empty() {
                if stop.is_cancelled() {
                    return;
                }
                continue; // all were given up
            }
            let began = Instant::now();
            let jobs = self.batches.carry_out(batch, &mut self.queue).await;
            pace.began(began, jobs);
        }
    }

    /// Waits until so many jobs wait that a batch is worth its cost.
    async fn enough(&self) {
        while !self.queue.has_enough() {
            self.enough.notified().await; // or it was of jobs that are done by now
        }
    }
}

impl<M: WriteModel> Batches<M> {
    pub(super) fn new(
        model: M,
        db: Db,
        metrics: Arc<Metrics>,
        tracer: Tracer,
        relay: Arc<Notify>,
    ) -> Self {
        Self { attempts: Attempts::new(model, db, metrics, tracer), relay }
    }

    /// One batch, to which what comes in time is added. Returns how many jobs it had.
    ///
    /// If it fails, the commands of requests get one more try without the events, of which one may be what failed; their
    /// consumer finds out which. So do those that another replica was in the way of.
    async fn carry_out(&self, mut batch: Batch<M>, queue: &mut Queue<M>) -> usize {
        let mut done = self.attempts.attempt(&mut batch, queue, true).await;
        let jobs = batch.jobs();
        if let Err(error) = &done
            && (!batch.events.is_empty() || is_conflict(error))
        {
            batch.refuse_events(error);
            if batch.is_empty() {
                return jobs;
            }
            done = self.attempts.attempt(&mut batch, queue, false).await;
        }
        self.answer(batch, done);
        jobs
    }

    /// Tells every caller what became of a batch.
    fn answer(&self, batch: Batch<M>, done: anyhow::Result<Done<M>>) {
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                let (why, commands) = (format!("{error:#}"), batch.orders.len());
                // A batch of many belongs to no single trace.
                let trace = match batch.orders.as_slice() {
                    [order] => order.trace.map(|trace| display(trace.id())),
                    _ => None,
                };
                if is_at_fault(&error) {
                    debug!(trace.id = trace, error = why, commands, "a batch could not be written");
                } else {
                    error!(trace.id = trace, error = why, commands, "a batch could not be written");
                }
                return batch.refuse(&error);
            }
        };
        if done.published > 0 {
            self.relay.notify_one();
        }
        for ((_, answer), rows) in batch.housekeeping.into_iter().zip(done.rows) {
            let _ = answer.send(Ok(rows));
        }
        for (_, answer) in batch.events {
            let _ = answer.send(Ok(()));
        }
        let taken = batch.orders.into_iter().filter(Order::is_taken).zip(done.outcomes);
        let taken: Vec<_> = taken.collect();
        // Many are woken by a task beside them: from this thread each would be a call of the kernel. So is waking a thread for
        // that task.
        if taken.len() > 1 {
            tokio::spawn(async move { answer_each(taken) });
        } else {
            answer_each(taken);
        }
    }
}

/// An order of a batch that was committed, and what came of it.
type Taken<M> = (Order<M>, Result<<M as Rules>::Reply, <M as Rules>::Refusal>);

/// Tells callers the outcomes of their orders.
fn answer_each<M: WriteModel>(taken: Vec<Taken<M>>) {
    for (order, outcome) in taken {
        let _ = order.answer.send(outcome.map_err(CommandError::Refused));
    }
}

/// Whether the database understood the transaction and refused it: another replica made the same row
/// first, or two of them waited for each other.
fn is_conflict(error: &anyhow::Error) -> bool {
    error.is::<ConflictError>()
        || error
            .downcast_ref::<sqlx::Error>()
            .is_some_and(|error| error.as_database_error().is_some())
}
