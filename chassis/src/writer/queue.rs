//! What waits for the writer, and what it takes of that for a batch.

use crate::mailbox::housekeeping::HousekeepingJob;
use crate::writer::job::{BATCH_SIZE, ENOUGH, EventsJob, Job};
use crate::writer::model::WriteModel;
use crate::writer::order::Order;
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

    /// Returns how many commands and lists of events it has.
    pub(super) fn jobs(&self) -> usize {
        self.orders.len() + self.events.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs() == 0 && self.housekeeping.is_empty()
    }
}
