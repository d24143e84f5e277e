//! What waits for the writer, and what it takes of that for a batch.

use crate::base::unavailable::Unavailable;
use crate::mailbox::housekeeping::HousekeepingJob;
use crate::storage::is_at_fault;
use crate::writer::job::{BATCH_SIZE, ENOUGH, EventError, EventsJob, Job};
use crate::writer::model::{CommandError, WriteModel};
use crate::writer::order::Order;
use std::convert::Infallible;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What waits for the writer.
pub(super) struct Queue<M: WriteModel> {
    pub(super) jobs: mpsc::Receiver<Job<M>>,
    pub(super) housekeeping: mpsc::Receiver<HousekeepingJob>,
}

/// The work of a batch, with where each outcome goes.
pub(super) struct Batch<M: WriteModel> {
    pub(super) orders: Vec<Order<M>>,
    pub(super) events: Vec<EventsJob<M>>,
    pub(super) housekeeping: Vec<HousekeepingJob>,
}

impl<M: WriteModel> Queue<M> {
    /// Waits for work, and returns all that waits then, up to a full batch. Returns nothing once `stop` is cancelled and no
    /// work waits.
    pub(super) async fn next(&mut self, stop: &CancellationToken) -> Batch<M> {
        let mut batch = Batch { orders: Vec::new(), events: Vec::new(), housekeeping: Vec::new() };
        tokio::select! {
            Some(job) = self.jobs.recv() => batch.add(job),
            Some(job) = self.housekeeping.recv() => batch.housekeeping.push(job),
            () = stop.cancelled() => {}
        }
        self.top_up(&mut batch);
        batch
    }

    /// Adds what waits, until the batch is full.
    pub(super) fn top_up(&mut self, batch: &mut Batch<M>) {
        while batch.jobs() < BATCH_SIZE
            && let Ok(job) = self.jobs.try_recv()
        {
            batch.add(job);
        }
        while let Ok(job) = self.housekeeping.try_recv() {
            batch.housekeeping.push(job);
        }
    }

    /// Refuses all that waits and all that comes because of `error`, until it is dropped.
    pub(super) async fn refuse(&mut self, error: &anyhow::Error) -> Infallible {
        loop {
            let refused = self.next(&CancellationToken::new()).await;
            refused.refuse(error);
        }
    }

    /// Whether a batch is worth its fixed cost.
    pub(super) fn has_enough(&self) -> bool {
        self.jobs.len() >= ENOUGH
    }
}

impl<M: WriteModel> Batch<M> {
    fn add(&mut self, job: Job<M>) {
        match job {
            Job::Command(order) if order.is_given_up() => {}
            Job::Command(order) => self.orders.push(order),
            Job::Events(events) => self.events.push(events),
        }
    }

    /// Tells every caller that nothing was done because of `error`.
    pub(super) fn refuse(mut self, error: &anyhow::Error) {
        let database = is_at_fault(error); // which is logged once, by then
        let why = if database { Unavailable::Database } else { Unavailable::Failed };
        self.refuse_events(error);
        for order in self.orders {
            let _ = order.answer.send(Err(CommandError::Unavailable(why)));
        }
        for (_, answer) in self.housekeeping {
            let failed = if database { why.into() } else { anyhow::anyhow!("{error:#}") };
            let _ = answer.send(Err(failed));
        }
    }

    /// Tells the consumer that its events were not handled because of `error`, and leaves them out of the batch.
    pub(super) fn refuse_events(&mut self, error: &anyhow::Error) {
        let why = EventError { reason: format!("{error:#}"), database: is_at_fault(error) };
        for (_, answer) in self.events.drain(..) {
            let _ = answer.send(Err(why.clone()));
        }
    }

    /// Returns how many commands and lists of events it has.
    pub(super) fn jobs(&self) -> usize {
        self.orders.len() + self.events.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs() == 0 && self.housekeeping.is_empty()
    }
}
