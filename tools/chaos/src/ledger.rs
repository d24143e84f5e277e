//! What the shop promised, and the guarantees checked from outside over HTTP.

use crate::Web;
use crate::web::Answer;
use futures_util::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a shop may take to settle.
const SETTLES: Duration = Duration::from_secs(10);
/// Questions at once.
const AT_ONCE: usize = 32;
/// A fault of ours is never an honest answer.
const INTERNAL: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

/// What the shop promised to customers: its answers.
#[derive(Default)]
pub struct Ledger(Mutex<Promises>);

/// How far an audit found all in order: nobody touches what is before it again.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// The last of each.
    cart: i64,
    payment: i64,
    view: i64,
    /// Units that live carts up to there hold, by gifticon.
    held: BTreeMap<i64, i64>,
}

#[derive(Clone, Default)]
struct Promises {
    /// Units that were put on sale, by gifticon.
    put: BTreeMap<i64, i64>,
    /// Carts that were answered 201.
    added: BTreeSet<i64>,
    /// Carts that were cancelled with 204.
    cancelled: BTreeSet<i64>,
    /// Carts whose cancel brought no answer.
    maybe_cancelled: BTreeSet<i64>,
    /// Keys with the cart that they were answered with, or none where no answer came.
    keys: BTreeMap<String, (i64, i64, Option<i64>)>,
    /// What cannot be so whatever comes later.
    broken: Vec<String>,
    /// Requests, whatever came of them.
    requests: u64,
    /// Requests that brought no answer, or one that says that the shop cannot now.
    failed: Vec<String>,
}

impl Ledger {
    fn edit(&self) -> std::sync::MutexGuard<'_, Promises> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that units were put on sale.
    pub fn put(&self, gifticon_id: i64, units: i64) {
        *self.edit().put.entry(gifticon_id).or_default() += units;
    }

    /// Adds a cart and notes what was answered. Answers its id, if one came to be for sure.
    pub async fn add(
        &self,
        web: &Web,
        gifticon_id: i64,
        quantity: i64,
        key: Option<&str>,
    ) -> Option<i64> {
        if let Some(key) = key {
            let none = (gifticon_id, quantity, None);
            self.edit().keys.entry(key.to_owned()).or_insert(none);
        }
        let (status, body) =
            self.answered("POST /carts", web.add(gifticon_id, quantity, key)).await?;
        match status {
            StatusCode::CREATED => {}
            StatusCode::CONFLICT => return None, // an honest no
            other => {
                self.edit().broken.push(format!("POST /carts answered {other}: {body}"));
                return None;
            }
        }
        let id = body["id"].as_i64()?;
        let mut promises = self.edit();
        if let Some(key) = key {
            let of = promises.keys.get_mut(key).and_then(|(_, _, cart)| cart.replace(id));
            if of.is_some_and(|of| of != id) {
                promises.broken.push(format!("key {key} gave cart {of:?} and cart {id}"));
            }
        } else if !promises.added.insert(id) {
            promises.broken.push(format!("cart {id} was given twice"));
        }
        promises.added.insert(id);
        Some(id)
    }

    /// Cancels a cart and notes what was answered.
    pub async fn cancel(&self, web: &Web, id: i64) {
        let answer = self.answered(&format!("DELETE of cart {id}"), web.cancel(id)).await;
        let mut promises = self.edit();
        match answer {
            None => {
                promises.maybe_cancelled.insert(id); // whether it was done is unknown
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

    /// Looks at a cart that was promised to this customer, and not cancelled.
    pub async fn look(&self, web: &Web, id: i64) {
        let path = format!("/carts/{id}");
        let answer = self.answered(&path, web.ask(Method::GET, &path, None)).await;
        if let Some((status, body)) = answer.filter(|(status, _)| *status != StatusCode::OK) {
            let broken = format!("GET {path} answered {status} although cart {id} lives: {body}");
            self.edit().broken.push(broken);
        }
    }

    /// What was answered; none, and noted, where nothing came or the shop said that it cannot now.
    async fn answered(
        &self,
        request: &str,
        answer: impl Future<Output = Answer>,
    ) -> Option<(StatusCode, Value)> {
        let answer = answer.await;
        self.edit().requests += 1;
        let (told, answer) = match answer {
            Ok((status, body)) if status.is_server_error() && status != INTERNAL => {
                (format!("{status} {body}"), None)
            }
            Ok(answer) => return Some(answer),
            Err(error) => (format!("{error:?}"), None),
        };
        self.edit().failed.push(format!("{request}: {told}"));
        answer
    }

    /// Requests that failed since the last time this was asked: no answer, or 502, 503 and 504.
    pub fn failed(&self) -> Vec<String> {
        std::mem::take(&mut self.edit().failed)
    }

    /// Asks again under every key that was used since the last time: those that were answered must be
    /// answered the same (G7).
    pub async fn ask_again(&self, web: &Web) {
        let keys = self.edit().keys.clone();
        let again = keys.iter().map(|(key, (gifticon_id, quantity, _))| {
            self.add(web, *gifticon_id, *quantity, Some(key))
        });
        stream::iter(again).buffer_unordered(AT_ONCE).for_each(async |_| ()).await;
        self.edit().keys.clear();
    }

    /// Requests, whatever came of them.
    pub fn requests(&self) -> u64 {
        self.edit().requests
    }

    /// Requests, of which none may have failed since the last time that was asked.
    pub fn requests_all_answered(&self) -> anyhow::Result<u64> {
        let (requests, failed) = (self.requests(), self.failed());
        if let Some(first) = failed.first() {
            anyhow::bail!("{} of {requests} requests failed, first {first}", failed.len());
        }
        Ok(requests)
    }

    /// How many carts were promised.
    pub fn promised(&self) -> usize {
        self.edit().added.len()
    }

    /// Waits until all agrees, and answers how long that took.
    ///
    /// # Panics
    /// With what does not agree, when it never does.
    pub async fn audit(&self, web: &Web) -> Duration {
        let started = Instant::now();
        loop {
            match self.check(web).await {
                Ok(()) => return started.elapsed(),
                Err(why) => {
                    assert!(started.elapsed() < SETTLES, "not settled in {SETTLES:?}: {why}");
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Ledger {
    /// Looks once whether all agrees.
    pub async fn check(&self, web: &Web) -> Result<(), String> {
        self.check_since(web, &Settled::default()).await.map(|_| ())
    }

    /// Looks once whether all since `before` agrees, and says up to where it does, or what does not.
    pub async fn check_since(&self, web: &Web, before: &Settled) -> Result<Settled, String> {
        let promises = self.edit().since(before.cart);
        promises.check(web, before).await
    }
}

impl Promises {
    /// Those of carts after `cart`.
    fn since(&self, cart: i64) -> Self {
        let after = |ids: &BTreeSet<i64>| ids.range(cart + 1..).copied().collect();
        Self {
            put: self.put.clone(),
            added: after(&self.added),
            cancelled: after(&self.cancelled),
            maybe_cancelled: after(&self.maybe_cancelled),
            broken: self.broken.clone(),
            ..Self::default()
        }
    }

    async fn check(&self, web: &Web, before: &Settled) -> Result<Settled, String> {
        if let Some(broken) = self.broken.first() {
            return Err(broken.clone());
        }
        let carts = by(web.all_after("carts", before.cart).await?, "id")?;
        let payments = by(web.all_after("payments", before.payment).await?, "cartId")?;
        let views = by(web.all_after("mypages", before.view).await?, "cartId")?;
        let gifticons = by(web.all_after("gifticons", 0).await?, "gifticonId")?;

        let mut held = before.held.clone();
        for cart in carts.values() {
            *held.entry(number(cart, "gifticonId")?).or_default() += number(cart, "quantity")?;
        }
        for (id, put) in &self.put {
            let gifticon = gifticons.get(id).ok_or(format!("gifticon {id} is gone"))?;
            let available = number(gifticon, "availableQuantity")?;
            let held = held.get(id).copied().unwrap_or_default();
            if available < 0 || available + held != *put {
                return Err(format!(
                    "G1: gifticon {id}: {available} available, {held} held, {put} put"
                ));
            }
        }
        if let Some(id) = self
            .added
            .difference(&self.cancelled)
            .find(|id| !carts.contains_key(id) && !self.maybe_cancelled.contains(id))
        {
            return Err(format!("G2: cart {id} was promised and is gone"));
        }
        if let Some(id) = self.cancelled.iter().find(|id| carts.contains_key(id)) {
            return Err(format!("G2: cart {id} was cancelled and is live"));
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
        Ok(Settled {
            // A cart that was cancelled is seen by its payment only.
            cart: payments.keys().copied().fold(last(&carts, before.cart), i64::max),
            payment: last(&payments, before.payment),
            view: last(&views, before.view),
            held,
        })
    }
}

/// Rows by a field that no two may share (G3).
fn by(rows: Vec<Value>, field: &str) -> Result<BTreeMap<i64, Value>, String> {
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
