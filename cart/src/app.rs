//! What can be done with carts. The saga of adding one is here.

use crate::domain::{Cart, CartEvent, Carts, Command, Intent, No, Outcome, Refusal};
use crate::stock::{HttpStock, ReserveError};
use crate::store;
use chassis::base::clock::now;
use chassis::base::patience::{self, PATIENCE};
use chassis::base::trace;
use chassis::base::unavailable::Unavailable;
use chassis::storage::{Db, Tx};
use chassis::writer::{CommandError, Domain, Writer};
use common_events::{
    CartAdded, CartId, CartRemoved, Event, ExpectedVersions, GifticonId, ReservationId, status,
};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::debug;
use uuid::Uuid;

/// How long a request waits for another with its `Idempotency-Key` that is under way.
const FOR_THE_FIRST: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// How long to wait until the database is asked again.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// The rules and tables of carts, for the writer.
#[derive(Clone, Debug)]
pub struct CartDomain {
    pub db: Db,
}

/// What the caller of a command is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The intent is written: go on.
    Intended,
    /// A request with this key was here before, and ended like this.
    Before(Outcome, Option<Cart>),
    /// The cart as it is now.
    Cart(Cart),
    /// It is done.
    Done,
}

/// Why no cart came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddCartError {
    /// Gifticon said no.
    #[error("gifticon said no: {0:?}")]
    No(No),
    /// Gifticon is late, failing, or not asked since it was lately. What it may hold is released.
    #[error("gifticon cannot be asked now")]
    NoStock,
    /// The key belongs to another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The first request with this key is still under way.
    #[error("the first request with this idempotency key is under way")]
    KeyPending,
    /// The service cannot, now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Domain for CartDomain {
    type Batch = Carts;
    type Command = Command;
    type Event = CartEvent;
    type Answer = Answer;
    type Refusal = Refusal;

    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Carts> {
        store::load(tx, &self.db, commands).await
    }

    fn decide(carts: &Carts, command: &Command) -> Result<Vec<CartEvent>, Refusal> {
        carts.decide(command)
    }

    fn evolve(carts: &mut Carts, event: &CartEvent) {
        carts.evolve(event);
    }

    fn answer(carts: &Carts, command: &Command, new: bool) -> Answer {
        match command {
            Command::Intend(_) if new => Answer::Intended,
            Command::Intend(intent) => {
                let key = intent.key.as_ref().and_then(|key| carts.keys.get(key));
                let outcome = key.map_or(Outcome::Pending, |key| key.outcome);
                let cart = match outcome {
                    Outcome::Added(id) => carts.carts.get(&id).cloned(),
                    Outcome::Pending | Outcome::Refused(_) => None,
                };
                Answer::Before(outcome, cart)
            }
            Command::Confirm { reservation, .. } => {
                carts.by_reservation(*reservation).cloned().map_or(Answer::Done, Answer::Cart)
            }
            Command::Refuse { .. }
            | Command::Abandon { .. }
            | Command::GiveUp { .. }
            | Command::Forget { .. }
            | Command::Remove { .. }
            | Command::MarkPaid { .. }
            | Command::Decline { .. } => Answer::Done,
        }
    }

    async fn save(
        &self,
        tx: &mut Tx<'_>,
        carts: &Carts,
        events: &[CartEvent],
    ) -> anyhow::Result<()> {
        Ok(store::save(tx, carts, events)?)
    }

    /// What others hear: a cart that came to be and one that is gone. The rest is this service's own.
    fn published(carts: &Carts, events: &[CartEvent]) -> Vec<(usize, Event)> {
        let told = |event: &CartEvent| match event {
            CartEvent::Confirmed(cart, _) => Some(Event::CartAdded(added(cart))),
            CartEvent::Removed(id) | CartEvent::Unmade(id) => {
                carts.carts.get(id).map(removed).map(Event::CartRemoved)
            }
            CartEvent::Intended(_)
            | CartEvent::Refused(..)
            | CartEvent::Abandoned(..)
            | CartEvent::Forgotten(..)
            | CartEvent::Paid(_) => None,
        };
        let told = events.iter().enumerate().map(|(place, event)| (place, told(event)));
        told.filter_map(|(place, event)| Some((place, event?))).collect()
    }
}

fn added(cart: &Cart) -> CartAdded {
    CartAdded {
        id: cart.id,
        gifticon_id: cart.gifticon_id,
        quantity: cart.quantity,
        status: Some(status::CART_ADDED.into()),
        reservation_id: Some(cart.reservation_id),
        name: Some(cart.name.clone()),
        price: Some(cart.price),
        amount: Some(cart.amount()),
    }
}

fn removed(cart: &Cart) -> CartRemoved {
    CartRemoved {
        id: cart.id,
        gifticon_id: cart.gifticon_id,
        quantity: cart.quantity,
        status: Some(status::CART_REMOVED.into()),
        reservation_id: Some(cart.reservation_id),
    }
}

/// A request to add a cart.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub gifticon_id: GifticonId,
    pub quantity: i64,
    /// The `Idempotency-Key`.
    pub key: Option<String>,
}

/// The use cases.
#[derive(Clone)]
pub struct CartsApp {
    pub db: Db,
    pub writer: Writer<CartDomain>,
    pub stock: HttpStock,
}

impl CartsApp {
    /// Adds a cart.
    ///
    /// The saga runs in a task of its own: a client that goes away must not stop it half way. One that goes before the
    /// writer has its intent stops all of it: requests that nobody waits for do not pile up behind the queue.
    pub async fn add(&self, wanted: Wanted) -> Result<Cart, AddCartError> {
        let (mut answer, answered) = oneshot::channel();
        let (app, trace, until) = (self.clone(), trace::current(), patience::until());
        let saga = async move {
            let outcome = app.saga(wanted, until, &mut answer).await;
            let _ = answer.send(outcome);
        };
        match trace {
            Some(trace) => tokio::spawn(trace::with(trace, saga)),
            None => tokio::spawn(saga),
        };
        // A saga that panicked left an intent, which the sweeper ends.
        answered.await.unwrap_or(Err(AddCartError::Unavailable(Unavailable::Database)))
    }

    /// Intent, reservation, cart. A crash between any two of them leaves an intent that the sweeper
    /// ends; an outcome that is unknown is abandoned, and gifticon told to let go. Only the intent can be refused since it
    /// waited, or withdrawn since the caller went away: what comes after it ends what was begun.
    async fn saga(
        &self,
        wanted: Wanted,
        until: Instant,
        caller: &mut oneshot::Sender<Result<Cart, AddCartError>>,
    ) -> Result<Cart, AddCartError> {
        let Wanted { gifticon_id, quantity, key } = wanted;
        if key.is_none() && !self.stock.can_be_asked() {
            return Err(AddCartError::NoStock); // at once, and nothing written
        }
        // In the order of time: rows that are written together are beside each other in their index.
        let reservation = ReservationId(Uuid::now_v7());
        let intent =
            Intent { reservation_id: reservation, gifticon_id, quantity, key, abandoned: false };
        if let Some(before) = self.intend(intent.clone(), until, caller).await? {
            return Ok(before);
        }
        fail::fail_point!("cart-after-intent");
        patience::without_end(self.bring_to_its_end(intent, until, caller)).await
    }

    /// Reserves the stock of an intent, and makes the cart or ends the intent.
    async fn bring_to_its_end(
        &self,
        intent: Intent,
        until: Instant,
        caller: &oneshot::Sender<Result<Cart, AddCartError>>,
    ) -> Result<Cart, AddCartError> {
        let Intent { reservation_id: reservation, gifticon_id, quantity, key, .. } = intent;
        let keyed = key.is_some();
        let waits = || !caller.is_closed() && Instant::now() < until;
        let answer = self.stock.reserve(reservation, gifticon_id, quantity, waits).await;
        fail::fail_point!("cart-after-reserve");
        match answer {
            Ok(Ok(reserved)) => {
                let (name, price) = (reserved.name, reserved.price);
                let confirm = Command::Confirm { reservation, name, price, at: now() };
                return self.confirm(reservation, confirm, caller).await;
            }
            Ok(Err(no)) => {
                let written = self.writer.execute(Command::Refuse { reservation, no }).await;
                // A no that the key does not remember could be followed by a yes under it. The sweeper
                // ends the intent, and gifticon holds nothing for it.
                if written.is_ok() || !keyed {
                    return Err(AddCartError::No(no));
                }
            }
            Err(ReserveError::Unsent) => {
                let _ = self.writer.execute(Command::Forget { reservation }).await;
            }
            // Where this fails, the sweeper does it.
            Err(ReserveError::Unknown) => {
                let _ = self.writer.execute(Command::Abandon { reservation }).await;
            }
        }
        Err(AddCartError::NoStock)
    }

    /// Makes the cart. Where the database fails, it tries again: the customer hears nothing until it is
    /// known whether there is a cart, and nothing but the truth then.
    async fn confirm(
        &self,
        reservation: ReservationId,
        confirm: Command,
        caller: &oneshot::Sender<Result<Cart, AddCartError>>,
    ) -> Result<Cart, AddCartError> {
        let mut said = false;
        loop {
            // Nobody hears of a cart made now: let the customer's next try make one.
            let gone = caller.is_closed();
            let command = if gone { Command::Abandon { reservation } } else { confirm.clone() };
            match self.writer.execute(command).await {
                Ok(Answer::Cart(cart)) => {
                    fail::fail_point!("cart-after-confirm");
                    return Ok(cart);
                }
                Ok(_) | Err(CommandError::Refused(_)) => return Err(AddCartError::NoStock),
                Err(CommandError::Unavailable(unavailable)) => {
                    if !std::mem::replace(&mut said, true) {
                        // One for each request: the database logs its outage itself.
                        debug!(reservation.id = %reservation, %unavailable, "a cart is not written yet");
                    }
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
            }
        }
    }

    /// Writes the intent, or answers what a request with the same key led to. Where the caller goes away before the writer
    /// has begun, nothing is written.
    async fn intend(
        &self,
        intent: Intent,
        until: Instant,
        caller: &mut oneshot::Sender<Result<Cart, AddCartError>>,
    ) -> Result<Option<Cart>, AddCartError> {
        let (started, mut until) = (Instant::now(), until);
        loop {
            let asked =
                self.writer.execute_unless(Command::Intend(intent.clone()), caller.closed());
            match patience::with(until, asked).await {
                Ok(Answer::Before(Outcome::Refused(no), _)) => return Err(AddCartError::No(no)),
                Ok(Answer::Before(_, Some(cart))) => return Ok(Some(cart)),
                Ok(Answer::Before(..)) if started.elapsed() > FOR_THE_FIRST => {
                    return Err(AddCartError::KeyPending);
                }
                Ok(Answer::Before(..)) => {
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                    until = Instant::now() + PATIENCE; // it waits for the first, and not in a queue
                }
                Ok(_) => return Ok(None),
                Err(CommandError::Refused(_)) => return Err(AddCartError::KeyReused),
                Err(CommandError::Unavailable(unavailable)) => return Err(unavailable.into()),
            }
        }
    }

    /// Cancels a cart in one of the expected versions. Its stock and payment follow by the event.
    pub async fn remove(
        &self,
        id: i64,
        expected: ExpectedVersions,
    ) -> Result<(), CommandError<Refusal>> {
        self.writer.execute(Command::Remove { id: CartId(id), expected }).await.map(|_| ())
    }
}
