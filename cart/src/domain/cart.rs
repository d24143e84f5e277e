//! What the rules are about: carts, attempts to add one, and idempotency keys.

use crate::domain::Block;
use common_events::{
    CartAdded, CartId, CartRemoved, Event, GifticonId, Owner, ReservationId, status,
};

/// A cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    pub id: CartId,
    pub owner: Owner,
    pub gifticon_id: GifticonId,
    pub quantity: i64,
    /// Under which its stock is held.
    pub reservation_id: ReservationId,
    /// Name of the gifticon when it was reserved.
    pub name: String,
    /// Won for one unit when it was reserved.
    pub price: i64,
    pub status: Status,
    /// Milliseconds since 1970.
    pub added_at: i64,
}

impl Cart {
    /// Returns the won to pay in all.
    pub fn amount(&self) -> i64 {
        self.price.saturating_mul(self.quantity)
    }

    /// Returns whether it still holds stock.
    pub fn is_live(&self) -> bool {
        self.status != Status::Removed
    }

    /// Returns what others hear of it when it is made.
    pub(super) fn added_event(&self) -> Event {
        Event::CartAdded(CartAdded {
            id: self.id,
            gifticon_id: self.gifticon_id,
            quantity: self.quantity,
            status: Some(status::CART_ADDED.into()),
            reservation_id: Some(self.reservation_id),
            name: Some(self.name.clone()),
            price: Some(self.price),
            amount: Some(self.amount()),
            owner: self.owner.clone(),
        })
    }

    /// Returns what others hear of it when it is removed.
    pub(super) fn removed_event(&self) -> Event {
        Event::CartRemoved(CartRemoved {
            id: self.id,
            gifticon_id: self.gifticon_id,
            quantity: self.quantity,
            status: Some(status::CART_REMOVED.into()),
            reservation_id: Some(self.reservation_id),
            owner: self.owner.clone(),
        })
    }
}

/// Where a cart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds stock; its payment is not decided as far as it knows.
    Added,
    /// It holds stock and is paid.
    Paid,
    /// It holds nothing any more.
    Removed,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Added, Self::Paid, Self::Removed];

    /// Returns the text that customers read, which is also stored.
    pub fn text(self) -> &'static str {
        match self {
            Self::Added => status::CART_ADDED,
            Self::Paid => status::PAYMENT_APPROVED,
            Self::Removed => status::CART_REMOVED,
        }
    }

    /// Returns the version of a cart with this status, for its `ETag`. Nothing else that customers read of a cart changes,
    /// and a status never comes back.
    pub fn version(self) -> i64 {
        match self {
            Self::Added => 1,
            Self::Paid => 2,
            Self::Removed => 3,
        }
    }
}

/// An attempt to add a cart, while gifticon's answer is not known. One with a key has a row of its own. One without is in a
/// [`Block`], and gets a row when it is cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub reservation_id: ReservationId,
    /// Whom its cart is to belong to.
    pub owner: Owner,
    pub gifticon_id: GifticonId,
    pub quantity: i64,
    /// The `Idempotency-Key` of the request, as [`scoped_key`] returns it.
    pub key: Option<String>,
    /// True once no cart may come of it. It is kept until gifticon has released what it may hold.
    pub cancelled: bool,
}

impl Attempt {
    /// Returns the cancelled attempt of a block of which nothing but its reservation is known.
    pub(super) fn cancelled(reservation_id: ReservationId) -> Self {
        let (gifticon_id, quantity, key) = (GifticonId(0), 0, None);
        let owner = Owner::GUEST;
        Self { reservation_id, owner, gifticon_id, quantity, key, cancelled: true }
    }

    /// Returns the block that it is in, if it is in one.
    pub fn block(&self) -> Option<Block> {
        self.key.is_none().then(|| Block::of(self.reservation_id))
    }
}

/// Returns an `Idempotency-Key` as it is kept, with its owner, so that two owners may use the same key. Guests' are kept as they
/// are. No key has a line feed.
pub fn scoped_key(owner: &Owner, key: &str) -> String {
    if *owner == Owner::GUEST { key.to_owned() } else { format!("{owner}\n{key}") }
}

/// An `Idempotency-Key`, and what the request with it led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// As [`scoped_key`] returns it.
    pub key: String,
    pub gifticon_id: GifticonId,
    pub quantity: i64,
    pub outcome: Outcome,
}

/// How a request to add a cart ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is still under way.
    Pending,
    /// With this cart.
    Added(CartId),
    /// Gifticon refused it.
    Rejected(Rejection),
}

/// Why gifticon refuses to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There is no such gifticon.
    UnknownGifticon,
    /// It has this many units left, which are not enough.
    InsufficientStock { available: i64 },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_status_has_a_text_and_a_version_of_its_own() {
        let texts: BTreeSet<_> = Status::ALL.iter().map(|status| status.text()).collect();
        let versions: BTreeSet<_> = Status::ALL.iter().map(|status| status.version()).collect();
        assert_eq!((texts.len(), versions.len()), (3, 3));
    }
}
