//! An event from the bus, and why it may be parked.

use crate::base::span::Span;
use crate::base::trace::Trace;
use crate::bus::Delivery;
use std::sync::Arc;

/// The place of a parked event that came from the outbox: the broker refused it.
pub(crate) const OUTBOX_PLACE: &str = "outbox";

/// An event from the bus, with the commands that the service's policy makes of it.
#[derive(Clone, Debug)]
pub(crate) struct IncomingEvent<C> {
    /// The id of the event, the same on every delivery.
    pub(crate) id: String,
    /// The message, in case it must be parked.
    pub(crate) delivery: Arc<Delivery>,
    /// The trace that it belongs to.
    pub(crate) trace: Option<Trace>,
    /// Records what is done about it, if that is recorded. It ends with the last copy of the event.
    pub(crate) span: Option<Arc<Span>>,
    /// The commands that follow from it, or why it cannot be acted on.
    pub(crate) meaning: Result<Vec<C>, Rejection>,
    /// The row in which it was parked, if it is replayed.
    pub(crate) parked: Option<i64>,
}

impl<C> IncomingEvent<C> {
    /// Returns the commands that follow from it.
    pub(crate) fn commands(&self) -> &[C] {
        self.meaning.as_deref().unwrap_or_default()
    }

    /// True if there is anything to do: commands to carry out, or an event to park.
    pub(crate) fn matters(&self) -> bool {
        self.meaning.as_ref().map_or(true, |commands| !commands.is_empty())
    }
}

/// Why an event is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: String,
    /// True if later events of its key wait behind it. False for a message that can have no effect, as it is no event.
    pub(crate) holds_key: bool,
}
