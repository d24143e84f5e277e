//! An event on its way in, or one that waits for an operator.

use crate::base::trace::Trace;
use crate::bus::Delivery;
use std::sync::Arc;

/// The place of a parked event that the broker refused to take. It came from the outbox.
pub(crate) const OUTBOX: &str = "outbox";

/// An event with what the service's policy makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Incoming<C> {
    /// The same however often it comes.
    pub(crate) id: String,
    /// The message, for the case that it must be parked.
    pub(crate) delivery: Arc<Delivery>,
    /// The story that it belongs to.
    pub(crate) trace: Option<Trace>,
    /// The commands that follow from it, or why it cannot be acted on.
    pub(crate) meaning: Result<Vec<C>, Rejection>,
    /// The row in which it was parked, when it is replayed from there.
    pub(crate) parked: Option<i64>,
}

impl<C> Incoming<C> {
    pub(crate) fn commands(&self) -> &[C] {
        self.meaning.as_deref().unwrap_or_default()
    }

    /// Whether there is anything to do about it.
    pub(crate) fn matters(&self) -> bool {
        self.meaning.as_ref().map_or(true, |commands| !commands.is_empty())
    }
}

/// Why an event is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: String,
    /// Later events of its key wait behind it. Not so where it can have no effect: it is no event at all.
    pub(crate) holds_key: bool,
}
