//! What carts do about the events of others.

use crate::domain::Command;
use crate::model::CartModel;
use chassis::workers::consumer::Policy;
use chrono::{DateTime, Utc};
use common_events::{Envelope, Event};

/// A cart learns how its payment was decided; a declined one goes.
#[derive(Clone, Copy, Debug)]
pub struct FollowPayment;

impl Policy for FollowPayment {
    type Model = CartModel;

    fn react(&self, envelope: &Envelope, _: DateTime<Utc>) -> Vec<Command> {
        match &envelope.event {
            Event::PaymentApproved(payment) => vec![Command::MarkPaid { id: payment.cart_id }],
            Event::PaymentDeclined(decline) => {
                vec![Command::Decline { id: decline.payment.cart_id }]
            }
            _ => vec![],
        }
    }
}
