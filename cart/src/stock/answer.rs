//! What is asked of gifticon, and what it answers.

use crate::domain::Rejection;
use chassis::base::trace::Trace;
use common_events::{GifticonId, Owner, ReservationId};
use std::sync::Arc;

/// A reservation that gifticon holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Name of the gifticon.
    pub name: String,
    /// Won for one unit.
    pub price: i64,
}

/// A reservation to make.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) reservation: ReservationId,
    pub(super) gifticon_id: GifticonId,
    pub(super) quantity: i64,
    /// For whom it is.
    pub(super) owner: Owner,
    pub(super) trace: Option<Trace>,
}

/// What is reserved, or why not. `None` means that the reservation was released before.
pub(super) type Answer = Result<Reserved, Option<Rejection>>;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    /// The circuit is open: nothing was sent.
    #[error("the circuit to gifticon is open")]
    Unsent,
    #[error("gifticon did not answer in time")]
    Late,
    #[error("{0}")]
    Failed(Arc<str>),
}

impl Unanswered {
    pub(super) fn failed(error: &anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}").into())
    }
}

/// Why it is not certain that stock was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// No answer in time.
    #[error("gifticon did not answer in time")]
    Late,
    /// It cannot be reached, or failed.
    #[error("gifticon failed")]
    Failed,
}
