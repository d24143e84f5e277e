//! The rules of stock. Pure: no clock, no database, no network.
//!
//! A merchandiser (MD) registers gifticons and restocks them; carts reserve units. For every gifticon, what was registered
//! and restocked is what is available plus what is held, and neither is ever below zero.

use crate::audited;
use chassis::model::{Ids, Publications, Tracked};
use common_events::number::UNITS_MAX;
use common_events::{Event, ExpectedVersions, GifticonId, Owner, ReservationId};

/// A gifticon on sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gifticon {
    /// Its row, counted from 1.
    pub id: i64,
    /// The number that the MD gave it.
    pub gifticon_id: GifticonId,
    /// The name that customers read.
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

impl Gifticon {
    /// Returns what events tell of it.
    fn payload(&self) -> common_events::Stock {
        common_events::Stock {
            id: self.id,
            gifticon_id: Some(self.gifticon_id),
            name: Some(self.name.clone()),
            available_quantity: Some(self.available),
            price: Some(self.price),
        }
    }
}

/// Units that a cart holds or held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id, chosen by the cart.
    pub id: ReservationId,
    /// The gifticon; `None` in the tombstone of a release that came first.
    pub gifticon_id: Option<GifticonId>,
    /// Units.
    pub quantity: i64,
    /// Name of the gifticon when it was reserved.
    pub name: String,
    /// Won for one unit when it was reserved.
    pub price: i64,
    /// Units that were available after it.
    pub left: i64,
    /// True while it holds stock. Once released, it never does again.
    pub held: bool,
    /// For whom the units are held; guests in a tombstone.
    pub owner: Owner,
}

impl Reservation {
    /// Returns what keeps a reservation from being made after its release.
    fn tombstone(id: ReservationId) -> Self {
        Self {
            id,
            gifticon_id: None,
            quantity: 0,
            name: String::new(),
            price: 0,
            left: 0,
            held: false,
            owner: Owner::GUEST,
        }
    }
}

/// What an MD or a cart wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put a gifticon on sale.
    Register { gifticon_id: GifticonId, name: String, available: i64, price: i64 },
    /// Change the gifticon of a row.
    Change { id: i64, change: Change },
    /// Take the gifticon of a row off sale.
    Delete { id: i64, expected: ExpectedVersions },
    /// Hold stock for the cart of an owner.
    Reserve { reservation: ReservationId, gifticon_id: GifticonId, quantity: i64, owner: Owner },
    /// Return the stock of a reservation. One that was not made yet can never be made then.
    Release { reservation: ReservationId },
}

/// What an MD changes about a gifticon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The new name.
    pub name: Option<String>,
    /// The new price, won for one unit.
    pub price: Option<i64>,
    /// Units to add; negative to take away.
    pub restock: Option<i64>,
    /// The new stock. Only with named versions in `expected`, so that it overwrites no sale.
    pub available: Option<i64>,
    /// The versions that the MD looked at.
    pub expected: ExpectedVersions,
}

/// The reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The gifticon as it is now.
    Gifticon(Gifticon),
    /// The reservation as it was made. `is_new` if this command made it.
    Reservation { reservation: Reservation, is_new: bool },
    /// It is done.
    Done,
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("gifticon {0} exists already")]
    GifticonExists(GifticonId),
    #[error("there is no such gifticon")]
    UnknownGifticon,
    #[error("only {available} are left")]
    InsufficientStock { available: i64 },
    #[error("the reservation was released already")]
    ReservationReleased,
    #[error("the reservation was made for something else")]
    ReservationDiffers,
    #[error("live carts hold {held} units of it")]
    GifticonHeld { held: i64 },
    #[error("its version is {current}, which was not expected")]
    UnexpectedVersion { current: i64 },
    #[error("an absolute quantity needs the version that it is based on")]
    VersionNeeded,
    #[error("the stock would be {0}")]
    StockOutOfBounds(i64),
}

/// The gifticons and reservations that a batch of commands names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// By the number that the MD gave.
    pub gifticons: Tracked<GifticonId, Gifticon>,
    /// By their ids.
    pub reservations: Tracked<ReservationId, Reservation>,
    /// Ids of gifticons, which are live while they are on sale.
    pub ids: Ids,
}

impl Stock {
    /// Carries out `command`, and publishes what becomes of gifticons: many sales of one in a batch are one event.
    ///
    /// A reservation or release that finds its work done changes nothing and is answered as the first time.
    pub fn handle(&mut self, command: &Command, out: &mut Publications) -> Result<Reply, Refusal> {
        match command {
            Command::Register { gifticon_id, name, available, price } => {
                if self.gifticons.get(gifticon_id).is_some() {
                    return Err(Refusal::GifticonExists(*gifticon_id));
                }
                let gifticon = Gifticon {
                    id: self.ids.add_row(),
                    gifticon_id: *gifticon_id,
                    name: name.clone(),
                    available: *available,
                    held: 0,
                    price: *price,
                    version: 1,
                };
                out.publish(Event::GifticonRegistered(gifticon.payload()));
                out.record(audited::change("register", None, Some(&gifticon.payload())));
                self.gifticons.add(*gifticon_id, gifticon.clone());
                Ok(Reply::Gifticon(gifticon))
            }
            Command::Change { id, change } => {
                let before = self.expected(*id, &change.expected)?;
                let mut gifticon = change.apply(before)?;
                if gifticon != *before {
                    gifticon.version += 1;
                    out.publish_latest(Event::QuantityModified(gifticon.payload()));
                    let (old, new) = (before.payload(), gifticon.payload());
                    out.record(audited::change("change", Some(&old), Some(&new)));
                    if let Some(row) = self.gifticons.change(&gifticon.gifticon_id) {
                        row.clone_from(&gifticon);
                    }
                }
                Ok(Reply::Gifticon(gifticon))
            }
            Command::Delete { id, expected } => {
                let gifticon = self.expected(*id, expected)?;
                if gifticon.held > 0 {
                    return Err(Refusal::GifticonHeld { held: gifticon.held });
                }
                let gifticon_id = gifticon.gifticon_id;
                out.publish(Event::GifticonDeleted(gifticon.payload()));
                out.record(audited::change("delete", Some(&gifticon.payload()), None));
                self.gifticons.remove(&gifticon_id);
                self.ids.remove_row();
                Ok(Reply::Done)
            }
            Command::Reserve { reservation, gifticon_id, quantity, owner } => {
                self.reserve(*reservation, *gifticon_id, *quantity, owner, out)
            }
            Command::Release { reservation } => {
                self.release(*reservation, out);
                Ok(Reply::Done)
            }
        }
    }

    /// Returns the gifticon of a row, if it is in one of the expected versions.
    fn expected(&self, id: i64, versions: &ExpectedVersions) -> Result<&Gifticon, Refusal> {
        let gifticon = self.gifticons.values().find(|gifticon| gifticon.id == id);
        let gifticon = gifticon.ok_or(Refusal::UnknownGifticon)?;
        if versions.include(gifticon.version) {
            Ok(gifticon)
        } else {
            Err(Refusal::UnexpectedVersion { current: gifticon.version })
        }
    }

    fn reserve(
        &mut self,
        id: ReservationId,
        gifticon_id: GifticonId,
        quantity: i64,
        owner: &Owner,
        out: &mut Publications,
    ) -> Result<Reply, Refusal> {
        if let Some(before) = self.reservations.get(&id) {
            if !before.held {
                return Err(Refusal::ReservationReleased);
            }
            if (before.gifticon_id, before.quantity) != (Some(gifticon_id), quantity) {
                return Err(Refusal::ReservationDiffers);
            }
            return Ok(Reply::Reservation { reservation: before.clone(), is_new: false });
        }
        let gifticon = self.gifticons.get(&gifticon_id).ok_or(Refusal::UnknownGifticon)?;
        if quantity > gifticon.available {
            return Err(Refusal::InsufficientStock { available: gifticon.available });
        }
        let reservation = Reservation {
            id,
            gifticon_id: Some(gifticon_id),
            quantity,
            name: gifticon.name.clone(),
            price: gifticon.price,
            left: gifticon.available - quantity,
            held: true,
            owner: owner.clone(),
        };
        self.reservations.add(id, reservation.clone());
        self.hold(gifticon_id, quantity, out);
        Ok(Reply::Reservation { reservation, is_new: true })
    }

    fn release(&mut self, id: ReservationId, out: &mut Publications) {
        match self.reservations.get(&id) {
            None => self.reservations.add(id, Reservation::tombstone(id)),
            Some(Reservation { held: false, .. }) => {}
            Some(&Reservation { held: true, gifticon_id, quantity, .. }) => {
                if let Some(reservation) = self.reservations.change(&id) {
                    reservation.held = false;
                }
                if let Some(gifticon_id) = gifticon_id {
                    self.hold(gifticon_id, -quantity, out);
                }
            }
        }
    }

    /// Moves units of a gifticon from available to held; negative ones back.
    fn hold(&mut self, gifticon_id: GifticonId, units: i64, out: &mut Publications) {
        if let Some(gifticon) = self.gifticons.change(&gifticon_id) {
            gifticon.available -= units;
            gifticon.held += units;
            gifticon.version += 1;
            out.publish_latest(Event::QuantityModified(gifticon.payload()));
        }
    }
}

impl Change {
    /// Returns the gifticon with this change, still in its version.
    fn apply(&self, gifticon: &Gifticon) -> Result<Gifticon, Refusal> {
        if self.available.is_some() && !self.expected.are_explicit() {
            return Err(Refusal::VersionNeeded);
        }
        let available = self.available.unwrap_or(gifticon.available);
        let available = available.saturating_add(self.restock.unwrap_or_default());
        if !(0..=UNITS_MAX).contains(&available) {
            return Err(Refusal::StockOutOfBounds(available));
        }
        let name = self.name.as_ref().unwrap_or(&gifticon.name).clone();
        let price = self.price.unwrap_or(gifticon.price);
        Ok(Gifticon { name, available, price, ..gifticon.clone() })
    }
}

#[cfg(test)]
mod tests;
