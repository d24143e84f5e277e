//! The events that the services of the shop publish, and the ids in them. Data only: no I/O.
//!
//! Every event is a JSON object on one topic. `eventType` and `timestamp` come first, as in the system that this one replaces
//! ("the original"), whose readers can read our events. `eventId` and `occurredAt` are new. Readers ignore fields and event
//! types that they do not know.
//!
//! A new event type is a row of `event_types!` in `event.rs`, and a struct there if its fields are new. The table in
//! `docs/how/events.md` says who sends each type and who acts on it; a test compares it with the policies of the services.
//! `docs/events` has the JSON Schema of each type, which a test makes of these types.

mod envelope;
mod event;
pub mod number;
mod owner;
#[cfg(test)]
mod schema;
mod version;

pub use envelope::{DecodeError, Envelope};
pub use event::*;
pub use owner::Owner;
pub use version::ExpectedVersions;

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! whole_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(#[serde(deserialize_with = "number::lenient")] pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

whole_id! {
    /// The number that the merchandiser (MD) gives a gifticon when registering it. Not the id of its row.
    GifticonId
}
whole_id! {
    /// The number of a cart, counted from 1 by the cart service.
    CartId
}
whole_id! {
    /// The number of a payment, counted from 1 by the payment service.
    PaymentId
}

/// The id of the units that a cart holds in the gifticon service. Cart chooses it before the call, so that a call that is
/// repeated reserves once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ReservationId(pub Uuid);

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
