//! The HTTP calls to gifticon.

use crate::domain::Rejection;
use crate::stock::answer::{Answer, ReleaseError, Request, Reserved, Unanswered};
use anyhow::{bail, ensure};
use chassis::base::patience;
use chassis::base::trace::{TRACEPARENT, Trace};
use common_events::ReservationId;
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::slice;
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

    /// Reserves all, and returns an answer for each.
    ///
    /// # Errors
    /// The whole fails if none has an answer.
    pub(super) async fn reserve(
        &self,
        requests: &[Request],
    ) -> anyhow::Result<Vec<Result<Answer, Unanswered>>> {
        if requests.len() > 1 && self.one_by_one_until().is_none_or(|until| until < Instant::now())
        {
            match self.send_twice(requests).await {
                Err(error) if is_unknown_route(&error) => {
                    *self.one_by_one_until() = Some(Instant::now() + ONE_BY_ONE_TIME);
                }
                answers => return answers,
            }
        }
        let calls = requests.iter().map(|request| self.send_twice(slice::from_ref(request)));
        let (mut answers, mut failure) = (Vec::new(), None);
        for answer in join_all(calls).await {
            match answer {
                Ok(answer) => answers.extend(answer),
                Err(error) => {
                    answers.push(Err(Unanswered::failed(&error)));
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if answers.iter().all(Result::is_err) => Err(error),
            _ => Ok(answers),
        }
    }

    fn one_by_one_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.one_by_one_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, and once more if its connection breaks.
    ///
    /// A connection that broke, as when a replica goes, or a moment in which a machine stood still, is no reason to send a
    /// customer away: a reservation that is requested twice is made once. But a second call counts only if it succeeds:
    /// another replica may refuse it while the first call is still being done and takes the last units.
    async fn send_twice(
        &self,
        requests: &[Request],
    ) -> anyhow::Result<Vec<Result<Answer, Unanswered>>> {
        match self.send(requests).await {
            Err(error) if is_broken_connection(&error) => {
                let first = Unanswered::failed(&error);
                let counts = |answer| match answer {
                    Ok(Err(_)) => Err(first.clone()),
                    answer => answer,
                };
                let answers: Vec<_> = self.send(requests).await?.into_iter().map(counts).collect();
                if answers.iter().all(Result::is_err) { Err(error) } else { Ok(answers) }
            }
            answers => answers,
        }
    }

    /// Makes one call. 404 and 409 are answers, and do not count against gifticon.
    async fn send(&self, requests: &[Request]) -> anyhow::Result<Vec<Result<Answer, Unanswered>>> {
        // Gifticon does not begin what waited longer than this: nobody would hear of it. By then this
        // side has counted it as late.
        let patience = patience::header(self.timeout);
        let [request] = requests else {
            let items: Vec<Value> = requests.iter().map(item).collect();
            let call = self.client.post(format!("{}/reservations", self.url));
            let call =
                call.json(&json!({ "reservations": items })).header(patience::HEADER, patience);
            let response = call.send().await?;
            if response.status() != StatusCode::OK {
                bail!(UnexpectedStatusError(response.status()));
            }
            let answers: Vec<AnswerBody> = response.json().await?;
            ensure!(answers.len() == requests.len(), "gifticon left out an answer");
            let answers: Vec<_> = answers.into_iter().map(AnswerBody::answer).collect();
            let failed = answers.iter().all(Result::is_err);
            ensure!(!failed, "gifticon could not do any of {} reservations", answers.len());
            return Ok(answers);
        };
        let body = json!({ "gifticonId": request.gifticon_id, "quantity": request.quantity });
        let call = self.client.put(self.address(request.reservation)).json(&body);
        let mut call = call.header(patience::HEADER, patience);
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
        Ok(vec![body.answer()])
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
        "traceparent": request.trace.as_ref().map(Trace::as_str),
    })
}

impl AnswerBody {
    fn answer(self) -> Result<Answer, Unanswered> {
        let rejection = |available| Rejection::InsufficientStock { available };
        match (self.status, self.name, self.price) {
            (Some(200 | 201), Some(name), Some(price)) => Ok(Ok(Reserved { name, price })),
            (Some(404), ..) => Ok(Err(Some(Rejection::UnknownGifticon))),
            (Some(409), ..) => Ok(Err(self.available_quantity.map(rejection))),
            (status, ..) => {
                let status = status.unwrap_or_default();
                Err(Unanswered::Failed(format!("gifticon answered {status}").into()))
            }
        }
    }
}

/// Returns whether there was no answer because the connection broke.
fn is_broken_connection(error: &anyhow::Error) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some_and(|error| !error.is_decode())
}

/// Returns whether gifticon does not know the route.
fn is_unknown_route(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|UnexpectedStatusError(status)| {
        [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(status)
    })
}
