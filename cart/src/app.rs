//! What can be done with carts. The saga of adding one is here.

use crate::domain::{
    Attempt, Cart, Carts, Command, Outcome, Refusal, Rejection, Reply, scoped_key,
};
use crate::stock::{HttpStock, ReserveError};
use crate::store;
use chassis::base::clock::now;
use chassis::base::limits::PATIENCE;
use chassis::base::metrics::Counter;
use chassis::base::patience;
use chassis::base::trace;
use chassis::base::unavailable::Unavailable;
use chassis::model::{Publications, Rules};
use chassis::storage::{Db, Tx};
use chassis::writer::{CommandError, WriteModel, Writer};
use common_events::{CartId, ExpectedVersions, GifticonId, Owner, ReservationId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Instrument, debug};
use uuid::Uuid;

/// How long a request waits for another one with its `Idempotency-Key` that is under way.
const IDEMPOTENT_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often it looks whether the other one has ended.
const IDEMPOTENT_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long a cart that could not be written waits for its next try.
const CONFIRM_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The rules and tables of carts, for the writer.
#[derive(Clone, Debug)]
pub struct CartModel;

impl Rules for CartModel {
    type State = Carts;
    type Command = Command;
    type Reply = Reply;
    type Refusal = Refusal;

    fn handle(
        carts: &mut Carts,
        command: &Command,
        out: &mut Publications,
    ) -> Result<Reply, Refusal> {
        carts.handle(command, out)
    }
}

impl WriteModel for CartModel {
    async fn load(&self, tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Carts> {
        store::load(tx, commands).await
    }

    async fn save(&self, tx: &mut Tx<'_>, carts: &Carts) -> anyhow::Result<()> {
        Ok(store::save(tx, carts)?)
    }
}

/// Why no cart was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddCartError {
    /// Gifticon refused to reserve.
    #[error("gifticon refused: {0:?}")]
    Rejected(Rejection),
    /// Gifticon is late, failing, or not called because it was lately. What it may hold is released.
    #[error("gifticon cannot be called now")]
    StockUnavailable,
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

/// A request to add a cart.
#[derive(Clone, Debug)]
pub struct CartRequest {
    /// Whom the cart is to belong to.
    pub owner: Owner,
    pub gifticon_id: GifticonId,
    pub quantity: i64,
    /// The `Idempotency-Key`.
    pub key: Option<String>,
}

/// Where the outcome of a request goes. Closed once its caller has gone away.
type Caller = oneshot::Sender<Result<Cart, AddCartError>>;

/// The use cases. All requests share one.
pub struct CartsApp {
    pub db: Db,
    pub writer: Writer<CartModel>,
    pub stock: HttpStock,
    /// Counts the carts that are refused since not enough are left.
    pub sold_out: Counter,
}

impl CartsApp {
    /// Adds a cart.
    ///
    /// The saga runs in a task of its own: a client that goes away must not stop it half way. One that goes before the
    /// writer has its attempt stops all of it: requests that nobody waits for do not pile up behind the queue.
    pub async fn add(self: &Arc<Self>, request: CartRequest) -> Result<Cart, AddCartError> {
        let (mut caller, outcome) = oneshot::channel();
        let (app, trace, deadline) = (Arc::clone(self), trace::current(), patience::until());
        let saga = async move {
            let outcome = app.saga(request, deadline, &mut caller).await;
            let _ = caller.send(outcome);
        };
        match trace {
            Some(trace) => tokio::spawn(trace::with(trace, saga).in_current_span()),
            None => tokio::spawn(saga),
        };
        // A saga that panicked left an attempt, which the sweeper ends.
        outcome.await.unwrap_or(Err(AddCartError::Unavailable(Unavailable::Database)))
    }

    /// Writes an attempt, reserves its stock, and makes its cart.
    ///
    /// A crash between any two of these leaves an attempt that the sweeper ends. An attempt whose outcome is unknown is
    /// cancelled, and its stock released. Only its beginning can be refused because it waited for too long, or withdrawn
    /// because the caller went away: what comes later ends what was begun.
    async fn saga(
        &self,
        request: CartRequest,
        deadline: Instant,
        caller: &mut Caller,
    ) -> Result<Cart, AddCartError> {
        let CartRequest { owner, gifticon_id, quantity, key } = request;
        if key.is_none() && !self.stock.can_be_called() {
            return Err(AddCartError::StockUnavailable); // at once, and nothing written
        }
        // In the order of time: rows that are written together are beside each other in their index.
        let reservation_id = ReservationId(Uuid::now_v7());
        let key = key.map(|key| scoped_key(&owner, &key));
        let attempt =
            Attempt { reservation_id, owner, gifticon_id, quantity, key, cancelled: false };
        if let Some(cart) = self.begin(attempt.clone(), deadline, caller).await? {
            return Ok(cart);
        }
        fail::fail_point!("cart-after-attempt");
        patience::without_end(self.finish(attempt, deadline, caller)).await
    }

    /// Writes the attempt, or returns the cart of the request that came before with the same key. Where the caller goes away
    /// before the writer has begun, nothing is written.
    async fn begin(
        &self,
        attempt: Attempt,
        mut deadline: Instant,
        caller: &mut Caller,
    ) -> Result<Option<Cart>, AddCartError> {
        let started = Instant::now();
        loop {
            let command = Command::BeginAttempt(attempt.clone());
            let begun = self.writer.execute_unless(command, caller.closed());
            match patience::with(deadline, begun).await {
                Ok(Reply::Repeated(Outcome::Rejected(rejection), _)) => {
                    return Err(AddCartError::Rejected(rejection));
                }
                Ok(Reply::Repeated(_, Some(cart))) => return Ok(Some(cart)),
                Ok(Reply::Repeated(..)) if started.elapsed() > IDEMPOTENT_WAIT_MAX => {
                    return Err(AddCartError::KeyPending);
                }
                Ok(Reply::Repeated(..)) => {
                    tokio::time::sleep(IDEMPOTENT_POLL_INTERVAL).await;
                    deadline = Instant::now() + PATIENCE; // it waits for the first, and not in a queue
                }
                Ok(_) => return Ok(None),
                Err(CommandError::Refused(_)) => return Err(AddCartError::KeyReused),
                Err(CommandError::Unavailable(unavailable)) => return Err(unavailable.into()),
            }
        }
    }

    /// Reserves the stock of an attempt, and makes its cart or ends it.
    async fn finish(
        &self,
        attempt: Attempt,
        deadline: Instant,
        caller: &Caller,
    ) -> Result<Cart, AddCartError> {
        let Attempt { reservation_id: reservation, owner, gifticon_id, quantity, key, .. } =
            attempt;
        let caller_waits = || !caller.is_closed() && Instant::now() < deadline;
        let reserved =
            self.stock.reserve(reservation, gifticon_id, quantity, owner, caller_waits).await;
        fail::fail_point!("cart-after-reserve");
        match reserved {
            Ok(Ok(reserved)) => {
                let (name, price) = (reserved.name, reserved.price);
                let confirm = Command::Confirm { reservation, name, price, at: now() };
                return self.confirm(reservation, confirm, caller).await;
            }
            Ok(Err(rejection)) => {
                if let Rejection::InsufficientStock { .. } = rejection {
                    self.sold_out.inc();
                }
                let refuse = Command::Refuse { reservation, rejection };
                let written = self.writer.execute(refuse).await;
                // Where the refusal could not be stored under the key, a retry might succeed: the customer gets 503 instead.
                // The sweeper ends the attempt, and gifticon holds nothing for it.
                if written.is_ok() || key.is_none() {
                    return Err(AddCartError::Rejected(rejection));
                }
            }
            Err(ReserveError::Unsent) => {
                let _ = self.writer.execute(Command::CloseAttempt { reservation }).await;
            }
            // Where this fails, the sweeper does it.
            Err(ReserveError::Unknown) => {
                let _ = self.writer.execute(Command::CancelAttempt { reservation }).await;
            }
        }
        Err(AddCartError::StockUnavailable)
    }

    /// Makes the cart. Where the database fails, it tries again: the customer is answered only when it is known whether there
    /// is a cart.
    async fn confirm(
        &self,
        reservation: ReservationId,
        confirm: Command,
        caller: &Caller,
    ) -> Result<Cart, AddCartError> {
        let mut logged = false;
        loop {
            // Nobody would be told of a cart that is made now: let the customer's next try make one.
            let gone = caller.is_closed();
            let command =
                if gone { Command::CancelAttempt { reservation } } else { confirm.clone() };
            match self.writer.execute(command).await {
                Ok(Reply::Cart(cart)) => {
                    fail::fail_point!("cart-after-confirm");
                    return Ok(cart);
                }
                Ok(_) | Err(CommandError::Refused(_)) => {
                    return Err(AddCartError::StockUnavailable);
                }
                Err(CommandError::Unavailable(unavailable)) => {
                    if !std::mem::replace(&mut logged, true) {
                        // One for each request: the database logs its outage itself.
                        debug!(
                            trace.id = trace::current().map(|trace| display(trace.id())),
                            reservation.id = %reservation,
                            %unavailable,
                            "a cart is not written yet"
                        );
                    }
                    tokio::time::sleep(CONFIRM_RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Cancels a cart of `owner` in one of the expected versions. Its stock and payment follow by the event.
    pub async fn remove(
        &self,
        id: i64,
        owner: Owner,
        expected: ExpectedVersions,
    ) -> Result<(), CommandError<Refusal>> {
        let remove = Command::Remove { id: CartId(id), owner, expected };
        self.writer.execute(remove).await.map(|_| ())
    }
}
