//! Gifticon as the cart knows it: a place that holds stock, behind a circuit breaker.

use crate::domain::Rejection;
use chassis::base::{patience, trace};
use chassis::http::breaker::{Breaker, CallError};
use common_events::{GifticonId, ReservationId};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use tracing::warn;

/// How long a release may take. No customer waits for it, so it may take longer than a reservation.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many calls through the breaker one cart makes at most, each within its timeout.
pub const CALLS_MAX: u32 = 2;

/// A reservation that gifticon holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Reserved {
    /// Name of the gifticon.
    pub name: String,
    /// Won for one unit.
    pub price: i64,
}

/// Why gifticon gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// Nothing was sent: the circuit is open.
    Unsent,
    /// Something was sent, and whether gifticon acted on it is unknown.
    Unknown,
}

/// Why it is not certain that stock was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// No answer in time.
    #[error("gifticon did not answer in time")]
    Late,
    /// It cannot be reached, or failed.
    #[error("gifticon failed")]
    Failed,
}

/// The way to gifticon.
#[derive(Clone)]
pub struct HttpStock {
    client: Client,
    url: String,
    breaker: Breaker,
}

/// The body of gifticon's 409. Without a quantity, the reservation was released before it was made.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conflict {
    available_quantity: Option<i64>,
}

/// Returns whether there was no answer because the connection broke.
fn is_broken_connection(error: &anyhow::Error) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some_and(|error| !error.is_decode())
}

/// Gifticon answered with a status that it should not.
#[derive(Debug, thiserror::Error)]
#[error("gifticon answered {0}")]
struct UnexpectedStatusError(StatusCode);

impl HttpStock {
    /// Returns the way to gifticon at `url`.
    pub fn new(client: Client, url: String, breaker: Breaker) -> Self {
        Self { client, url, breaker }
    }

    /// Returns whether a call would be made now.
    pub fn can_be_called(&self) -> bool {
        self.breaker.permits()
    }

    /// Reserves stock under `reservation`, or returns why gifticon refuses. A call that is late while the circuit is closed is
    /// made once more if `caller_waits` says that the customer still waits.
    pub async fn reserve(
        &self,
        reservation: ReservationId,
        gifticon_id: GifticonId,
        quantity: i64,
        caller_waits: impl Fn() -> bool,
    ) -> Result<Result<Reserved, Rejection>, ReserveError> {
        // A connection that broke, as when a replica goes, or a moment in which a machine stood still, is no reason to send a
        // customer away: a reservation that is requested twice is made once. But a second call counts only if it succeeds:
        // another replica may refuse it while the first call is still being done and takes the last units.
        let mut answer = self
            .breaker
            .call(async {
                match self.call(reservation, gifticon_id, quantity).await {
                    Err(error) if is_broken_connection(&error) => {
                        match self.call(reservation, gifticon_id, quantity).await {
                            Ok(Err(_)) => Err(error),
                            answer => answer,
                        }
                    }
                    answer => answer,
                }
            })
            .await;
        if matches!(answer, Err(CallError::Late(_))) && self.breaker.is_closed() && caller_waits() {
            let second = self.breaker.call(self.call(reservation, gifticon_id, quantity)).await;
            if matches!(second, Ok(Ok(_))) {
                answer = second;
            }
        }
        match answer {
            Ok(Ok(reserved)) => Ok(Ok(reserved)),
            Ok(Err(Some(rejection))) => Ok(Err(rejection)),
            // It was released before it was made: the sweeper ended this attempt.
            Ok(Err(None)) => Err(ReserveError::Unknown),
            Err(CallError::Open(_)) => Err(ReserveError::Unsent),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                warn!(reservation.id = %reservation, error, "a reservation has an unknown outcome");
                Err(ReserveError::Unknown)
            }
        }
    }

    /// Calls once. Returns what is reserved, or why not: 404 and 409 are answers, and do not count against gifticon. `None`
    /// means that the reservation was released before.
    async fn call(
        &self,
        reservation: ReservationId,
        gifticon_id: GifticonId,
        quantity: i64,
    ) -> anyhow::Result<Result<Reserved, Option<Rejection>>> {
        let body = json!({ "gifticonId": gifticon_id, "quantity": quantity });
        // Gifticon does not begin what waited longer than this: nobody would hear of it. By then this
        // side has counted it as late.
        let patience = patience::header(self.breaker.timeout());
        let request = self.client.put(self.address(reservation)).json(&body);
        let mut request = request.header(patience::HEADER, patience);
        if let Some(trace) = trace::current() {
            request = request.header(trace::TRACEPARENT, trace.header());
        }
        let response = request.send().await?;
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => Ok(Ok(response.json().await?)),
            StatusCode::NOT_FOUND => Ok(Err(Some(Rejection::UnknownGifticon))),
            StatusCode::CONFLICT => {
                let conflict: Conflict = response.json().await?;
                let rejection = |available| Rejection::InsufficientStock { available };
                Ok(Err(conflict.available_quantity.map(rejection)))
            }
            status => Err(UnexpectedStatusError(status).into()),
        }
    }

    /// Releases what is held under `reservation`, if anything is.
    ///
    /// # Errors
    /// Where it is not certain that nothing is held now.
    pub async fn release(&self, reservation: ReservationId) -> Result<(), ReleaseError> {
        let request = self.client.delete(self.address(reservation)).timeout(RELEASE_TIMEOUT);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Err(error) if error.is_timeout() => Err(ReleaseError::Late),
            Ok(_) | Err(_) => Err(ReleaseError::Failed),
        }
    }

    fn address(&self, reservation: ReservationId) -> String {
        format!("{}/reservations/{reservation}", self.url)
    }
}
