//! What can be done with gifticons.

use crate::domain::{Command, Gifticon, Refusal, Reservation, Stock, StockEvent};
use crate::store;
use chassis::storage::{Db, Tx};
use chassis::writer::{Domain, Writer};
use common_events::{Event, GifticonId};
use std::collections::BTreeMap;

/// The rules and tables of stock, for the writer.
#[derive(Clone, Debug)]
pub struct StockDomain {
    pub db: Db,
}

/// What the caller of a command is told.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The gifticon as it is now.
    Gifticon(Gifticon),
    /// The reservation as it was made, and whether it was made now.
    Reservation(Reservation, bool),
    /// It is done.
    Done,
}

/// The writer of this service.
pub type StockWriter = Writer<StockDomain>;

impl Domain for StockDomain {
    type Batch = Stock;
    type Command = Command;
    type Event = StockEvent;
    type Answer = Answer;
    type Refusal = Refusal;

    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Stock> {
        store::load(tx, &self.db, commands).await
    }

    fn decide(stock: &Stock, command: &Command) -> Result<Vec<StockEvent>, Refusal> {
        stock.decide(command)
    }

    fn evolve(stock: &mut Stock, event: &StockEvent) {
        stock.evolve(event);
    }

    fn answer(stock: &Stock, command: &Command, new: bool) -> Answer {
        match command {
            Command::Register { gifticon_id, .. } => {
                stock.gifticons.get(gifticon_id).cloned().map_or(Answer::Done, Answer::Gifticon)
            }
            Command::Change { id, .. } => {
                stock.by_row(*id).cloned().map_or(Answer::Done, Answer::Gifticon)
            }
            Command::Reserve { reservation, .. } => match stock.reservations.get(reservation) {
                Some(reservation) => Answer::Reservation(reservation.clone(), new),
                None => Answer::Done,
            },
            Command::Delete { .. } | Command::Release { .. } => Answer::Done,
        }
    }

    async fn save(
        &self,
        tx: &mut Tx<'_>,
        stock: &Stock,
        events: &[StockEvent],
    ) -> anyhow::Result<()> {
        Ok(store::save(tx, stock, events)?)
    }

    /// What others hear: a gifticon's state after the batch, once, however many sales were in it.
    fn published(stock: &Stock, events: &[StockEvent]) -> Vec<(usize, Event)> {
        let mut published = Vec::new();
        let mut changed: BTreeMap<GifticonId, usize> = BTreeMap::new();
        for (place, event) in events.iter().enumerate() {
            match event {
                StockEvent::Registered(gifticon) => {
                    published.push((place, Event::GifticonRegistered(told(gifticon))));
                }
                StockEvent::Changed { gifticon_id, .. } => {
                    changed.insert(*gifticon_id, place);
                }
                StockEvent::Reserved(reservation) => {
                    changed.extend(reservation.gifticon_id.map(|id| (id, place)));
                }
                StockEvent::Released(id) => {
                    let of = stock.reservations.get(id).and_then(|r| r.gifticon_id);
                    changed.extend(of.map(|id| (id, place)));
                }
                StockEvent::Deleted(gifticon) => {
                    changed.remove(&gifticon.gifticon_id);
                    published.push((place, Event::GifticonDeleted(told(gifticon))));
                }
                StockEvent::Forestalled(_) => {}
            }
        }
        published.extend(changed.into_iter().filter_map(|(id, place)| {
            Some((place, Event::QuantityModified(told(stock.gifticons.get(&id)?))))
        }));
        published
    }
}

fn told(gifticon: &Gifticon) -> common_events::Stock {
    common_events::Stock {
        id: gifticon.id,
        gifticon_id: Some(gifticon.gifticon_id),
        name: Some(gifticon.name.clone()),
        available_quantity: Some(gifticon.available),
        price: Some(gifticon.price),
    }
}
