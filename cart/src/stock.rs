//! Gifticon as the cart knows it: a place that holds stock, behind a circuit breaker.

mod answer;
mod calls;
mod queue;

pub use answer::{ReleaseError, Reserved};

use crate::domain::Rejection;
use answer::{Request, Unanswered};
use calls::Calls;
use chassis::base::span::{SpanKind, Tracer, describe, trace_within};
use chassis::base::trace;
use chassis::http::breaker::Breaker;
use common_events::{GifticonId, Owner, ReservationId};
use queue::Queue;
use reqwest::Client;
use tracing::warn;

/// How many calls through the breaker one cart makes at most, each within its timeout.
pub const CALLS_MAX: u32 = 2;

/// Why gifticon gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// Nothing was sent: the circuit is open.
    Unsent,
    /// Something was sent, and whether gifticon acted on it is unknown.
    Unknown,
}

/// The way to gifticon.
#[derive(Clone)]
pub struct HttpStock {
    calls: Calls,
    breaker: Breaker,
    queue: Queue,
    tracer: Tracer,
}

impl HttpStock {
    /// Returns the way to gifticon at `url`.
    pub fn new(client: Client, url: String, breaker: Breaker, tracer: Tracer) -> Self {
        let calls = Calls::new(client, url, breaker.timeout());
        let queue = Queue::new(calls.clone(), breaker.clone());
        Self { calls, breaker, queue, tracer }
    }

    /// Returns whether a call would be made now.
    pub fn can_be_called(&self) -> bool {
        self.breaker.permits()
    }

    /// Reserves stock under `reservation` for `owner`, or returns why gifticon refuses. A call that is late while the circuit is
    /// closed is made once more if `caller_waits` says that the customer still waits.
    pub async fn reserve(
        &self,
        reservation: ReservationId,
        gifticon_id: GifticonId,
        quantity: i64,
        owner: Owner,
        caller_waits: impl Fn() -> bool,
    ) -> Result<Result<Reserved, Rejection>, ReserveError> {
        let parent = trace::current();
        let span = self.tracer.child(parent.as_ref(), |_| {
            let attributes = [
                ("peer.service", "gifticon".into()),
                ("gifticon.reservation_id", reservation.to_string().into()),
            ];
            describe(SpanKind::Client, "reserve", attributes)
        });
        let trace = trace_within(span.as_ref(), parent);
        let request = Request { reservation, gifticon_id, quantity, owner, trace };
        let mut answer = self.queue.call(request.clone()).await;
        // Two calls for one reservation reserve once. But the second counts only if it succeeds: another replica may refuse it
        // while the first is still being done and takes the last units.
        if matches!(answer, Err(Unanswered::Late)) && self.breaker.is_closed() && caller_waits() {
            let second = self.queue.call(request).await;
            if matches!(second, Ok(Ok(_))) {
                answer = second;
            }
        }
        if let (Some(span), Err(error)) = (&span, &answer) {
            span.fail(error.to_string());
        }
        match answer {
            Ok(Ok(reserved)) => Ok(Ok(reserved)),
            Ok(Err(Some(rejection))) => Ok(Err(rejection)),
            // It was released before it was made: the sweeper ended this attempt.
            Ok(Err(None)) => Err(ReserveError::Unknown),
            Err(Unanswered::Unsent) => Err(ReserveError::Unsent),
            Err(error) => {
                warn!(
                    trace.id = trace.map(|trace| display(trace.id())),
                    reservation.id = %reservation,
                    %error,
                    "a reservation has an unknown outcome"
                );
                Err(ReserveError::Unknown)
            }
        }
    }

    /// Releases what is held under `reservation`, if anything is.
    ///
    /// # Errors
    /// Where it is not certain that nothing is held now.
    pub async fn release(&self, reservation: ReservationId) -> Result<(), ReleaseError> {
        self.calls.release(reservation).await
    }
}
