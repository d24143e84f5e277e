//! What can be done with carts. The saga of adding one is here.

use crate::blocks::{Blocks, Place};
use crate::domain::{Attempt, Cart, Command, Outcome, Refusal, Rejection, Reply, scoped_key};
use crate::model::CartModel;
use crate::stock::{HttpStock, ReserveError, Reserved};
use chassis::base::clock::now;
use chassis::base::limits::PATIENCE;
use chassis::base::metrics::Counter;
use chassis::base::patience;
use chassis::base::trace;
use chassis::base::unavailable::Unavailable;
use chassis::storage::Db;
use chassis::writer::{CommandError, Writer};
use common_events::{CartId, ExpectedVersions, GifticonId, Owner, ReservationId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, debug};
use uuid::Uuid;

/// How long a request waits for another one with its `Idempotency-Key` that is under way.
const IDEMPOTENT_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often it looks whether the other one has ended.
const IDEMPOTENT_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long a cart that could not be written waits for its next try.
const CONFIRM_RETRY_INTERVAL: Duration = Duration::from_millis(100);

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

/// Why an attempt became no cart.
enum Unmade {
    /// Gifticon refused to reserve.
    Rejected(Rejection),
    /// It is cancelled, or gifticon was not asked.
    Unavailable,
    /// The database failed before that could be written: the sweeper ends it.
    LeftBehind,
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
    pub blocks: Blocks,
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
    /// Only its beginning can be refused because it waited for too long, or withdrawn because the caller went away: what comes
    /// later ends what was begun. A crash leaves an attempt that the sweeper ends.
    async fn saga(
        &self,
        request: CartRequest,
        deadline: Instant,
        caller: &mut Caller,
    ) -> Result<Cart, AddCartError> {
        let CartRequest { owner, gifticon_id, quantity, key } = request;
        let (reservation_id, place) = if key.is_some() {
            // In the order of time: rows that are written together are beside each other in their index.
            (ReservationId(Uuid::now_v7()), None)
        } else {
            if !self.stock.can_be_called() {
                return Err(AddCartError::StockUnavailable); // at once, and nothing written
            }
            let withdrawn = async {
                tokio::select! {
                    () = sleep_until(deadline) => {}
                    () = caller.closed() => {}
                }
            };
            let place = self.blocks.take(withdrawn).await?;
            (place.reservation(), Some(place))
        };
        let key = key.map(|key| scoped_key(&owner, &key));
        let attempt =
            Attempt { reservation_id, owner, gifticon_id, quantity, key, cancelled: false };
        if attempt.key.is_some()
            && let Some(cart) = self.begin(attempt.clone(), deadline, caller).await?
        {
            return Ok(cart);
        }
        self.finish(attempt, place, deadline, caller).await
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

    /// Reserves the stock of an attempt, and makes its cart or ends it. An attempt whose outcome is unknown is cancelled, and its
    /// stock released. One without a key has a `place` in a block.
    async fn finish(
        &self,
        attempt: Attempt,
        place: Option<Place>,
        deadline: Instant,
        caller: &Caller,
    ) -> Result<Cart, AddCartError> {
        fail::fail_point!("cart-after-attempt");
        let ended = patience::without_end(self.reserve(attempt, deadline, caller)).await;
        if let Some(place) = place
            && !matches!(ended, Err(Unmade::LeftBehind))
        {
            place.settle();
        }
        ended.map_err(|unmade| match unmade {
            Unmade::Rejected(rejection) => AddCartError::Rejected(rejection),
            Unmade::Unavailable | Unmade::LeftBehind => AddCartError::StockUnavailable,
        })
    }

    async fn reserve(
        &self,
        attempt: Attempt,
        deadline: Instant,
        caller: &Caller,
    ) -> Result<Cart, Unmade> {
        let Attempt { reservation_id: reservation, gifticon_id, quantity, .. } = attempt;
        let (owner, has_key) = (attempt.owner.clone(), attempt.key.is_some());
        let caller_waits = || !caller.is_closed() && Instant::now() < deadline;
        let reserved =
            self.stock.reserve(reservation, gifticon_id, quantity, owner, caller_waits).await;
        fail::fail_point!("cart-after-reserve");
        match reserved {
            Ok(Ok(Reserved { name, price })) => self.confirm(attempt, name, price, caller).await,
            Ok(Err(rejection)) => {
                if let Rejection::InsufficientStock { .. } = rejection {
                    self.sold_out.inc();
                }
                // Where the refusal could not be stored under the key, a retry might succeed: the customer gets 503 instead.
                // The sweeper ends the attempt, and gifticon holds nothing for it.
                let refuse = Command::Refuse { reservation, rejection };
                if has_key && self.writer.execute(refuse).await.is_err() {
                    return Err(Unmade::LeftBehind);
                }
                Err(Unmade::Rejected(rejection))
            }
            Err(ReserveError::Unsent) => {
                if has_key {
                    let _ = self.writer.execute(Command::CloseAttempt { reservation }).await;
                }
                Err(Unmade::Unavailable)
            }
            Err(ReserveError::Unknown) => {
                match self.writer.execute(Command::CancelAttempt(attempt)).await {
                    Ok(_) => Err(Unmade::Unavailable),
                    Err(_) => Err(Unmade::LeftBehind),
                }
            }
        }
    }

    /// Makes the cart. Where the database fails, it tries again: the customer is answered only when it is known whether there
    /// is a cart.
    async fn confirm(
        &self,
        attempt: Attempt,
        name: String,
        price: i64,
        caller: &Caller,
    ) -> Result<Cart, Unmade> {
        let (reservation, mut logged) = (attempt.reservation_id, false);
        let confirm = Command::Confirm { attempt, name, price, at: now() };
        loop {
            // Nobody would be told of a cart that is made now: let the customer's next try make one. Who has gone does not come
            // back, so what was cancelled is not confirmed.
            let command = match &confirm {
                Command::Confirm { attempt, .. } if caller.is_closed() => {
                    Command::CancelAttempt(attempt.clone())
                }
                confirm => confirm.clone(),
            };
            match self.writer.execute(command).await {
                Ok(Reply::Cart(cart)) => {
                    fail::fail_point!("cart-after-confirm");
                    return Ok(cart);
                }
                Ok(_) => return Err(Unmade::Unavailable),
                Err(CommandError::Refused(_)) => {
                    self.blocks.close(); // another replica has ended its block, and may have ended others
                    return Err(Unmade::Unavailable);
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
