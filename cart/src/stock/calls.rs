//! The HTTP calls to gifticon.

use crate::domain::Rejection;
use crate::stock::answer::{Answer, ReleaseError, Request, Reserved, Unanswered};
use anyhow::{bail, ensure};
use chassis::base::patience;
use chassis::base::trace::{TRACEPARENT, Trace};
use common_events::ReservationId;
use reqwest::header::HeaderValue;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a release may take. No customer waits for it, so it may take longer than a reservation.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long reservations are made one by one after a gifticon that has only the call for one, such as another implementation.
const ONE_BY_ONE_TIME: Duration = Duration::from_secs(10);

/// The answer to one reservation, alone or among others. A conflict without a quantity says that it was released before.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerBody {
    status: Option<u16>,
    name: Option<String>,
    price: Option<i64>,
    available_quantity: Option<i64>,
}

/// Gifticon answered with a status that it should not.
#[derive(Debug, thiserror::Error)]
#[error("gifticon answered {0}")]
struct UnexpectedStatusError(StatusCode);

/// Gifticon, without a breaker.
#[derive(Clone)]
pub(super) struct Calls {
    client: Client,
    url: Arc<str>,
    timeout: Duration,
    /// When to try a call for many reservations again: the gifticon that answered last knows none.
    one_by_one_until: Arc<Mutex<Option<Instant>>>,
}

impl Calls {
    pub(super) fn new(client: Client, url: String, timeout: Duration) -> Self {
        Self { client, url: url.into(), timeout, one_by_one_until: Arc::default() }
    }

    /// Returns whether a call for many reservations is worth a try.
    pub(super) fn takes_many(&self) -> bool {
        self.one_by_one_until().is_none_or(|until| until < Instant::now())
    }

    fn one_by_one_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.one_by_one_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a reservation.
    ///
    /// A connection that broke, as when a replica goes, or a moment in which a machine stood still, is no reason to send a
    /// customer away: a reservation that is requested twice is made once. But a second call counts only if it succeeds:
    /// another replica may refuse it while the first call is still being done and takes the last units.
    pub(super) async fn reserve(&self, request: &Request) -> anyhow::Result<Answer> {
        match self.put(request).await {
            Err(error) if is_broken_connection(&error) => match self.put(request).await {
                Ok(Ok(reserved)) => Ok(Ok(reserved)),
                _ => Err(error),
            },
            answer => answer,
        }
    }

    /// Makes many reservations by one call, and by one more if its connection breaks, as [`Calls::reserve`] does. Returns an
    /// answer for each, or `None` if gifticon has no such call and did nothing.
    pub(super) async fn reserve_each(
        &self,
        requests: &[Request],
    ) -> anyhow::Result<Option<Vec<Result<Answer, Unanswered>>>> {
        match self.post(requests).await {
            Err(error) if is_broken_connection(&error) => {
                let first = Unanswered::failed(&error);
                let counts = |answer| match answer {
                    Ok(Err(_)) => Err(first.clone()),
                    answer => answer,
                };
                // Whatever else comes of the second call, also that another gifticon has no such call: the first may be done.
                let Ok(answers) = self.post(requests).await else { return Err(error) };
                Ok(Some(answers.into_iter().map(counts).collect()))
            }
            Err(error) if is_unknown_call(&error) => {
                *self.one_by_one_until() = Some(Instant::now() + ONE_BY_ONE_TIME);
                Ok(None)
            }
            answers => answers.map(Some),
        }
    }

    /// Calls for one. 404 and 409 are answers, and do not count against gifticon.
    async fn put(&self, request: &Request) -> anyhow::Result<Answer> {
        let Request { gifticon_id, quantity, ref owner, .. } = *request;
        let body = json!({ "gifticonId": gifticon_id, "quantity": quantity, "owner": owner });
        let call = self.client.put(self.address(request.reservation)).json(&body);
        let mut call = call.header(patience::HEADER, self.patience());
        if let Some(trace) = &request.trace {
            call = call.header(TRACEPARENT, trace.header());
        }
        let response = call.send().await?;
        let status = response.status();
        let body = match status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::CONFLICT => response.json().await?,
            StatusCode::NOT_FOUND => AnswerBody::default(),
            status => bail!(UnexpectedStatusError(status)),
        };
        let body = AnswerBody { status: Some(status.as_u16()), ..body };
        Ok(body.answer()?)
    }

    /// Calls for many. Each has its own answer.
    async fn post(&self, requests: &[Request]) -> anyhow::Result<Vec<Result<Answer, Unanswered>>> {
        let items: Vec<Value> = requests.iter().map(item).collect();
        let call = self.client.post(format!("{}/reservations", self.url));
        let call = call.json(&json!({ "reservations": items }));
        // Each reservation has the trace of its purchase. The call itself is no part of one.
        let call = call.header(TRACEPARENT, Trace::unsampled().header());
        let response = call.header(patience::HEADER, self.patience()).send().await?;
        if response.status() != StatusCode::OK {
            bail!(UnexpectedStatusError(response.status()));
        }
        let answers: Vec<AnswerBody> = response.json().await?;
        ensure!(answers.len() == requests.len(), "gifticon left out an answer");
        Ok(answers.into_iter().map(AnswerBody::answer).collect())
    }

    /// Returns the header that has gifticon begin nothing that waited for longer than a call may take: nobody would hear of it.
    fn patience(&self) -> HeaderValue {
        patience::header(self.timeout)
    }

    /// Releases what is held under `reservation`, if anything is.
    pub(super) async fn release(&self, reservation: ReservationId) -> Result<(), ReleaseError> {
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

/// Returns the JSON of a reservation among others.
fn item(request: &Request) -> Value {
    json!({
        "reservationId": request.reservation,
        "gifticonId": request.gifticon_id,
        "quantity": request.quantity,
        "owner": request.owner,
        "traceparent": request.trace.map(|trace| trace.to_string()),
    })
}

impl AnswerBody {
    fn answer(self) -> Result<Answer, Unanswered> {
        let rejection = |available| Rejection::InsufficientStock { available };
        match (self.status, self.name, self.price) {
            (Some(200 | 201), Some(name), Some(price)) => Ok(Ok(Reserved { name, price })),
            (Some(404), ..) => Ok(Err(Some(Rejection::UnknownGifticon))),
            (Some(409), ..) => Ok(Err(self.available_quantity.map(rejection))),
            (Some(status), ..) => {
                Err(Unanswered::Failed(format!("gifticon answered {status}").into()))
            }
            (None, ..) => Err(Unanswered::Failed("gifticon answered without a status".into())),
        }
    }
}

/// Returns whether there was no answer because the connection broke.
fn is_broken_connection(error: &anyhow::Error) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some_and(|error| !error.is_decode())
}

/// Returns whether gifticon has no call for many, by what it answered: what cart sends is well formed and within bounds.
fn is_unknown_call(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|UnexpectedStatusError(status)| {
        status.is_client_error() && *status != StatusCode::REQUEST_TIMEOUT
            || *status == StatusCode::NOT_IMPLEMENTED
    })
}
