//! What payment does when it hears the events of others.

use crate::app::PaymentModel;
use crate::domain::Command;
use crate::provider::Builtin;
use chassis::base::trace;
use chassis::workers::consumer::Policy;
use chrono::{DateTime, Utc};
use common_events::{Envelope, Event};

/// A cart wants to be paid; one that is gone wants its money back.
#[derive(Clone, Copy, Debug)]
pub struct FollowCart {
    /// The built-in provider, whose verdict is written together with the request. Any other provider is asked by the worker,
    /// once the request is committed.
    pub builtin: Option<Builtin>,
}

impl Policy for FollowCart {
    type Model = PaymentModel;

    fn react(&self, envelope: &Envelope, _: DateTime<Utc>) -> Vec<Command> {
        match &envelope.event {
            // The event of the original has no amount: its gifticons cost nothing.
            Event::CartAdded(cart) => {
                let (amount, trace) = (cart.amount.unwrap_or_default(), trace::current());
                let trace = trace.map(|trace| trace.to_string());
                let (cart_id, owner) = (cart.id, cart.owner.clone());
                let mut commands = vec![Command::Request { cart_id, owner, amount, trace }];
                if let Some(builtin) = self.builtin {
                    commands.push(Command::GivenBack { cart_id }); // where the cart is gone already
                    commands.push(Command::Decide { cart_id, verdict: builtin.verdict(amount) });
                }
                commands
            }
            Event::CartRemoved(cart) => {
                let (cart_id, owner) = (cart.id, cart.owner.clone());
                let mut commands = vec![Command::Cancel { cart_id, owner }];
                commands.extend(self.builtin.map(|_| Command::GivenBack { cart_id }));
                commands
            }
            _ => vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Payments, Status};
    use chassis::model::Publications;
    use common_events::{CartAdded, CartId, CartRemoved, GifticonId, Owner};
    use uuid::Uuid;

    fn alice() -> Owner {
        Owner::of_subject("https://id.example", "alice")
    }

    fn added(amount: i64) -> Event {
        Event::CartAdded(CartAdded {
            id: CartId(1),
            gifticon_id: GifticonId(1),
            quantity: 1,
            status: None,
            reservation_id: None,
            name: None,
            price: None,
            amount: Some(amount),
            owner: alice(),
        })
    }

    fn removed() -> Event {
        let (id, gifticon_id) = (CartId(1), GifticonId(1));
        Event::CartRemoved(CartRemoved {
            id,
            gifticon_id,
            quantity: 1,
            status: None,
            reservation_id: None,
            owner: alice(),
        })
    }

    /// Returns how the payment of a cart ends with the built-in provider. Checks that nothing is left to the worker.
    fn ends_as(events: &[Event]) -> Status {
        let policy = FollowCart { builtin: Some(Builtin { limit: Some(5_000) }) };
        let (mut payments, mut out) = (Payments::default(), Publications::default());
        for event in events {
            let envelope = Envelope::new(event.clone(), Uuid::nil(), DateTime::default());
            for command in policy.react(&envelope, DateTime::default()) {
                payments.handle(&command, &mut out);
            }
        }
        let payment = payments.payments.get(&CartId(1)).unwrap();
        assert_eq!(payment.to_do(), None, "{events:?}");
        assert_eq!(payment.owner, alice(), "{events:?}");
        payment.status
    }

    #[test]
    fn what_the_built_in_provider_says_is_written_at_once_in_any_order() {
        assert_eq!(ends_as(&[added(5_000)]), Status::Approved);
        assert_eq!(ends_as(&[added(5_001)]), Status::Declined);
        assert_eq!(ends_as(&[added(5_000), removed()]), Status::Cancelled);
        assert_eq!(ends_as(&[removed(), added(5_000)]), Status::Cancelled);
        assert_eq!(ends_as(&[added(5_001), removed()]), Status::Declined);
        assert_eq!(ends_as(&[removed(), added(5_000), removed(), added(5_000)]), Status::Cancelled);
        assert_eq!(ends_as(&[removed()]), Status::Requested, "its cart is yet to come");
    }
}
