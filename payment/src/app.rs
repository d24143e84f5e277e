//! What can be done with payments.

use crate::domain::{Command, Payment, PaymentEvent, Payments, Refusal};
use crate::store;
use chassis::storage::{Db, Tx};
use chassis::writer::Domain;
use common_events::{CartId, Decline, Event};

/// The rules and tables of payments, for the writer.
#[derive(Clone, Debug)]
pub struct PaymentDomain {
    pub db: Db,
}

impl Domain for PaymentDomain {
    type Batch = Payments;
    type Command = Command;
    type Event = PaymentEvent;
    type Answer = ();
    type Refusal = Refusal;

    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Payments> {
        store::load(tx, &self.db, commands).await
    }

    fn decide(payments: &Payments, command: &Command) -> Result<Vec<PaymentEvent>, Refusal> {
        Ok(payments.decide(command))
    }

    fn evolve(payments: &mut Payments, event: &PaymentEvent) {
        payments.evolve(event);
    }

    fn answer(_: &Payments, _: &Command, _: bool) {}

    async fn save(
        &self,
        tx: &mut Tx<'_>,
        payments: &Payments,
        events: &[PaymentEvent],
    ) -> anyhow::Result<()> {
        Ok(store::save(tx, payments, events)?)
    }

    /// What others hear: how a payment was decided, and that it was given back.
    fn published(payments: &Payments, events: &[PaymentEvent]) -> Vec<(usize, Event)> {
        let told = |cart_id: CartId, status| {
            payments.payments.get(&cart_id).and_then(|payment| told(payment, status))
        };
        let told = |event: &PaymentEvent| {
            use common_events::status as text;
            match event {
                PaymentEvent::Approved { cart_id, .. } => {
                    told(*cart_id, text::PAYMENT_APPROVED).map(Event::PaymentApproved)
                }
                PaymentEvent::Declined { cart_id, reason, .. } => {
                    let decline = |payment| Decline { payment, reason: Some(reason.clone()) };
                    told(*cart_id, text::PAYMENT_DECLINED).map(decline).map(Event::PaymentDeclined)
                }
                PaymentEvent::Cancelled { cart_id, .. } => {
                    told(*cart_id, text::PAYMENT_CANCELED).map(Event::PaymentCancelled)
                }
                PaymentEvent::Requested { .. } | PaymentEvent::CancelWanted { .. } => None,
            }
        };
        let told = events.iter().enumerate().map(|(place, event)| (place, told(event)));
        told.filter_map(|(place, event)| Some((place, event?))).collect()
    }
}

fn told(payment: &Payment, status: &str) -> Option<common_events::Payment> {
    Some(common_events::Payment {
        id: payment.id?,
        cart_id: payment.cart_id,
        amount: payment.amount,
        status: Some(status.into()),
    })
}
