//! What the view learns from the events of others.

use crate::app::ViewModel;
use crate::projection::{Command, Details, Fact, Kind};
use chassis::workers::consumer::Policy;
use chrono::{DateTime, Utc};
use common_events::{CartId, Decline, Envelope, Event, Owner, Payment};

/// Every event of a cart is a fact about it.
#[derive(Clone, Copy, Debug)]
pub struct Project;

impl Policy for Project {
    type Model = ViewModel;

    fn react(&self, envelope: &Envelope, at: DateTime<Utc>) -> Vec<Command> {
        fact(envelope, at).map(Command::Told).into_iter().collect()
    }
}

/// Returns what an event says about a cart, if anything.
pub fn fact(envelope: &Envelope, at: DateTime<Utc>) -> Option<Fact> {
    let at = at.timestamp_millis();
    let fact = |cart_id: CartId, owner: &Owner, kind, details| {
        Some(Fact { cart_id, owner: owner.clone(), kind, at, details })
    };
    match &envelope.event {
        Event::CartAdded(cart) => fact(
            cart.id,
            &cart.owner,
            Kind::CartAdded,
            Details {
                gifticon_id: Some(cart.gifticon_id),
                name: cart.name.clone(),
                price: cart.price,
                quantity: Some(cart.quantity),
                amount: cart.amount,
                ..Details::default()
            },
        ),
        Event::CartRemoved(cart) => fact(
            cart.id,
            &cart.owner,
            Kind::CartRemoved,
            Details {
                gifticon_id: Some(cart.gifticon_id),
                quantity: Some(cart.quantity),
                ..Details::default()
            },
        ),
        Event::PaymentApproved(payment) => {
            fact(payment.cart_id, &payment.owner, Kind::PaymentApproved, paid(payment))
        }
        Event::PaymentDeclined(Decline { payment, .. }) => {
            fact(payment.cart_id, &payment.owner, Kind::PaymentDeclined, paid(payment))
        }
        Event::PaymentCancelled(payment) => {
            fact(payment.cart_id, &payment.owner, Kind::PaymentCancelled, paid(payment))
        }
        _ => None,
    }
}

fn paid(payment: &Payment) -> Details {
    Details { payment_id: Some(payment.id), amount: payment.amount, ..Details::default() }
}
