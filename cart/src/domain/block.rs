//! Blocks of attempts.

use common_events::ReservationId;
use uuid::Uuid;

/// Attempts in a block.
pub const BLOCK_SIZE: usize = 1 << u8::BITS;

/// [`BLOCK_SIZE`] attempts without an `Idempotency-Key` that are written as one row. The ids of their reservations differ in the last byte
/// only.
///
/// After a crash as many reservations are released for each block that was in use, so a block is small. It is large enough: a
/// shop that makes 8,000 carts a second writes 31 blocks a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(ReservationId);

impl Block {
    /// Returns a block that nobody has. Blocks that are taken later have higher ids, so that the reservations and carts that are written
    /// together are beside each other in their indexes.
    pub fn unused() -> Self {
        Self::of(ReservationId(Uuid::now_v7()))
    }

    /// Returns the block that a reservation would be in.
    pub fn of(reservation: ReservationId) -> Self {
        let mut bytes = reservation.0.into_bytes();
        bytes[15] = 0;
        Self(ReservationId(Uuid::from_bytes(bytes)))
    }

    /// Returns the first reservation of the block, which stands for it in the database.
    pub fn first(self) -> ReservationId {
        self.0
    }

    /// Returns a reservation of the block by its place.
    pub fn reservation(self, place: u8) -> ReservationId {
        let mut bytes = self.0.0.into_bytes();
        bytes[15] = place;
        ReservationId(Uuid::from_bytes(bytes))
    }

    /// Returns all reservations of the block.
    pub fn reservations(self) -> impl Iterator<Item = ReservationId> {
        (0..=u8::MAX).map(move |place| self.reservation(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_block_has_its_reservations_and_no_others() {
        let (block, other) = (Block::unused(), Block::unused());
        let ids: BTreeSet<_> = block.reservations().collect();
        assert_eq!(ids.len(), BLOCK_SIZE);
        assert_eq!(ids.first(), Some(&block.first()));
        assert!(ids.iter().all(|id| Block::of(*id) == block && !id.0.is_nil()));
        assert_ne!(block, other);
        assert!(other.reservations().all(|id| !ids.contains(&id)));
    }
}
