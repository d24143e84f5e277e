//! Gifticon as the cart knows it: a place that holds stock, behind a circuit breaker.

use crate::domain::No;
use chassis::base::{patience, trace};
use chassis::http::breaker::{Breaker, CallError};
use common_events::{GifticonId, ReservationId};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use tracing::warn;

/// How long a release may take. It is nobody's request, so it may wait for longer.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often gifticon is called for one cart at most, each time within the budget.
pub const CALLS_MAX: u32 = 2;

/// What gifticon holds now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Reserved {
    /// Name of the gifticon.
    pub name: String,
    /// Won for one unit.
    pub price: i64,
}

/// Why there is no answer. Where a call was made, whether gifticon acted on it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// Nothing was sent: the circuit is open.
    Unsent,
    /// Something was sent, and what came of it is unknown.
    Unknown,
}

/// Why a release is not sure.
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

/// What else gifticon's 409 may mean.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conflict {
    available_quantity: Option<i64>,
}

/// Whether there was no answer because the connection broke.
fn broke(error: &anyhow::Error) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some_and(|error| !error.is_decode())
}

/// gifticon answered what it should not.
#[derive(Debug, thiserror::Error)]
#[error("gifticon answered {0}")]
struct Unexpected(StatusCode);

impl HttpStock {
    /// Gifticon at `url`.
    pub fn new(client: Client, url: String, breaker: Breaker) -> Self {
        Self { client, url, breaker }
    }

    /// Whether a call would be made now.
    pub fn can_be_asked(&self) -> bool {
        self.breaker.permits()
    }

    /// Holds stock under `reservation`. A call that is late while the circuit is closed is made once more, where `waits` says
    /// that the customer still waits.
    pub async fn reserve(
        &self,
        reservation: ReservationId,
        gifticon_id: GifticonId,
        quantity: i64,
        waits: impl Fn() -> bool,
    ) -> Result<Result<Reserved, No>, ReserveError> {
        // A connection that broke, as when a replica goes, or a moment in which a machine stood still, is no reason to send a
        // customer away: a reservation that is asked for twice is made once. But only a yes is an answer then. At another
        // replica a no may be told while the first is still being done, and takes the last units.
        let mut answer = self
            .breaker
            .call(async {
                match self.ask(reservation, gifticon_id, quantity).await {
                    Err(error) if broke(&error) => {
                        match self.ask(reservation, gifticon_id, quantity).await {
                            Ok(Err(_)) => Err(error),
                            answer => answer,
                        }
                    }
                    answer => answer,
                }
            })
            .await;
        if matches!(answer, Err(CallError::Late(_))) && self.breaker.is_closed() && waits() {
            let again = self.breaker.call(self.ask(reservation, gifticon_id, quantity)).await;
            if matches!(again, Ok(Ok(_))) {
                answer = again;
            }
        }
        match answer {
            Ok(Ok(reserved)) => Ok(Ok(reserved)),
            Ok(Err(Some(no))) => Ok(Err(no)),
            // It was released before it was made: this request was given up by somebody else.
            Ok(Err(None)) => Err(ReserveError::Unknown),
            Err(CallError::Open(_)) => Err(ReserveError::Unsent),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                warn!(reservation.id = %reservation, error, "a reservation has an unknown outcome");
                Err(ReserveError::Unknown)
            }
        }
    }

    /// Asks once. 404 and 409 are answers, and do not count against gifticon; a 409 with nothing that is
    /// left means that the reservation was released before.
    async fn ask(
        &self,
        reservation: ReservationId,
        gifticon_id: GifticonId,
        quantity: i64,
    ) -> anyhow::Result<Result<Reserved, Option<No>>> {
        let body = json!({ "gifticonId": gifticon_id, "quantity": quantity });
        // What waits for longer is not begun there: nobody would hear of it. We count it as late before gifticon says so.
        let budget = patience::header(self.breaker.deadline());
        let request = self.client.put(self.address(reservation)).json(&body);
        let mut request = request.header(patience::BUDGET, budget);
        if let Some(trace) = trace::current() {
            request = request.header(trace::TRACEPARENT, trace.header());
        }
        let response = request.send().await?;
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => Ok(Ok(response.json().await?)),
            StatusCode::NOT_FOUND => Ok(Err(Some(No::NoGifticon))),
            StatusCode::CONFLICT => {
                let conflict: Conflict = response.json().await?;
                Ok(Err(conflict.available_quantity.map(|available| No::Short { available })))
            }
            status => Err(Unexpected(status).into()),
        }
    }

    /// Lets go of what is held under `reservation`, if anything is.
    ///
    /// # Errors
    /// Where it is not sure that nothing is held now.
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
