//! The rules of the cart. Pure: no clock, no database, no network.
//!
//! Adding a cart takes two steps. First an attempt is written, with the id of its reservation. Then gifticon is asked, and
//! the attempt becomes a cart, or is refused. Where gifticon's answer is unknown, the attempt is cancelled, and closed once
//! gifticon has released the stock. A cart comes from an attempt only, and never turns back into one.
//!
//! An attempt with an `Idempotency-Key` is a row of its own. Those without are written in blocks of 256.

mod block;
mod cart;

pub use block::{BLOCK_SIZE, Block};
pub use cart::{Attempt, Cart, IdempotencyKey, Outcome, Rejection, Status, scoped_key};

use chassis::model::{Ids, Publications, Tracked};
use common_events::{CartId, ExpectedVersions, Owner, ReservationId};
use std::collections::BTreeMap;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Write down what is about to be reserved for a request with a key. Its reservation's id is a new one.
    BeginAttempt(Attempt),
    /// Write down that each reservation of this block may be made from now on. It is a new one.
    OpenBlock(Block),
    /// Make the cart: gifticon holds its stock.
    Confirm { attempt: Attempt, name: String, price: i64, at: i64 },
    /// End the attempt, which has a key: gifticon refused it.
    Refuse { reservation: ReservationId, rejection: Rejection },
    /// End the attempt, and remove its cart if there is one: the customer was told of none and will not be. Only the request
    /// itself may say so.
    CancelAttempt(Attempt),
    /// End the attempt if it is still pending: nobody works on it any more. Its request may have confirmed it meanwhile.
    ExpireAttempt { reservation: ReservationId },
    /// Delete the block: all its attempts have become carts or are cancelled, and gifticon holds nothing for the others.
    CloseBlock(Block),
    /// Cancel what became no cart of the block, and delete it: nobody works on it any more, or so the sweeper believes.
    ExpireBlock(Block),
    /// Delete the attempt: gifticon certainly holds nothing for it.
    CloseAttempt { reservation: ReservationId },
    /// Remove the cart if it is in one of the expected versions: its owner cancels it.
    Remove { id: CartId, owner: Owner, expected: ExpectedVersions },
    /// Mark the cart as paid.
    MarkPaid { id: CartId },
    /// Remove the cart: its payment was declined.
    Decline { id: CartId },
}

/// What the caller of a command is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The attempt is written: go on.
    Begun,
    /// A request with this key came before and ended like this. With its cart as it is now, if it made one.
    Repeated(Outcome, Option<Cart>),
    /// The cart as it is now.
    Cart(Cart),
    /// It is done.
    Done,
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such cart")]
    Absent,
    #[error("its version is {current}, which was not expected")]
    UnexpectedVersion { current: i64 },
    #[error("the attempt was cancelled before it was confirmed")]
    AttemptCancelled,
    #[error("the idempotency key was used for another request")]
    KeyReused,
}

/// The rows that the commands of a batch name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carts {
    pub carts: Tracked<CartId, Cart>,
    pub attempts: Tracked<ReservationId, Attempt>,
    pub blocks: Tracked<Block, Block>,
    pub keys: Tracked<String, IdempotencyKey>,
    /// The carts by their reservations.
    pub by_reservation: BTreeMap<ReservationId, CartId>,
    /// Carts that were rolled back while their keys were not read: the keys that lead to them are to be deleted.
    pub rolled_back: Vec<CartId>,
    /// Counts the carts that are live.
    pub ids: Ids,
}

impl Carts {
    /// Carries out `command`, publishes what other services must hear, and returns the reply.
    ///
    /// # Errors
    /// A refusal changes nothing and publishes nothing.
    pub fn handle(&mut self, command: &Command, out: &mut Publications) -> Result<Reply, Refusal> {
        match command {
            Command::BeginAttempt(attempt) => return self.begin(attempt),
            Command::OpenBlock(block) => {
                if self.blocks.get(block).is_none() {
                    self.blocks.add(*block, *block);
                }
                return Ok(Reply::Begun);
            }
            Command::Confirm { attempt, name, price, at } => {
                return self.confirm(attempt, name, *price, *at, out).map(Reply::Cart);
            }
            Command::Refuse { reservation, rejection } => {
                if let Some(attempt) = self.pending(*reservation).cloned() {
                    self.attempts.remove(reservation);
                    self.conclude(attempt.key.as_ref(), Outcome::Rejected(*rejection));
                }
            }
            Command::CancelAttempt(attempt) => {
                match self.cart_of(attempt.reservation_id).map(|cart| cart.id) {
                    Some(id) => self.roll_back(id, out),
                    None if attempt.key.is_none() => {
                        self.add_cancelled(Attempt { cancelled: true, ..attempt.clone() });
                    }
                    None => self.cancel(attempt.reservation_id),
                }
            }
            Command::ExpireAttempt { reservation } => self.cancel(*reservation),
            Command::CloseBlock(block) => self.blocks.remove(block),
            Command::ExpireBlock(block) => self.expire_block(*block),
            Command::CloseAttempt { reservation } => {
                if let Some(key) = self.attempts.get(reservation).and_then(|one| one.key.as_ref()) {
                    self.keys.remove(key);
                }
                self.attempts.remove(reservation);
            }
            Command::Remove { id, owner, expected } => {
                // Another's cart is as if it were not there.
                let cart = self.carts.get(id).filter(|cart| cart.is_live() && cart.owner == *owner);
                let current = cart.ok_or(Refusal::Absent)?.status.version();
                if !expected.include(current) {
                    return Err(Refusal::UnexpectedVersion { current });
                }
                self.remove(*id, out);
            }
            // A cart that is gone stays gone, however late its payment is decided. One that this service never had is not its
            // business.
            Command::MarkPaid { id } => {
                if self.carts.get(id).is_some_and(|cart| cart.status == Status::Added)
                    && let Some(cart) = self.carts.change(id)
                {
                    cart.status = Status::Paid;
                }
            }
            Command::Decline { id } => self.remove(*id, out),
        }
        Ok(Reply::Done)
    }

    /// Takes a cart as the database has it.
    pub fn read_cart(&mut self, cart: Cart) {
        self.by_reservation.insert(cart.reservation_id, cart.id);
        self.carts.read(cart.id, cart);
    }

    /// Returns the cart that a reservation became.
    fn cart_of(&self, reservation: ReservationId) -> Option<&Cart> {
        self.carts.get(self.by_reservation.get(&reservation)?)
    }

    fn is_live(&self, id: CartId) -> bool {
        self.carts.get(&id).is_some_and(Cart::is_live)
    }

    /// Returns the attempt with this reservation, if a cart may still come of it.
    fn pending(&self, reservation: ReservationId) -> Option<&Attempt> {
        self.attempts.get(&reservation).filter(|attempt| !attempt.cancelled)
    }

    /// Returns whether the attempt is in a block of which carts may still come.
    fn is_in_open_block(&self, attempt: &Attempt) -> bool {
        attempt.block().is_some_and(|block| self.blocks.get(&block).is_some())
    }

    fn begin(&mut self, attempt: &Attempt) -> Result<Reply, Refusal> {
        let (gifticon_id, quantity) = (attempt.gifticon_id, attempt.quantity);
        if let Some(known) = attempt.key.as_ref().and_then(|key| self.keys.get(key)) {
            if (known.gifticon_id, known.quantity) != (gifticon_id, quantity) {
                return Err(Refusal::KeyReused);
            }
            let cart = match known.outcome {
                Outcome::Added(id) => self.carts.get(&id).cloned(),
                Outcome::Pending | Outcome::Rejected(_) => None,
            };
            return Ok(Reply::Repeated(known.outcome, cart));
        }
        if self.attempts.get(&attempt.reservation_id).is_none() {
            self.attempts.add(attempt.reservation_id, attempt.clone());
        }
        if let Some(key) = attempt.key.clone() {
            let outcome = Outcome::Pending;
            let pending = IdempotencyKey { key: key.clone(), gifticon_id, quantity, outcome };
            self.keys.add(key, pending);
        }
        Ok(Reply::Begun)
    }

    fn confirm(
        &mut self,
        attempt: &Attempt,
        name: &str,
        price: i64,
        at: i64,
        out: &mut Publications,
    ) -> Result<Cart, Refusal> {
        let reservation = attempt.reservation_id;
        if let Some(cart) = self.cart_of(reservation) {
            return Ok(cart.clone());
        }
        let attempt = match self.attempts.get(&reservation) {
            None if self.is_in_open_block(attempt) => attempt.clone(),
            Some(attempt) if !attempt.cancelled => attempt.clone(),
            None | Some(_) => return Err(Refusal::AttemptCancelled),
        };
        let cart = Cart {
            id: CartId(self.ids.add_row()),
            owner: attempt.owner,
            gifticon_id: attempt.gifticon_id,
            quantity: attempt.quantity,
            reservation_id: reservation,
            name: name.to_owned(),
            price,
            status: Status::Added,
            added_at: at,
        };
        self.ids.count_owner(&cart.owner, 1);
        self.attempts.remove(&reservation);
        self.conclude(attempt.key.as_ref(), Outcome::Added(cart.id));
        self.by_reservation.insert(reservation, cart.id);
        self.carts.add(cart.id, cart.clone());
        out.publish(cart.added_event());
        Ok(cart)
    }

    /// Keeps how the request with `key` ended, for its repeats.
    fn conclude(&mut self, key: Option<&String>, outcome: Outcome) {
        if let Some(key) = key.and_then(|key| self.keys.change(key)) {
            key.outcome = outcome;
        }
    }

    /// Cancels an attempt that is pending. Its customer was told to try again: the key is free for that.
    fn cancel(&mut self, reservation: ReservationId) {
        if self.pending(reservation).is_none() {
            return;
        }
        if let Some(attempt) = self.attempts.change(&reservation) {
            attempt.cancelled = true;
            if let Some(key) = attempt.key.take() {
                self.keys.remove(&key);
            }
        }
    }

    /// Cancels each attempt of a block that became no cart: its reservation may have been made.
    fn expire_block(&mut self, block: Block) {
        if self.blocks.get(&block).is_none() {
            return;
        }
        for reservation in block.reservations() {
            if self.cart_of(reservation).is_none() {
                self.add_cancelled(Attempt::cancelled(reservation));
            }
        }
        self.blocks.remove(&block);
    }

    /// Adds a cancelled attempt of a block, if it is not there yet.
    fn add_cancelled(&mut self, attempt: Attempt) {
        if self.attempts.get(&attempt.reservation_id).is_none() {
            self.attempts.add(attempt.reservation_id, attempt);
        }
    }

    /// Removes a cart that no customer was told of, and frees its key for the next try.
    fn roll_back(&mut self, id: CartId, out: &mut Publications) {
        if !self.is_live(id) {
            return;
        }
        let outcome = Outcome::Added(id);
        let key = self.keys.values().find(|key| key.outcome == outcome).map(|key| key.key.clone());
        match key {
            Some(key) => self.keys.remove(&key),
            None => self.rolled_back.push(id),
        }
        self.remove(id, out);
    }

    /// Removes a cart if it is live.
    fn remove(&mut self, id: CartId, out: &mut Publications) {
        if self.is_live(id)
            && let Some(cart) = self.carts.change(&id)
        {
            cart.status = Status::Removed;
            self.ids.remove_row();
            self.ids.count_owner(&cart.owner, -1);
            out.publish(cart.removed_event());
        }
    }
}

#[cfg(test)]
mod tests;
