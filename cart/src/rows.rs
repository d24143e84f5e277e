//! The carts' tables, each written down once, and what the rules make of their rows.

use crate::domain::{Attempt, Cart, IdempotencyKey, Outcome, Rejection, Status};
use chassis::table;
use common_events::{CartId, GifticonId, Owner, ReservationId};
use serde::Deserialize;

/// Texts of an attempt's status.
pub const PENDING: &str = "Pending";
pub const CANCELLED: &str = "Abandoned";

/// A text in a table that this service never writes.
#[derive(Debug, thiserror::Error)]
#[error("unknown {column}: {text}")]
pub struct UnknownTextError {
    column: &'static str,
    text: String,
}

table! {
    /// A cart.
    pub struct CartRow in "carts" {
        id: CartId,
        gifticon_id: GifticonId,
        quantity: i64,
        reservation_id: ReservationId,
        name: String,
        price: i64,
        status: String,
        added_at: i64,
        changed_at: i64,
        owner: Owner,
    }
}

impl From<&Cart> for CartRow {
    /// Returns the row of a new cart.
    fn from(cart: &Cart) -> Self {
        Self {
            id: cart.id,
            gifticon_id: cart.gifticon_id,
            quantity: cart.quantity,
            reservation_id: cart.reservation_id,
            name: cart.name.clone(),
            price: cart.price,
            status: cart.status.text().into(),
            added_at: cart.added_at,
            changed_at: cart.added_at,
            owner: cart.owner.clone(),
        }
    }
}

/// A cart as it is read.
#[derive(Debug, Deserialize)]
#[serde(try_from = "CartRow")]
pub struct StoredCart(pub Cart);

impl TryFrom<CartRow> for StoredCart {
    type Error = UnknownTextError;

    fn try_from(row: CartRow) -> Result<Self, UnknownTextError> {
        let status = Status::ALL.into_iter().find(|status| status.text() == row.status);
        let unknown = || UnknownTextError { column: "status", text: row.status };
        Ok(Self(Cart {
            id: row.id,
            owner: row.owner,
            gifticon_id: row.gifticon_id,
            quantity: row.quantity,
            reservation_id: row.reservation_id,
            name: row.name,
            price: row.price,
            status: status.ok_or_else(unknown)?,
            added_at: row.added_at,
        }))
    }
}

table! {
    /// An attempt to add a cart.
    pub struct AttemptRow in "intents" {
        reservation_id: ReservationId,
        gifticon_id: GifticonId,
        quantity: i64,
        idempotency_key: Option<String>,
        status: String,
        owner: Owner,
    }
}

impl From<&Attempt> for AttemptRow {
    fn from(attempt: &Attempt) -> Self {
        Self {
            reservation_id: attempt.reservation_id,
            gifticon_id: attempt.gifticon_id,
            quantity: attempt.quantity,
            idempotency_key: attempt.key.clone(),
            status: if attempt.cancelled { CANCELLED } else { PENDING }.into(),
            owner: attempt.owner.clone(),
        }
    }
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            reservation_id: row.reservation_id,
            owner: row.owner,
            gifticon_id: row.gifticon_id,
            quantity: row.quantity,
            key: row.idempotency_key,
            cancelled: row.status == CANCELLED,
        }
    }
}

table! {
    /// A block of attempts.
    pub struct BlockRow in "attempt_blocks" {
        first_reservation_id: ReservationId,
    }
}

table! {
    /// An idempotency key. The column `minute` is stamped when it is inserted.
    pub struct KeyRow in "idempotency_keys" {
        idempotency_key: String,
        gifticon_id: GifticonId,
        quantity: i64,
        outcome: String,
        cart_id: Option<CartId>,
        available: Option<i64>,
    }
}

impl From<&IdempotencyKey> for KeyRow {
    fn from(key: &IdempotencyKey) -> Self {
        let (outcome, cart_id, available) = match key.outcome {
            Outcome::Pending => (PENDING, None, None),
            Outcome::Added(id) => ("Added", Some(id), None),
            Outcome::Rejected(Rejection::UnknownGifticon) => ("NoGifticon", None, None),
            Outcome::Rejected(Rejection::InsufficientStock { available }) => {
                ("Short", None, Some(available))
            }
        };
        Self {
            idempotency_key: key.key.clone(),
            gifticon_id: key.gifticon_id,
            quantity: key.quantity,
            outcome: outcome.into(),
            cart_id,
            available,
        }
    }
}

impl TryFrom<KeyRow> for IdempotencyKey {
    type Error = UnknownTextError;

    fn try_from(row: KeyRow) -> Result<Self, UnknownTextError> {
        let outcome = match (row.outcome.as_str(), row.cart_id, row.available) {
            (PENDING, ..) => Outcome::Pending,
            ("Added", Some(id), _) => Outcome::Added(id),
            ("NoGifticon", ..) => Outcome::Rejected(Rejection::UnknownGifticon),
            ("Short", _, Some(available)) => {
                Outcome::Rejected(Rejection::InsufficientStock { available })
            }
            _ => return Err(UnknownTextError { column: "outcome", text: row.outcome }),
        };
        Ok(Self {
            key: row.idempotency_key,
            gifticon_id: row.gifticon_id,
            quantity: row.quantity,
            outcome,
        })
    }
}
