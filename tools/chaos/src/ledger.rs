//! The record of what the shop answered, and the check of the guarantees over HTTP.

mod promises;

pub use promises::Checkpoint;

use crate::ShopClient;
use crate::client::Answer;
use futures_util::{StreamExt, stream};
use promises::{Keyed, Promises};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bound for a shop to settle.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at the same time while keys are replayed.
const CONCURRENT_REQUESTS: usize = 32;
/// Never a valid answer: it is a fault of the shop, other than 502, 503 and 504.
const INTERNAL: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

/// The answers that customers got: each is a promise.
#[derive(Default)]
pub struct Ledger(Mutex<Promises>);

impl Ledger {
    fn lock(&self) -> std::sync::MutexGuard<'_, Promises> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that units were registered.
    pub fn register(&self, gifticon_id: i64, units: i64) {
        *self.lock().registered.entry(gifticon_id).or_default() += units;
    }

    /// Adds a cart and records the answer. Returns the id if the answer was 201.
    pub async fn add(
        &self,
        web: &ShopClient,
        gifticon_id: i64,
        quantity: i64,
        key: Option<&str>,
    ) -> Option<i64> {
        if let Some(key) = key {
            let identity = web.identity.clone();
            let unanswered = Keyed { gifticon_id, quantity, identity, cart: None };
            self.lock().keys.entry(key.to_owned()).or_insert(unanswered);
        }
        let (status, body) =
            self.record("POST /carts", web.add(gifticon_id, quantity, key)).await?;
        match status {
            StatusCode::CREATED => {}
            StatusCode::CONFLICT => return None, // sold out
            other => {
                self.lock().broken.push(format!("POST /carts answered {other}: {body}"));
                return None;
            }
        }
        let id = body["id"].as_i64()?;
        let mut promises = self.lock();
        if let Some(key) = key {
            let earlier = promises.keys.get_mut(key).and_then(|keyed| keyed.cart.replace(id));
            if earlier.is_some_and(|earlier| earlier != id) {
                promises.broken.push(format!("key {key} returned cart {earlier:?} and cart {id}"));
            }
        } else if promises.added.contains_key(&id) {
            promises.broken.push(format!("two requests were answered with cart {id}"));
        }
        promises.added.insert(id, web.identity.owner());
        Some(id)
    }

    /// Cancels a cart and records the answer.
    pub async fn cancel(&self, web: &ShopClient, id: i64) {
        let answer = self.record(&format!("DELETE of cart {id}"), web.cancel(id)).await;
        let mut promises = self.lock();
        match answer {
            None => {
                promises.maybe_cancelled.insert(id); // the outcome is unknown
            }
            Some((StatusCode::NO_CONTENT, _)) if !promises.cancelled.insert(id) => {
                promises.broken.push(format!("cart {id} was cancelled twice"));
            }
            Some((StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, _)) => {}
            Some((other, body)) => {
                promises.broken.push(format!("DELETE of cart {id} answered {other}: {body}"));
            }
        }
    }

    /// Reads a cart that was promised to this customer and is not cancelled: it must be there.
    pub async fn read_cart(&self, web: &ShopClient, id: i64) {
        let path = format!("/carts/{id}");
        let answer = self.record(&path, web.ask(Method::GET, &path, None)).await;
        if let Some((status, body)) = answer.filter(|(status, _)| *status != StatusCode::OK) {
            let broken = format!("GET {path} answered {status} although cart {id} lives: {body}");
            self.lock().broken.push(broken);
        }
    }

    /// Tries to read the latest cart of another owner, if there is one: it must be as if it were not there.
    pub async fn read_cart_of_another(&self, web: &ShopClient) {
        let owner = web.identity.owner();
        let another = || self.lock().latest_of_another(&owner);
        let Some(id) = web.identity.is_known().then(another).flatten() else { return };
        let path = format!("/carts/{id}");
        let answer = self.record(&path, web.ask(Method::GET, &path, None)).await;
        if let Some((status, body)) = answer.filter(|(status, _)| *status != StatusCode::NOT_FOUND)
        {
            let broken =
                format!("owners: GET {path} of another answered {owner} with {status}: {body}");
            self.lock().broken.push(broken);
        }
    }

    /// Returns the answer. A request that failed (no answer, 502, 503, 504) is recorded, and `None` returned.
    async fn record(
        &self,
        request: &str,
        answer: impl Future<Output = Answer>,
    ) -> Option<(StatusCode, Value)> {
        let answer = answer.await;
        self.lock().requests += 1;
        let (failure, answer) = match answer {
            Ok((status, body)) if status.is_server_error() && status != INTERNAL => {
                (format!("{status} {body}"), None)
            }
            Ok(answer) => return Some(answer),
            Err(error) => (format!("{error:?}"), None),
        };
        self.lock().failed.push(format!("{request}: {failure}"));
        answer
    }

    /// Takes the requests that failed since the last call: no answer, 502, 503 and 504.
    pub fn take_failed(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().failed)
    }

    /// Repeats the request of every key that was used since the last call. A key that was answered must get
    /// the same answer (G7).
    pub async fn replay_keys(&self, web: &ShopClient) {
        let keys = self.lock().keys.clone();
        let again = keys.iter().map(async |(key, keyed)| {
            let web = web.by(keyed.identity.clone());
            self.add(&web, keyed.gifticon_id, keyed.quantity, Some(key)).await
        });
        stream::iter(again).buffer_unordered(CONCURRENT_REQUESTS).for_each(async |_| ()).await;
        self.lock().keys.clear();
    }

    /// Returns the number of requests.
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// Returns the number of requests. Fails if one failed since the last call of this or of `take_failed`.
    pub fn requests_all_answered(&self) -> anyhow::Result<u64> {
        let (requests, failed) = (self.requests(), self.take_failed());
        if let Some(first) = failed.first() {
            anyhow::bail!("{} of {requests} requests failed, first {first}", failed.len());
        }
        Ok(requests)
    }

    /// Returns the carts that were promised, with whom they belong to.
    pub fn owners(&self) -> BTreeMap<i64, Arc<str>> {
        self.lock().added.clone()
    }

    /// Returns how many carts were promised.
    pub fn carts_promised(&self) -> usize {
        self.lock().added.len()
    }

    /// Waits until the check passes, and returns how long that took.
    ///
    /// # Panics
    /// With the first violation, if the check does not pass in time.
    pub async fn audit(&self, web: &ShopClient) -> Duration {
        let started = Instant::now();
        loop {
            match self.check(web).await {
                Ok(()) => return started.elapsed(),
                Err(why) => {
                    assert!(
                        started.elapsed() < SETTLE_TIMEOUT,
                        "not settled in {SETTLE_TIMEOUT:?}: {why}"
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Ledger {
    /// Checks everything once. The error is the first violation.
    pub async fn check(&self, web: &ShopClient) -> Result<(), String> {
        self.check_since(web, &Checkpoint::default()).await.map(|_| ())
    }

    /// Checks once what came after `before`. Returns how far everything is in order, or the first violation.
    pub async fn check_since(
        &self,
        web: &ShopClient,
        before: &Checkpoint,
    ) -> Result<Checkpoint, String> {
        let promises = self.lock().since(before.cart);
        promises.check(web, before).await
    }
}
