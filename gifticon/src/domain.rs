//! The rules of stock. Pure: no clock, no database, no network.
//!
//! For every gifticon, what was registered and restocked is what is available plus what is held, and
//! neither is ever below zero.

use common_events::{ExpectedVersions, GifticonId, ReservationId};
use std::collections::HashMap;

/// The largest stock, the original's `Integer`.
pub const MOST_UNITS: i64 = 2_147_483_647;

/// A gifticon on sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gifticon {
    /// Its row, counted from 1.
    pub id: i64,
    /// The number that the MD gave it.
    pub gifticon_id: GifticonId,
    /// What customers read.
    pub name: String,
    /// Units left to sell.
    pub available: i64,
    /// Units that carts hold.
    pub held: i64,
    /// Won for one unit.
    pub price: i64,
    /// Counts every change, for its `ETag`.
    pub version: i64,
}

/// What a cart holds or held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its name, chosen by the cart.
    pub id: ReservationId,
    /// What of; none for a release that came first.
    pub gifticon_id: Option<GifticonId>,
    /// Units.
    pub quantity: i64,
    /// Name of the gifticon at that time.
    pub name: String,
    /// Won for one unit at that time.
    pub price: i64,
    /// Units that were left after it.
    pub left: i64,
    /// Whether it still holds stock. Once it does not, it never does again.
    pub held: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put a gifticon on sale.
    Register { gifticon_id: GifticonId, name: String, available: i64, price: i64 },
    /// Change the gifticon of a row.
    Change { id: i64, change: Change },
    /// Take the gifticon of a row off sale.
    Delete { id: i64, expected: ExpectedVersions },
    /// Hold stock for a cart.
    Reserve { reservation: ReservationId, gifticon_id: GifticonId, quantity: i64 },
    /// Let go of it.
    Release { reservation: ReservationId },
}

/// What an MD changes about a gifticon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub name: Option<String>,
    pub price: Option<i64>,
    /// Units to add, or with a minus to take away.
    pub restock: Option<i64>,
    /// What the stock is to be, which holds only if nothing was sold meanwhile: see `expected`.
    pub available: Option<i64>,
    /// The versions that the MD looked at.
    pub expected: ExpectedVersions,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StockEvent {
    Registered(Gifticon),
    Changed {
        gifticon_id: GifticonId,
        name: String,
        price: i64,
        available: i64,
    },
    Deleted(Gifticon),
    Reserved(Reservation),
    Released(ReservationId),
    /// A release came before its reservation, which must fail when it comes.
    Forestalled(ReservationId),
}

/// Why the rules say no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("gifticon {0} exists already")]
    Exists(GifticonId),
    #[error("there is no such gifticon")]
    Absent,
    #[error("only {available} are left")]
    Short { available: i64 },
    #[error("the reservation was released already")]
    Released,
    #[error("the reservation was made for something else")]
    Differs,
    #[error("live carts hold {held} units of it")]
    Held { held: i64 },
    #[error("its version is {current}, which was not expected")]
    Unexpected { current: i64 },
    #[error("an absolute quantity needs the version that it is based on")]
    Unconditional,
    #[error("the stock would be {0}")]
    OutOfBounds(i64),
}

/// What a batch of commands works on.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    /// By the number that the MD gave.
    pub gifticons: HashMap<GifticonId, Gifticon>,
    /// By name.
    pub reservations: HashMap<ReservationId, Reservation>,
    /// The last row that was given.
    pub last_id: i64,
    /// How many gifticons are on sale.
    pub live: i64,
}

impl Stock {
    /// The gifticon of a row.
    pub fn by_row(&self, id: i64) -> Option<&Gifticon> {
        self.gifticons.values().find(|gifticon| gifticon.id == id)
    }

    /// Says what happens: the events that follow from `command`, or why none may. A command that
    /// finds its work done answers no events, so that one that comes twice is harmless.
    pub fn decide(&self, command: &Command) -> Result<Vec<StockEvent>, Refusal> {
        match command {
            Command::Register { gifticon_id, name, available, price } => {
                if self.gifticons.contains_key(gifticon_id) {
                    return Err(Refusal::Exists(*gifticon_id));
                }
                Ok(vec![StockEvent::Registered(Gifticon {
                    id: self.last_id + 1,
                    gifticon_id: *gifticon_id,
                    name: name.clone(),
                    available: *available,
                    held: 0,
                    price: *price,
                    version: 1,
                })])
            }
            Command::Change { id, change } => {
                changed(self.expected(*id, &change.expected)?, change)
            }
            Command::Delete { id, expected } => match self.expected(*id, expected)? {
                gifticon if gifticon.held > 0 => Err(Refusal::Held { held: gifticon.held }),
                gifticon => Ok(vec![StockEvent::Deleted(gifticon.clone())]),
            },
            Command::Reserve { reservation, gifticon_id, quantity } => {
                self.reserve(*reservation, *gifticon_id, *quantity)
            }
            Command::Release { reservation } => Ok(match self.reservations.get(reservation) {
                None => vec![StockEvent::Forestalled(*reservation)],
                Some(reservation) if reservation.held => vec![StockEvent::Released(reservation.id)],
                Some(_) => vec![],
            }),
        }
    }

    /// The gifticon of a row, in one of the expected versions.
    fn expected(&self, id: i64, versions: &ExpectedVersions) -> Result<&Gifticon, Refusal> {
        let gifticon = self.by_row(id).ok_or(Refusal::Absent)?;
        let expected = versions.include(gifticon.version);
        expected.then_some(gifticon).ok_or(Refusal::Unexpected { current: gifticon.version })
    }

    fn reserve(
        &self,
        id: ReservationId,
        gifticon_id: GifticonId,
        quantity: i64,
    ) -> Result<Vec<StockEvent>, Refusal> {
        if let Some(before) = self.reservations.get(&id) {
            return match before {
                Reservation { held: false, .. } => Err(Refusal::Released),
                Reservation { gifticon_id: of, quantity: units, .. }
                    if (*of, *units) != (Some(gifticon_id), quantity) =>
                {
                    Err(Refusal::Differs)
                }
                _ => Ok(vec![]),
            };
        }
        let gifticon = self.gifticons.get(&gifticon_id).ok_or(Refusal::Absent)?;
        if quantity > gifticon.available {
            return Err(Refusal::Short { available: gifticon.available });
        }
        Ok(vec![StockEvent::Reserved(Reservation {
            id,
            gifticon_id: Some(gifticon_id),
            quantity,
            name: gifticon.name.clone(),
            price: gifticon.price,
            left: gifticon.available - quantity,
            held: true,
        })])
    }

    /// Folds one event in.
    pub fn evolve(&mut self, event: &StockEvent) {
        match event {
            StockEvent::Registered(gifticon) => {
                self.last_id = gifticon.id;
                self.live += 1;
                self.gifticons.insert(gifticon.gifticon_id, gifticon.clone());
            }
            StockEvent::Changed { gifticon_id, name, price, available } => {
                if let Some(gifticon) = self.gifticons.get_mut(gifticon_id) {
                    (gifticon.name, gifticon.price) = (name.clone(), *price);
                    gifticon.available = *available;
                    gifticon.version += 1;
                }
            }
            StockEvent::Deleted(gifticon) => {
                self.live -= 1;
                self.gifticons.remove(&gifticon.gifticon_id);
            }
            StockEvent::Reserved(reservation) => {
                self.shift(reservation.gifticon_id, reservation.quantity);
                self.reservations.insert(reservation.id, reservation.clone());
            }
            StockEvent::Released(id) => {
                if let Some(reservation) = self.reservations.get_mut(id) {
                    reservation.held = false;
                    let (of, quantity) = (reservation.gifticon_id, reservation.quantity);
                    self.shift(of, -quantity);
                }
            }
            StockEvent::Forestalled(id) => {
                let tombstone = Reservation {
                    id: *id,
                    gifticon_id: None,
                    quantity: 0,
                    name: String::new(),
                    price: 0,
                    left: 0,
                    held: false,
                };
                self.reservations.insert(*id, tombstone);
            }
        }
    }

    /// Moves units from what is available to what is held.
    fn shift(&mut self, of: Option<GifticonId>, units: i64) {
        if let Some(gifticon) = of.and_then(|of| self.gifticons.get_mut(&of)) {
            gifticon.available -= units;
            gifticon.held += units;
            gifticon.version += 1;
        }
    }
}

/// What a change of `gifticon` comes to.
fn changed(gifticon: &Gifticon, change: &Change) -> Result<Vec<StockEvent>, Refusal> {
    if change.available.is_some() && !change.expected.are_explicit() {
        return Err(Refusal::Unconditional);
    }
    let available = change.available.unwrap_or(gifticon.available);
    let available = available.saturating_add(change.restock.unwrap_or_default());
    if !(0..=MOST_UNITS).contains(&available) {
        return Err(Refusal::OutOfBounds(available));
    }
    let name = change.name.clone().unwrap_or_else(|| gifticon.name.clone());
    let price = change.price.unwrap_or(gifticon.price);
    if (&name, price, available) == (&gifticon.name, gifticon.price, gifticon.available) {
        return Ok(vec![]);
    }
    Ok(vec![StockEvent::Changed { gifticon_id: gifticon.gifticon_id, name, price, available }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn reservation(n: u128) -> ReservationId {
        ReservationId(Uuid::from_u128(n))
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let gifticon = (1..=2_i64).prop_map(GifticonId);
        let change = (
            prop::option::of(-5..20_i64),
            prop::option::of(0..50_i64),
            prop::option::of(1..20_i64),
        )
            .prop_map(|(restock, available, version)| {
                let one_of = version.map(|version| vec![version]);
                let expected = ExpectedVersions { one_of, ..ExpectedVersions::default() };
                Change { restock, available, expected, ..Change::default() }
            });
        prop_oneof![
            1 => (gifticon.clone(), 0..50_i64).prop_map(|(gifticon_id, available)| Command::Register {
                gifticon_id,
                name: "Americano".into(),
                available,
                price: 5000,
            }),
            1 => (1..=3_i64, change).prop_map(|(id, change)| Command::Change { id, change }),
            1 => (1..=3_i64).prop_map(|id| {
                Command::Delete { id, expected: ExpectedVersions::default() }
            }),
            5 => (0..8_u128, gifticon, 1..20_i64).prop_map(|(r, gifticon_id, quantity)| {
                Command::Reserve { reservation: reservation(r), gifticon_id, quantity }
            }),
            4 => (0..8_u128).prop_map(|r| Command::Release { reservation: reservation(r) }),
        ]
    }

    /// Carries commands out, and counts the units that an MD put on sale or took back.
    fn given<'a>(
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> (Stock, HashMap<GifticonId, i64>) {
        let (mut stock, mut put) = (Stock::default(), HashMap::new());
        for command in commands {
            for event in stock.decide(command).unwrap_or_default() {
                match &event {
                    StockEvent::Registered(gifticon) => {
                        put.insert(gifticon.gifticon_id, gifticon.available);
                    }
                    StockEvent::Changed { gifticon_id, available, .. } => {
                        *put.entry(*gifticon_id).or_default() +=
                            available - stock.gifticons[gifticon_id].available;
                    }
                    StockEvent::Deleted(gifticon) => {
                        put.remove(&gifticon.gifticon_id);
                    }
                    _ => {}
                }
                stock.evolve(&event);
            }
        }
        (stock, put)
    }

    proptest! {
        #[test]
        fn stock_is_conserved_over_any_interleaving(
            commands in prop::collection::vec(any_command(), 0..60),
        ) {
            let (stock, put) = given(&commands);
            for gifticon in stock.gifticons.values() {
                let of = |r: &&Reservation| r.held && r.gifticon_id == Some(gifticon.gifticon_id);
                let held: i64 = stock.reservations.values().filter(of).map(|r| r.quantity).sum();
                prop_assert_eq!(gifticon.held, held);
                prop_assert!(gifticon.available >= 0);
                prop_assert_eq!(gifticon.available + gifticon.held, put[&gifticon.gifticon_id]);
            }
            prop_assert_eq!(stock.live, i64::try_from(stock.gifticons.len()).unwrap());
        }

        #[test]
        fn a_reservation_or_release_that_comes_twice_is_as_once(
            before in prop::collection::vec(any_command(), 0..30),
            command in any_command(),
        ) {
            prop_assume!(matches!(command, Command::Reserve { .. } | Command::Release { .. }));
            let once: Vec<_> = before.iter().chain([&command]).collect();
            let twice: Vec<_> = once.iter().copied().chain([&command]).collect();
            let (once, _) = given(once);
            let (twice, _) = given(twice);
            prop_assert_eq!(once.gifticons, twice.gifticons);
            prop_assert_eq!(once.reservations, twice.reservations);
        }

        #[test]
        fn what_was_released_is_never_held_again(
            commands in prop::collection::vec(any_command(), 0..40),
        ) {
            let mut stock = Stock::default();
            let mut gone: Vec<ReservationId> = Vec::new();
            for command in &commands {
                for event in stock.decide(command).unwrap_or_default() {
                    stock.evolve(&event);
                    if let StockEvent::Released(id) | StockEvent::Forestalled(id) = event {
                        gone.push(id);
                    }
                }
                prop_assert!(gone.iter().all(|id| !stock.reservations[id].held));
            }
        }
    }

    #[test]
    fn an_absolute_quantity_never_loses_a_sale() {
        let register = Command::Register {
            gifticon_id: GifticonId(1),
            name: "Americano".into(),
            available: 10,
            price: 5000,
        };
        let reserve = Command::Reserve {
            reservation: reservation(1),
            gifticon_id: GifticonId(1),
            quantity: 3,
        };
        let (stock, _) = given([&register, &reserve]);
        let set = |one_of| {
            let expected = ExpectedVersions { one_of, ..ExpectedVersions::default() };
            let change = Change { available: Some(10), expected, ..Change::default() };
            stock.decide(&Command::Change { id: 1, change })
        };
        assert_eq!(set(None), Err(Refusal::Unconditional));
        let unexpected = Err(Refusal::Unexpected { current: 2 });
        assert_eq!(set(Some(vec![1])), unexpected, "a sale came in between");
        assert!(set(Some(vec![1, 2])).is_ok());
    }
}
