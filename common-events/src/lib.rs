//! What the services of the shop tell each other, and nothing else: data, no plumbing.
//!
//! Every event is one JSON object on one topic. `eventType` and `timestamp` come first, as in the
//! system that this one replaces, so that its readers can read ours; `eventId` and `occurredAt`
//! are ours. Readers ignore fields and event types that they do not know.
//!
//! | event | told by | key | acted on by |
//! |---|---|---|---|
//! | `GifticonRegistered`, `QuantityModified`, `GifticonDeleted` | gifticon | gifticon id | nobody in the shop |
//! | `CartAdded` | cart | cart id | payment, mypage |
//! | `CartRemoved` | cart | cart id | gifticon, payment, mypage |
//! | `PaymentApproved` | payment | cart id | cart, mypage |
//! | `PaymentDeclined` | payment | cart id | cart (the cart goes, its stock returns), mypage |
//! | `PaymentCancelled` | payment | cart id | mypage |

mod envelope;
mod event;
pub mod number;
mod version;

pub use envelope::{DecodeError, Envelope};
pub use event::{CartAdded, CartRemoved, Decline, Event, Payment, Stock, status};
pub use version::ExpectedVersions;

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! whole_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The number that the MD gives a gifticon when registering it. Not the id of its row.
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

/// What a cart calls the stock that it holds at gifticon. Chosen by the cart before it asks, so that
/// a call that comes twice, or whose answer is lost, takes stock once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReservationId(pub Uuid);

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
