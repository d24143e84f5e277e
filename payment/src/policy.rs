//! What payment does about the events of others.

use crate::app::PaymentDomain;
use crate::domain::Command;
use chassis::consumer::Policy;
use chassis::telemetry;
use chrono::{DateTime, Utc};
use common_events::{Envelope, Event};

/// A cart wants to be paid; one that is gone wants its money back.
#[derive(Clone, Copy, Debug)]
pub struct FollowCart;

impl Policy for FollowCart {
    type Domain = PaymentDomain;

    fn react(&self, envelope: &Envelope, _: DateTime<Utc>) -> Vec<Command> {
        match &envelope.event {
            // The original's event knows no amount: its gifticons cost nothing.
            Event::CartAdded(cart) => {
                let (amount, trace) = (cart.amount.unwrap_or_default(), telemetry::current());
                let trace = trace.map(|trace| trace.as_str().to_owned());
                vec![Command::Request { cart_id: cart.id, amount, trace }]
            }
            Event::CartRemoved(cart) => vec![Command::Cancel { cart_id: cart.id }],
            Event::PaymentApproved(_)
            | Event::PaymentDeclined(_)
            | Event::PaymentCancelled(_)
            | Event::GifticonRegistered(_)
            | Event::QuantityModified(_)
            | Event::GifticonDeleted(_)
            | Event::Unknown => vec![],
        }
    }
}
