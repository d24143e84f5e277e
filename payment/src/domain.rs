//! The rules of payment. Pure: no clock, no database, no network.
//!
//! A payment is requested by `CartAdded`, decided by the provider, and cancelled when its cart is gone,
//! in whatever order these arrive: a cancel that comes first is remembered, and the cart that comes
//! later ends with its payment cancelled.

use chassis::model::{Ids, Publications, Tracked};
use common_events::{CartId, Decline, Event, Owner, PaymentId, status as text};

/// The payment of a cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub cart_id: CartId,
    /// Whom its cart belongs to.
    pub owner: Owner,
    /// Given when it is decided.
    pub id: Option<PaymentId>,
    /// Won; none where a cancel came before its cart.
    pub amount: Option<i64>,
    pub status: Status,
    /// True once its cart is gone.
    pub cancel_wanted: bool,
    /// Why it was declined.
    pub reason: Option<String>,
    /// The `traceparent` of the purchase, under which the worker asks the provider.
    pub trace: Option<String>,
}

impl Payment {
    /// Returns the payment of a cart of which nothing is known yet.
    fn new(cart_id: CartId) -> Self {
        Self {
            cart_id,
            owner: Owner::GUEST,
            id: None,
            amount: None,
            status: Status::Requested,
            cancel_wanted: false,
            reason: None,
            trace: None,
        }
    }

    /// Returns what the provider is to be asked now, if anything.
    pub fn to_do(&self) -> Option<Ask> {
        match (self.status, self.cancel_wanted, self.amount) {
            (Status::Requested, true, Some(_)) | (Status::Approved, true, _) => Some(Ask::Cancel),
            (Status::Requested, false, Some(amount)) => Some(Ask::Approve { amount }),
            (Status::Requested, _, None)
            | (Status::Approved, false, _)
            | (Status::Declined | Status::Cancelled, _, _) => None,
        }
    }

    /// Returns what events tell of a decided payment.
    fn payload(&self, id: PaymentId, status: &str) -> common_events::Payment {
        common_events::Payment {
            id,
            cart_id: self.cart_id,
            amount: self.amount,
            status: Some(status.into()),
            owner: self.owner.clone(),
        }
    }
}

/// Where a payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The provider was not asked, or its answer was lost.
    Requested,
    /// The provider took the money.
    Approved,
    /// The provider refused.
    Declined,
    /// The provider gave the money back, or never took it.
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

/// What payment does on behalf of others. None is refused: one that comes twice or late finds its work done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A cart wants to be paid; `trace` is the `traceparent` of the purchase.
    Request { cart_id: CartId, owner: Owner, amount: i64, trace: Option<String> },
    /// A cart is gone.
    Cancel { cart_id: CartId, owner: Owner },
    /// The provider decided.
    Decide { cart_id: CartId, verdict: Verdict },
    /// The provider gave the money back.
    GivenBack { cart_id: CartId },
}

impl Command {
    /// Returns the cart whose payment it is about.
    pub fn cart_id(&self) -> CartId {
        match self {
            Self::Request { cart_id, .. }
            | Self::Cancel { cart_id, .. }
            | Self::Decide { cart_id, .. }
            | Self::GivenBack { cart_id } => *cart_id,
        }
    }
}

/// The payments that a batch of commands names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payments {
    /// By their carts.
    pub payments: Tracked<CartId, Payment>,
    /// Ids of decided payments, which are the live ones.
    pub ids: Ids,
}

impl Payments {
    /// Carries out `command`, and publishes how a payment was decided and that it was given back. A command that finds its
    /// work done does nothing.
    pub fn handle(&mut self, command: &Command, out: &mut Publications) {
        match command {
            Command::Request { cart_id, owner, amount, trace } => {
                let before = self.payments.get(cart_id);
                // None yet, or only a cancel that came first.
                if before.is_none_or(|payment| payment.amount.is_none()) {
                    let payment = self.change_or_add(*cart_id, owner);
                    payment.amount = Some(*amount);
                    payment.trace.clone_from(trace);
                }
            }
            Command::Cancel { cart_id, owner } => match self.payments.get(cart_id) {
                // Known already; or nothing was taken, and the cart is gone because of that.
                Some(
                    Payment { cancel_wanted: true, .. }
                    | Payment { status: Status::Declined | Status::Cancelled, .. },
                ) => {}
                Some(_) | None => self.change_or_add(*cart_id, owner).cancel_wanted = true,
            },
            Command::Decide { cart_id, verdict } => {
                if let Some(Payment { status: Status::Requested, .. }) = self.payments.get(cart_id)
                {
                    self.decide(*cart_id, verdict, out);
                }
            }
            Command::GivenBack { cart_id } => {
                let payment = self.payments.get(cart_id);
                // A cancel whose cart is yet to come is kept until then.
                if payment.and_then(Payment::to_do) == Some(Ask::Cancel) {
                    let (payment, id) = self.end(*cart_id, Status::Cancelled);
                    let cancelled = payment.payload(id, text::PAYMENT_CANCELED);
                    out.publish(Event::PaymentCancelled(cancelled));
                }
            }
        }
    }

    fn decide(&mut self, cart_id: CartId, verdict: &Verdict, out: &mut Publications) {
        match verdict {
            Verdict::Approved => {
                let (payment, id) = self.end(cart_id, Status::Approved);
                let approved = payment.payload(id, text::PAYMENT_APPROVED);
                out.publish(Event::PaymentApproved(approved));
            }
            Verdict::Declined { reason } => {
                let (payment, id) = self.end(cart_id, Status::Declined);
                payment.reason = Some(reason.clone());
                out.publish(Event::PaymentDeclined(Decline {
                    payment: payment.payload(id, text::PAYMENT_DECLINED),
                    reason: Some(reason.clone()),
                }));
            }
        }
    }

    /// Sets the status of a payment that is decided now or was before. Returns the payment and its id, which it is given when
    /// it is decided.
    fn end(&mut self, cart_id: CartId, status: Status) -> (&mut Payment, PaymentId) {
        let payment = self.payments.change_or_add(cart_id, || Payment::new(cart_id));
        payment.status = status;
        let id = *payment.id.get_or_insert_with(|| {
            self.ids.count_owner(&payment.owner, 1);
            PaymentId(self.ids.add_row())
        });
        (payment, id)
    }

    /// Returns the payment of a cart that belongs to `owner`. Until it is decided, one of a guest learns whom it belongs to:
    /// events from before there were owners say that everything is of guests.
    fn change_or_add(&mut self, cart_id: CartId, owner: &Owner) -> &mut Payment {
        let payment = self.payments.change_or_add(cart_id, || Payment::new(cart_id));
        if payment.owner == Owner::GUEST && payment.id.is_none() {
            payment.owner = owner.clone();
        }
        payment
    }
}

#[cfg(test)]
mod tests;
