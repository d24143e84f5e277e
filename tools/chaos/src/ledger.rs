//! The record of what the shop answered, and the check of the guarantees over HTTP.

use crate::ShopClient;
use crate::client::Answer;
use futures_util::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
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

/// How far a check found everything in order. Customers do not touch earlier carts again.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The highest ids.
    cart: i64,
    payment: i64,
    view: i64,
    /// Units that live carts up to these ids hold, by gifticon.
    held: BTreeMap<i64, i64>,
}

#[derive(Clone, Default)]
struct Promises {
    /// Units that were registered, by gifticon.
    registered: BTreeMap<i64, i64>,
    /// Carts that were answered 201.
    added: BTreeSet<i64>,
    /// Carts that were cancelled with 204.
    cancelled: BTreeSet<i64>,
    /// Carts whose cancel was not answered.
    maybe_cancelled: BTreeSet<i64>,
    /// Gifticon and quantity of each idempotency key, and the cart that it was answered with, if it was.
    keys: BTreeMap<String, (i64, i64, Option<i64>)>,
    /// Violations that no later state can repair.
    broken: Vec<String>,
    /// All requests.
    requests: u64,
    /// Requests that were not answered, or with 502, 503 or 504.
    failed: Vec<String>,
}

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
            let unanswered = (gifticon_id, quantity, None);
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
            let earlier = promises.keys.get_mut(key).and_then(|(_, _, cart)| cart.replace(id));
            if earlier.is_some_and(|earlier| earlier != id) {
                promises.broken.push(format!("key {key} returned cart {earlier:?} and cart {id}"));
            }
        } else if !promises.added.insert(id) {
            promises.broken.push(format!("two requests were answered with cart {id}"));
        }
        promises.added.insert(id);
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
        let again = keys.iter().map(|(key, (gifticon_id, quantity, _))| {
            self.add(web, *gifticon_id, *quantity, Some(key))
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

impl Promises {
    /// Returns the promises about carts whose ids are above `cart`.
    fn since(&self, cart: i64) -> Self {
        let after = |ids: &BTreeSet<i64>| ids.range(cart + 1..).copied().collect();
        Self {
            registered: self.registered.clone(),
            added: after(&self.added),
            cancelled: after(&self.cancelled),
            maybe_cancelled: after(&self.maybe_cancelled),
            broken: self.broken.clone(),
            ..Self::default()
        }
    }

    async fn check(&self, web: &ShopClient, before: &Checkpoint) -> Result<Checkpoint, String> {
        if let Some(broken) = self.broken.first() {
            return Err(broken.clone());
        }
        let carts = by_unique(web.all_after("carts", before.cart).await?, "id")?;
        let payments = by_unique(web.all_after("payments", before.payment).await?, "cartId")?;
        let views = by_unique(web.all_after("mypages", before.view).await?, "cartId")?;
        let gifticons = by_unique(web.all_after("gifticons", 0).await?, "gifticonId")?;

        let mut held = before.held.clone();
        for cart in carts.values() {
            *held.entry(number(cart, "gifticonId")?).or_default() += number(cart, "quantity")?;
        }
        for (id, registered) in &self.registered {
            let gifticon = gifticons.get(id).ok_or(format!("gifticon {id} is gone"))?;
            let available = number(gifticon, "availableQuantity")?;
            let held = held.get(id).copied().unwrap_or_default();
            if available < 0 || available + held != *registered {
                return Err(format!(
                    "G1: gifticon {id}: {available} available, {held} in carts, {registered} registered"
                ));
            }
        }
        if let Some(id) = self
            .added
            .difference(&self.cancelled)
            .find(|id| !carts.contains_key(id) && !self.maybe_cancelled.contains(id))
        {
            return Err(format!("G2: cart {id} was answered with 201 and is not there"));
        }
        if let Some(id) = self.cancelled.iter().find(|id| carts.contains_key(id)) {
            return Err(format!("G2: cart {id} was cancelled with 204 and is still there"));
        }
        for id in carts.keys().chain(&self.added) {
            let live = carts.contains_key(id);
            let wanted = if live { "PaymentApproved" } else { "PaymentCanceled" };
            for (what, found) in [("payment", payments.get(id)), ("view", views.get(id))] {
                let status = found.and_then(|row| row["status"].as_str());
                if status != Some(wanted) {
                    return Err(format!("G2: the {what} of cart {id} is {status:?}, not {wanted}"));
                }
            }
        }
        let of_payments: BTreeSet<_> = payments.keys().collect();
        let of_views: BTreeSet<_> = views.keys().collect();
        if of_payments != of_views {
            let differ: Vec<_> = of_payments.symmetric_difference(&of_views).take(3).collect();
            return Err(format!("G6: payments and views are of different carts: {differ:?}"));
        }
        let last = |rows: &BTreeMap<i64, Value>, before: i64| {
            rows.values().filter_map(|row| row["id"].as_i64()).fold(before, i64::max)
        };
        Ok(Checkpoint {
            // Only the payment shows that there was a cart which is cancelled.
            cart: payments.keys().copied().fold(last(&carts, before.cart), i64::max),
            payment: last(&payments, before.payment),
            view: last(&views, before.view),
            held,
        })
    }
}

/// Returns rows by a field. Fails if two rows have the same value (G3).
fn by_unique(rows: Vec<Value>, field: &str) -> Result<BTreeMap<i64, Value>, String> {
    let mut map = BTreeMap::new();
    for row in rows {
        let key = number(&row, field)?;
        if let Some(other) = map.insert(key, row.clone()) {
            return Err(format!("G3: two rows of {field} {key}: {other} and {row}"));
        }
    }
    Ok(map)
}

fn number(row: &Value, field: &str) -> Result<i64, String> {
    row[field].as_i64().ok_or(format!("no {field} in {row}"))
}
