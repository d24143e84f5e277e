//! The task: takes what waits, carries it out, answers.

use crate::base::limits::MIN_BATCH_INTERVAL;
use crate::base::metrics::Metrics;
use crate::base::pace::Pace;
use crate::base::unavailable::Unavailable;
use crate::mailbox::housekeeping::HousekeepingJob;
use crate::storage::{Db, is_at_fault};
use crate::writer::attempt::{Attempts, Work};
use crate::writer::job::{EventError, Job};
use crate::writer::model::{CommandError, ConflictError, WriteModel};
use crate::writer::order::Order;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

/// Commands in one transaction. Beyond a few hundred a batch takes longer to answer without
/// carrying more a second.
const BATCH_SIZE: usize = 500;

/// The task.
pub(crate) struct Task<M: WriteModel> {
    pub(super) jobs: mpsc::Receiver<Job<M>>,
    /// Tells that [`crate::writer::job::ENOUGH`] of them wait.
    pub(super) enough: Arc<Notify>,
    pub(super) housekeeping: mpsc::Receiver<HousekeepingJob>,
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
        let (mut jobs, mut housekeeping) = (Vec::new(), Vec::new());
        let mut pace = Pace::new(MIN_BATCH_INTERVAL, BATCH_SIZE);
        loop {
            tokio::select! {
                () = pace.wait() => {}
                () = self.enough.notified() => {}
                () = stop.cancelled() => {}
            }
            if jobs.is_empty() {
                tokio::select! {
                    _ = self.jobs.recv_many(&mut jobs, BATCH_SIZE) => {}
                    _ = self.housekeeping.recv_many(&mut housekeeping, BATCH_SIZE) => {}
                    () = stop.cancelled() => {}
                }
            }
            while jobs.len() < BATCH_SIZE
                && let Ok(job) = self.jobs.try_recv()
            {
                jobs.push(job);
            }
            while let Ok(job) = self.housekeeping.try_recv() {
                housekeeping.push(job);
            }
            if jobs.is_empty() && housekeeping.is_empty() {
                stop.cancelled().await; // or nobody is left who could ask
                return;
            }
            jobs.retain(|job| !matches!(job, Job::Command(order) if order.is_given_up()));
            let now: Vec<_> = jobs.drain(..jobs.len().min(BATCH_SIZE)).collect();
            pace.begins(now.len());
            if !now.is_empty() || !housekeeping.is_empty() {
                self.batches.carry_out(now, std::mem::take(&mut housekeeping)).await;
            }
        }
    }
}

impl<M: WriteModel> Batches<M> {
    pub(super) fn new(model: M, db: Db, metrics: Arc<Metrics>, relay: Arc<Notify>) -> Self {
        Self { attempts: Attempts::new(model, db, metrics), relay }
    }

    /// One batch. If it fails, the commands of requests get one more try without the events, of
    /// which one may be what failed; their consumer finds out which. So do those that another
    /// replica was in the way of.
    async fn carry_out(&self, jobs: Vec<Job<M>>, housekeeping: Vec<HousekeepingJob>) {
        let mut orders: Vec<Order<M>> = Vec::new();
        let mut events = Vec::new();
        for job in jobs {
            match job {
                Job::Command(order) => orders.push(order),
                Job::Events(some) => events.push(some),
            }
        }
        let work = Work::of(&orders, &events, &housekeeping);
        let mut done = self.attempts.attempt(&work).await;
        if let Err(error) = &done
            && (!events.is_empty() || is_conflict(error))
        {
            let database = is_at_fault(error);
            let why = EventError { reason: format!("{error:#}"), database };
            for (_, answer) in events.drain(..) {
                let _ = answer.send(Err(why.clone()));
            }
            if orders.is_empty() && housekeeping.is_empty() {
                return;
            }
            let work = Work::of(&orders, &events, &housekeeping);
            done = self.attempts.attempt(&work).await;
        }
        match done {
            Ok(done) => {
                if done.published > 0 {
                    self.relay.notify_one();
                }
                for ((_, answer), rows) in housekeeping.into_iter().zip(done.rows) {
                    let _ = answer.send(Ok(rows));
                }
                for (_, answer) in events {
                    let _ = answer.send(Ok(()));
                }
                // Requests are woken by a task beside them: from this thread each would be a call of the kernel.
                let taken = orders.into_iter().filter(Order::is_taken).zip(done.outcomes);
                let taken: Vec<_> = taken.collect();
                tokio::spawn(async move {
                    for (order, outcome) in taken {
                        let _ = order.answer.send(outcome.map_err(CommandError::Refused));
                    }
                });
            }
            Err(error) => {
                let database = is_at_fault(&error); // which is logged once, by then
                let error = format!("{error:#}");
                if database {
                    debug!(error, commands = orders.len(), "a batch could not be written");
                } else {
                    error!(error, commands = orders.len(), "a batch could not be written");
                }
                let why = if database { Unavailable::Database } else { Unavailable::Failed };
                for order in orders {
                    let _ = order.answer.send(Err(CommandError::Unavailable(why)));
                }
                for (_, answer) in housekeeping {
                    let failed = if database {
                        anyhow::Error::new(Unavailable::Database)
                    } else {
                        anyhow::anyhow!("{error}")
                    };
                    let _ = answer.send(Err(failed));
                }
            }
        }
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
