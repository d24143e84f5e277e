//! The rules of payment. Pure: no clock, no database, no network.
//!
//! A payment is requested by `CartAdded`, decided by the provider, and cancelled when its cart is gone,
//! in whatever order these arrive: a cancel that comes first is remembered, and the cart that comes
//! later ends with its payment cancelled.

use common_events::{CartId, PaymentId};
use std::collections::HashMap;

/// The payment of a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub cart_id: CartId,
    /// Given when it is decided.
    pub id: Option<PaymentId>,
    /// Won; none where a cancel came before its cart.
    pub amount: Option<i64>,
    pub status: Status,
    /// Whether its cart is gone.
    pub cancel_wanted: bool,
    /// Why it was declined.
    pub reason: Option<String>,
    /// The `traceparent` of the purchase, which the worker goes on with.
    pub trace: Option<String>,
}

impl Payment {
    /// What the provider is to be asked now, if anything.
    pub fn to_do(&self) -> Option<Ask> {
        match (self.status, self.cancel_wanted, self.amount) {
            (Status::Requested, true, Some(_)) | (Status::Approved, true, _) => Some(Ask::Cancel),
            (Status::Requested, false, Some(amount)) => Some(Ask::Approve { amount }),
            (Status::Requested, _, None)
            | (Status::Approved, false, _)
            | (Status::Declined | Status::Cancelled, _, _) => None,
        }
    }
}

/// Where a payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The provider was not asked, or its answer was lost.
    Requested,
    Approved,
    Declined,
    Cancelled,
}

/// What the provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Take the money.
    Approve { amount: i64 },
    /// Give it back, if it was taken, and never take it.
    Cancel,
}

/// How the provider decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Approved,
    Declined { reason: String },
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A cart wants to be paid; `trace` is the `traceparent` of the purchase.
    Request { cart_id: CartId, amount: i64, trace: Option<String> },
    /// A cart is gone.
    Cancel { cart_id: CartId },
    /// The provider decided.
    Decide { cart_id: CartId, verdict: Verdict },
    /// The provider gave the money back.
    GivenBack { cart_id: CartId },
}

impl Command {
    /// Whose payment it is about.
    pub fn cart_id(&self) -> CartId {
        match self {
            Self::Request { cart_id, .. }
            | Self::Cancel { cart_id }
            | Self::Decide { cart_id, .. }
            | Self::GivenBack { cart_id } => *cart_id,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentEvent {
    Requested { cart_id: CartId, amount: i64, trace: Option<String> },
    CancelWanted { cart_id: CartId },
    Approved { cart_id: CartId, id: PaymentId },
    Declined { cart_id: CartId, id: PaymentId, reason: String },
    Cancelled { cart_id: CartId, id: PaymentId },
}

impl PaymentEvent {
    /// Whose payment it is about.
    pub fn cart_id(&self) -> CartId {
        match self {
            Self::Requested { cart_id, .. }
            | Self::CancelWanted { cart_id }
            | Self::Approved { cart_id, .. }
            | Self::Declined { cart_id, .. }
            | Self::Cancelled { cart_id, .. } => *cart_id,
        }
    }
}

/// Nothing is refused: what comes twice or late finds its work done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {}

/// What a batch of commands works on.
#[derive(Clone, Debug, Default)]
pub struct Payments {
    pub payments: HashMap<CartId, Payment>,
    /// The last payment that was decided.
    pub last_id: i64,
    /// How many are decided.
    pub live: i64,
}

impl Payments {
    /// The events that follow from `command`; none if its work is done already.
    pub fn decide(&self, command: &Command) -> Vec<PaymentEvent> {
        let payment = self.payments.get(&command.cart_id());
        let id = PaymentId(self.last_id + 1);
        match (command, payment) {
            (Command::Request { cart_id, amount, trace }, payment) => match payment {
                // None, or a cancel that came first.
                None | Some(Payment { amount: None, .. }) => {
                    let (cart_id, amount, trace) = (*cart_id, *amount, trace.clone());
                    vec![PaymentEvent::Requested { cart_id, amount, trace }]
                }
                Some(_) => vec![],
            },
            (Command::Cancel { cart_id }, payment) => match payment {
                // Known already; or nothing was taken, and the cart is gone because of that.
                Some(
                    Payment { cancel_wanted: true, .. }
                    | Payment { status: Status::Declined | Status::Cancelled, .. },
                ) => vec![],
                Some(_) | None => vec![PaymentEvent::CancelWanted { cart_id: *cart_id }],
            },
            (Command::Decide { cart_id, verdict }, Some(payment)) => {
                match (payment.status, verdict) {
                    (Status::Requested, Verdict::Approved) => {
                        vec![PaymentEvent::Approved { cart_id: *cart_id, id }]
                    }
                    (Status::Requested, Verdict::Declined { reason }) => {
                        vec![PaymentEvent::Declined {
                            cart_id: *cart_id,
                            id,
                            reason: reason.clone(),
                        }]
                    }
                    (Status::Approved | Status::Declined | Status::Cancelled, _) => vec![],
                }
            }
            (Command::GivenBack { cart_id }, Some(payment)) => match payment.status {
                // One whose cart is yet to come is kept until then.
                Status::Requested | Status::Approved
                    if payment.cancel_wanted
                        && (payment.amount.is_some() || payment.status == Status::Approved) =>
                {
                    let id = payment.id.unwrap_or(id);
                    vec![PaymentEvent::Cancelled { cart_id: *cart_id, id }]
                }
                Status::Requested | Status::Approved | Status::Declined | Status::Cancelled => {
                    vec![]
                }
            },
            (Command::Decide { .. } | Command::GivenBack { .. }, None) => vec![],
        }
    }

    /// Folds one event in.
    pub fn evolve(&mut self, event: &PaymentEvent) {
        let cart_id = event.cart_id();
        let payment = self.payments.entry(cart_id).or_insert_with(|| Payment {
            cart_id,
            id: None,
            amount: None,
            status: Status::Requested,
            cancel_wanted: false,
            reason: None,
            trace: None,
        });
        let (status, id) = match event {
            PaymentEvent::Requested { amount, trace, .. } => {
                (payment.amount, payment.trace) = (Some(*amount), trace.clone());
                return;
            }
            PaymentEvent::CancelWanted { .. } => {
                payment.cancel_wanted = true;
                return;
            }
            PaymentEvent::Approved { id, .. } => (Status::Approved, *id),
            PaymentEvent::Declined { id, reason, .. } => {
                payment.reason = Some(reason.clone());
                (Status::Declined, *id)
            }
            PaymentEvent::Cancelled { id, .. } => (Status::Cancelled, *id),
        };
        payment.status = status;
        if payment.id.replace(id).is_none() {
            self.last_id = id.0;
            self.live += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_command() -> impl Strategy<Value = Command> {
        (1..3_i64, 0..5_u8).prop_map(|(cart, what)| {
            let cart_id = CartId(cart);
            match what {
                0 => Command::Request { cart_id, amount: 5000, trace: None },
                1 => Command::Cancel { cart_id },
                2 => Command::Decide { cart_id, verdict: Verdict::Approved },
                3 => {
                    Command::Decide { cart_id, verdict: Verdict::Declined { reason: "no".into() } }
                }
                _ => Command::GivenBack { cart_id },
            }
        })
    }

    /// Carries commands out, and counts the events that others hear, by cart.
    fn given<'a>(
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> (Payments, HashMap<CartId, Vec<&'static str>>) {
        let (mut payments, mut told) = (Payments::default(), HashMap::<_, Vec<_>>::new());
        for command in commands {
            for event in payments.decide(command) {
                payments.evolve(&event);
                let name = match event {
                    PaymentEvent::Approved { .. } => "approved",
                    PaymentEvent::Declined { .. } => "declined",
                    PaymentEvent::Cancelled { .. } => "cancelled",
                    PaymentEvent::Requested { .. } | PaymentEvent::CancelWanted { .. } => continue,
                };
                told.entry(event.cart_id()).or_default().push(name);
            }
        }
        (payments, told)
    }

    /// The provider's worker: asks what there is to ask until there is nothing more.
    fn settle(payments: &mut Payments) {
        while let Some(command) = payments.payments.values().find_map(|payment| {
            let cart_id = payment.cart_id;
            Some(match payment.to_do()? {
                Ask::Approve { .. } => Command::Decide { cart_id, verdict: Verdict::Approved },
                Ask::Cancel => Command::GivenBack { cart_id },
            })
        }) {
            let events = payments.decide(&command);
            assert!(!events.is_empty(), "{command:?} changed nothing: the worker would never end");
            events.iter().for_each(|event| payments.evolve(event));
        }
    }

    proptest! {
        #[test]
        fn a_command_that_comes_twice_changes_nothing_more(
            before in prop::collection::vec(any_command(), 0..12),
            command in any_command(),
        ) {
            let once: Vec<_> = before.iter().chain([&command]).collect();
            let twice: Vec<_> = once.iter().copied().chain([&command]).collect();
            let (once, told_once) = given(once);
            let (twice, told_twice) = given(twice);
            prop_assert_eq!(once.payments, twice.payments);
            prop_assert_eq!(told_once, told_twice);
        }

        #[test]
        fn each_cart_is_decided_once_and_given_back_once(
            commands in prop::collection::vec(any_command(), 0..30),
        ) {
            let (_, told) = given(&commands);
            for story in told.values() {
                let legal: [&[&str]; 5] =
                    [&["approved"], &["declined"], &["cancelled"], &["approved", "cancelled"], &[]];
                prop_assert!(legal.contains(&story.as_slice()), "told {:?}", story);
            }
        }

        #[test]
        fn a_cart_that_is_gone_ends_with_its_payment_cancelled_whatever_came_first(
            noise in prop::collection::vec(any_command(), 0..8),
            cancel_first in any::<bool>(),
        ) {
            let cart_id = CartId(9);
            let (request, cancel) = (Command::Request { cart_id, amount: 5000, trace: None }, Command::Cancel { cart_id });
            let pair = if cancel_first { [cancel, request] } else { [request, cancel] };
            let (mut payments, _) = given(noise.iter().chain(&pair));
            settle(&mut payments);
            prop_assert_eq!(payments.payments[&cart_id].status, Status::Cancelled);
            prop_assert_eq!(payments.payments[&cart_id].amount, Some(5000));
        }
    }
}
