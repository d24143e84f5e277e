//! The rules of the cart. Pure: no clock, no database, no network.
//!
//! A cart comes to be in two steps. First the intent is written, with the name of the reservation;
//! then gifticon is asked; then the intent becomes a cart, or is refused, or, where the outcome is
//! unknown, is abandoned until gifticon has let go. There is no other way in, and none back.

use common_events::{CartId, ExpectedVersions, GifticonId, ReservationId};
use std::collections::HashMap;

/// A cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    pub id: CartId,
    pub gifticon_id: GifticonId,
    pub quantity: i64,
    /// Under which its stock is held.
    pub reservation_id: ReservationId,
    /// Name of the gifticon when it was reserved.
    pub name: String,
    /// Won for one unit when it was reserved.
    pub price: i64,
    pub status: Status,
    /// Milliseconds since 1970.
    pub added_at: i64,
}

impl Cart {
    /// Won to pay in all.
    pub fn amount(&self) -> i64 {
        self.price.saturating_mul(self.quantity)
    }

    /// Whether it still holds stock.
    pub fn is_live(&self) -> bool {
        self.status != Status::Removed
    }
}

/// Where a cart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds stock; its payment is not decided as far as it knows.
    Added,
    /// It holds stock and is paid.
    Paid,
    /// It holds nothing any more.
    Removed,
}

impl Status {
    /// The version of a cart with this status, for its `ETag`. Nothing else of what customers read of a
    /// cart changes, and a status never comes back.
    pub fn version(self) -> i64 {
        match self {
            Self::Added => 1,
            Self::Paid => 2,
            Self::Removed => 3,
        }
    }
}

/// A cart that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub reservation_id: ReservationId,
    pub gifticon_id: GifticonId,
    pub quantity: i64,
    /// The `Idempotency-Key` of the request.
    pub key: Option<String>,
    /// Whether it was given up, and gifticon is yet to let go of what it may hold.
    pub abandoned: bool,
}

/// What a request with an `Idempotency-Key` led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub gifticon_id: GifticonId,
    pub quantity: i64,
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not, yet.
    Pending,
    /// With a cart.
    Added(CartId),
    /// With a no of gifticon.
    Refused(No),
}

/// Gifticon's answers that mean no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// There is no such gifticon.
    NoGifticon,
    /// Not enough are left.
    Short { available: i64 },
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Write down what is about to be reserved.
    Intend(Intent),
    /// Gifticon holds the stock: make the cart.
    Confirm { reservation: ReservationId, name: String, price: i64, at: i64 },
    /// Gifticon said no.
    Refuse { reservation: ReservationId, no: No },
    /// Nobody was told of a cart and nobody will be: give it up, also if it was confirmed after all.
    /// Only the request itself may say so.
    Abandon { reservation: ReservationId },
    /// Nobody works on the intent any more: give it up if it is one still. Its request may have confirmed it meanwhile.
    GiveUp { reservation: ReservationId },
    /// Gifticon holds nothing for it, as far as is known for sure.
    Forget { reservation: ReservationId },
    /// The customer cancels it, where it is in one of the expected versions.
    Remove { id: CartId, expected: ExpectedVersions },
    /// Payment went through.
    MarkPaid { id: CartId },
    /// Payment was declined: the cart goes and its stock returns.
    Decline { id: CartId },
}

/// What happened. What ends an intent names its `Idempotency-Key`, whose outcome it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CartEvent {
    Intended(Intent),
    Confirmed(Cart, Option<String>),
    Refused(ReservationId, Option<String>, No),
    Abandoned(ReservationId, Option<String>),
    Forgotten(ReservationId, Option<String>),
    Removed(CartId),
    /// A cart that nobody was told of is gone, and its `Idempotency-Key` is free again.
    Unmade(CartId),
    Paid(CartId),
}

/// Why the rules say no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such cart")]
    Absent,
    #[error("its version is {current}, which was not expected")]
    Unexpected { current: i64 },
    #[error("the intent was abandoned before it was confirmed")]
    Abandoned,
    #[error("the idempotency key was used for another request")]
    KeyReused,
}

/// What a batch of commands works on.
#[derive(Clone, Debug, Default)]
pub struct Carts {
    pub carts: HashMap<CartId, Cart>,
    pub intents: HashMap<ReservationId, Intent>,
    pub keys: HashMap<String, Key>,
    /// The last cart that was made.
    pub last_id: i64,
    /// How many are live.
    pub live: i64,
}

impl Carts {
    /// The cart that a reservation became.
    pub fn by_reservation(&self, id: ReservationId) -> Option<&Cart> {
        self.carts.values().find(|cart| cart.reservation_id == id)
    }

    /// The events that follow from `command`, none if its work is done already, or why it may not be.
    pub fn decide(&self, command: &Command) -> Result<Vec<CartEvent>, Refusal> {
        match command {
            Command::Intend(intent) => self.intend(intent),
            Command::Confirm { reservation, name, price, at } => {
                self.confirm(*reservation, name, *price, *at)
            }
            Command::Refuse { reservation, no } => {
                Ok(self.if_pending(*reservation, |id, key| CartEvent::Refused(id, key, *no)))
            }
            Command::Abandon { reservation } => Ok(match self.by_reservation(*reservation) {
                Some(cart) if cart.is_live() => vec![CartEvent::Unmade(cart.id)],
                Some(_) => vec![],
                None => self.if_pending(*reservation, CartEvent::Abandoned),
            }),
            Command::GiveUp { reservation } => {
                Ok(self.if_pending(*reservation, CartEvent::Abandoned))
            }
            Command::Forget { reservation } => Ok(match self.intents.get(reservation) {
                Some(intent) => vec![CartEvent::Forgotten(*reservation, intent.key.clone())],
                None => vec![],
            }),
            Command::Remove { id, expected } => {
                let cart = self.carts.get(id).filter(|cart| cart.is_live());
                let current = cart.ok_or(Refusal::Absent)?.status.version();
                if !expected.include(current) {
                    return Err(Refusal::Unexpected { current });
                }
                Ok(vec![CartEvent::Removed(*id)])
            }
            // A cart that is gone stays gone, however late its payment is decided. A cart that this
            // service never had is not its business.
            Command::MarkPaid { id } => Ok(match self.carts.get(id).map(|cart| cart.status) {
                Some(Status::Added) => vec![CartEvent::Paid(*id)],
                Some(Status::Paid | Status::Removed) | None => vec![],
            }),
            Command::Decline { id } => Ok(match self.carts.get(id).map(|cart| cart.status) {
                Some(Status::Added | Status::Paid) => vec![CartEvent::Removed(*id)],
                Some(Status::Removed) | None => vec![],
            }),
        }
    }

    fn intend(&self, intent: &Intent) -> Result<Vec<CartEvent>, Refusal> {
        match intent.key.as_ref().and_then(|key| self.keys.get(key)) {
            Some(key)
                if (key.gifticon_id, key.quantity) != (intent.gifticon_id, intent.quantity) =>
            {
                Err(Refusal::KeyReused)
            }
            Some(_) => Ok(vec![]),
            None => Ok(vec![CartEvent::Intended(intent.clone())]),
        }
    }

    fn confirm(
        &self,
        reservation: ReservationId,
        name: &str,
        price: i64,
        at: i64,
    ) -> Result<Vec<CartEvent>, Refusal> {
        if self.by_reservation(reservation).is_some() {
            return Ok(vec![]);
        }
        let intent = self.intents.get(&reservation).filter(|intent| !intent.abandoned);
        let intent = intent.ok_or(Refusal::Abandoned)?;
        let cart = Cart {
            id: CartId(self.last_id + 1),
            gifticon_id: intent.gifticon_id,
            quantity: intent.quantity,
            reservation_id: reservation,
            name: name.to_owned(),
            price,
            status: Status::Added,
            added_at: at,
        };
        Ok(vec![CartEvent::Confirmed(cart, intent.key.clone())])
    }

    fn if_pending(
        &self,
        reservation: ReservationId,
        event: impl FnOnce(ReservationId, Option<String>) -> CartEvent,
    ) -> Vec<CartEvent> {
        match self.intents.get(&reservation) {
            Some(intent) if !intent.abandoned => vec![event(reservation, intent.key.clone())],
            _ => vec![],
        }
    }

    /// Folds one event in.
    pub fn evolve(&mut self, event: &CartEvent) {
        match event {
            CartEvent::Intended(intent) => {
                if let Some(key) = &intent.key {
                    let (gifticon_id, quantity) = (intent.gifticon_id, intent.quantity);
                    let pending = Key { gifticon_id, quantity, outcome: Outcome::Pending };
                    self.keys.insert(key.clone(), pending);
                }
                self.intents.insert(intent.reservation_id, intent.clone());
            }
            CartEvent::Confirmed(cart, key) => {
                self.intents.remove(&cart.reservation_id);
                self.conclude(key.as_ref(), Outcome::Added(cart.id));
                self.last_id = cart.id.0;
                self.live += 1;
                self.carts.insert(cart.id, cart.clone());
            }
            CartEvent::Refused(reservation, key, no) => {
                self.intents.remove(reservation);
                self.conclude(key.as_ref(), Outcome::Refused(*no));
            }
            CartEvent::Abandoned(reservation, key) => {
                if let Some(intent) = self.intents.get_mut(reservation) {
                    (intent.abandoned, intent.key) = (true, None);
                }
                // The customer was told to try again: the key is free for that.
                key.as_ref().and_then(|key| self.keys.remove(key));
            }
            CartEvent::Forgotten(reservation, key) => {
                self.intents.remove(reservation);
                key.as_ref().and_then(|key| self.keys.remove(key));
            }
            CartEvent::Removed(id) => {
                self.live -= 1;
                self.set(*id, Status::Removed);
            }
            CartEvent::Unmade(id) => {
                self.keys.retain(|_, key| key.outcome != Outcome::Added(*id));
                self.live -= 1;
                self.set(*id, Status::Removed);
            }
            CartEvent::Paid(id) => self.set(*id, Status::Paid),
        }
    }

    fn conclude(&mut self, key: Option<&String>, outcome: Outcome) {
        if let Some(key) = key.and_then(|key| self.keys.get_mut(key)) {
            key.outcome = outcome;
        }
    }

    fn set(&mut self, id: CartId, status: Status) {
        if let Some(cart) = self.carts.get_mut(&id) {
            cart.status = status;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn reservation(n: u8) -> ReservationId {
        ReservationId(Uuid::from_u128(n.into()))
    }

    fn intend(n: u8, key: Option<&str>, quantity: i64) -> Command {
        Command::Intend(Intent {
            reservation_id: reservation(n),
            gifticon_id: GifticonId(1),
            quantity,
            key: key.map(Into::into),
            abandoned: false,
        })
    }

    fn confirm(n: u8) -> Command {
        Command::Confirm {
            reservation: reservation(n),
            name: "Americano".into(),
            price: 5000,
            at: 0,
        }
    }

    /// Names of reservations are new ones: a request never intends one twice.
    fn any_story() -> impl Strategy<Value = Vec<Command>> {
        let step = (0..6_u8, 1..6_i64, 0..9_u8).prop_map(|(n, id, what)| {
            let (reservation, id) = (reservation(n), CartId(id));
            match what {
                0 | 1 => confirm(n),
                8 => Command::GiveUp { reservation },
                2 => Command::Refuse { reservation, no: No::NoGifticon },
                3 => Command::Abandon { reservation },
                4 => Command::Forget { reservation },
                5 => Command::Remove { id, expected: ExpectedVersions::default() },
                6 => Command::MarkPaid { id },
                _ => Command::Decline { id },
            }
        });
        prop::collection::vec(step, 0..40).prop_map(|steps| {
            let keys = [None, Some("a"), None, Some("b"), Some("a"), None];
            let intents = keys.iter().zip(0..).map(|(key, n)| intend(n, *key, 1));
            intents.chain(steps).collect()
        })
    }

    fn given<'a>(commands: impl IntoIterator<Item = &'a Command>) -> Carts {
        let mut carts = Carts::default();
        for command in commands {
            for event in carts.decide(command).unwrap_or_default() {
                carts.evolve(&event);
            }
        }
        carts
    }

    proptest! {
        #[test]
        fn a_command_that_comes_twice_changes_nothing_more(story in any_story(), place in 0..46_usize) {
            let place = place.min(story.len() - 1);
            let once = given(&story[..=place]);
            let twice = given(story[..=place].iter().chain([&story[place]]));
            prop_assert_eq!(once.carts, twice.carts);
            prop_assert_eq!(once.intents, twice.intents);
            prop_assert_eq!(once.keys, twice.keys);
            prop_assert_eq!(once.live, twice.live);
        }

        #[test]
        fn a_reservation_becomes_one_cart_or_none_and_what_is_gone_stays_gone(story in any_story()) {
            let mut carts = Carts::default();
            let mut gone = Vec::new();
            for command in &story {
                for event in carts.decide(command).unwrap_or_default() {
                    carts.evolve(&event);
                    if let CartEvent::Removed(id) | CartEvent::Unmade(id) = event {
                        prop_assert!(!gone.contains(&id), "removed twice");
                        gone.push(id);
                    }
                }
                prop_assert!(gone.iter().all(|id| !carts.carts[id].is_live()));
            }
            let mut names: Vec<_> = carts.carts.values().map(|cart| cart.reservation_id).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), carts.carts.len());
            let live = carts.carts.values().filter(|cart| cart.is_live()).count();
            prop_assert_eq!(carts.live, i64::try_from(live).unwrap());
            for cart in carts.carts.values() {
                prop_assert!(!carts.intents.contains_key(&cart.reservation_id));
            }
        }
    }

    #[test]
    fn what_was_abandoned_is_not_confirmed_any_more() {
        let abandon = Command::Abandon { reservation: reservation(0) };
        let carts = given(&[intend(0, None, 1), abandon]);
        assert_eq!(carts.decide(&confirm(0)), Err(Refusal::Abandoned));
        assert!(carts.intents[&reservation(0)].abandoned, "its stock is yet to be released");
    }

    #[test]
    fn abandoning_what_was_confirmed_after_all_removes_the_cart() {
        let abandon = Command::Abandon { reservation: reservation(0) };
        let carts = given(&[intend(0, Some("k"), 1), confirm(0), abandon]);
        assert_eq!(carts.carts[&CartId(1)].status, Status::Removed);
        assert!(!carts.keys.contains_key("k"), "its customer tries again with the same key");
    }

    #[test]
    fn giving_an_old_intent_up_leaves_a_cart_that_was_confirmed_meanwhile() {
        let give_up = Command::GiveUp { reservation: reservation(0) };
        let carts = given(&[intend(0, None, 1), confirm(0), give_up.clone()]);
        assert!(carts.carts[&CartId(1)].is_live());
        assert!(given(&[intend(0, None, 1), give_up]).intents[&reservation(0)].abandoned);
    }

    #[test]
    fn a_key_answers_the_same_request_the_same_and_refuses_another() {
        let carts = given(&[intend(0, Some("k"), 1), confirm(0)]);
        assert_eq!(carts.decide(&intend(1, Some("k"), 1)), Ok(vec![]));
        assert_eq!(carts.keys["k"].outcome, Outcome::Added(CartId(1)));
        assert_eq!(carts.decide(&intend(1, Some("k"), 2)), Err(Refusal::KeyReused));
    }

    #[test]
    fn a_key_whose_request_was_abandoned_is_free_for_another_try() {
        let abandon = Command::Abandon { reservation: reservation(0) };
        let carts = given(&[intend(0, Some("k"), 1), abandon]);
        assert!(matches!(
            carts.decide(&intend(1, Some("k"), 1)).as_deref(),
            Ok([CartEvent::Intended(_)])
        ));
    }
}
