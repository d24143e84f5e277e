//! What waits for the writer.

use crate::mailbox::message::IncomingEvent;
use crate::model::Rules;
use crate::writer::model::WriteModel;
use crate::writer::order::Order;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A batch is worth its fixed cost when so many commands wait: it begins at once then.
pub(super) const ENOUGH: usize = 12;
/// Commands in one transaction. Beyond a few hundred a batch takes longer to answer without carrying more a second.
pub(super) const BATCH_SIZE: usize = 500;
/// Jobs that may wait, beyond which requests are refused at once. It only bounds the memory: requests are refused by the time
/// that they waited.
pub(super) const WAITING: usize = 8_192;

pub(super) enum Job<M: WriteModel> {
    Command(Order<M>),
    /// Events from the bus, handled together or not at all.
    Events(EventsJob<M>),
}

/// Events, and where their outcome goes.
pub(super) type EventsJob<M> =
    (Arc<[IncomingEvent<<M as Rules>::Command>]>, oneshot::Sender<Result<(), EventError>>);

/// Why events were not acted on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct EventError {
    pub(crate) reason: String,
    /// The database failed, so that nothing is known about the events.
    pub(crate) database: bool,
}

impl EventError {
    pub(super) fn stopped<E>(_: E) -> Self {
        Self { reason: "the writer has stopped".into(), database: true }
    }
}
