//! What the stock does when it hears the events of others.

use crate::app::StockModel;
use crate::domain::Command;
use chassis::workers::consumer::Policy;
use chrono::{DateTime, Utc};
use common_events::{Envelope, Event};

/// A cart that is gone gives its stock back.
#[derive(Clone, Copy, Debug)]
pub struct ReturnStock;

impl Policy for ReturnStock {
    type Model = StockModel;

    fn react(&self, envelope: &Envelope, _: DateTime<Utc>) -> Vec<Command> {
        match &envelope.event {
            // By reservation, not by the quantity that the event states. An event of the original
            // names none, since its stock was never reserved here.
            Event::CartRemoved(cart) => {
                let release = |reservation| Command::Release { reservation };
                cart.reservation_id.map(release).into_iter().collect()
            }
            _ => vec![],
        }
    }
}
