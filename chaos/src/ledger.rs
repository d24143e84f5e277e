//! What the shop promised, and the guarantees checked from outside over HTTP.

use crate::Web;
use reqwest::StatusCode;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a shop may take to settle.
const SETTLES: Duration = Duration::from_secs(10);

/// What the shop promised to customers: its answers.
#[derive(Default)]
pub struct Ledger(Mutex<Promises>);

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
        let (status, body) = web.add(gifticon_id, quantity, key).await.ok()?;
        match status {
            StatusCode::CREATED => {}
            // An honest no, or a try that left nothing.
            StatusCode::CONFLICT
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::BAD_GATEWAY
            | StatusCode::GATEWAY_TIMEOUT => return None,
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
        let answer = web.cancel(id).await;
        let mut promises = self.edit();
        match answer {
            Ok((StatusCode::NO_CONTENT, _)) if !promises.cancelled.insert(id) => {
                promises.broken.push(format!("cart {id} was cancelled twice"));
            }
            Ok((StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, _)) => {}
            // Whether it was done is unknown: no answer, or none that the gateway got.
            Err(_)
            | Ok((
                StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::BAD_GATEWAY
                | StatusCode::GATEWAY_TIMEOUT,
                _,
            )) => {
                promises.maybe_cancelled.insert(id);
            }
            Ok((other, body)) => {
                promises.broken.push(format!("DELETE of cart {id} answered {other}: {body}"));
            }
        }
    }

    /// Asks again under every key that was used since the last time: those that were answered must be
    /// answered the same (G7).
    pub async fn ask_again(&self, web: &Web) {
        let keys = self.edit().keys.clone();
        for (key, (gifticon_id, quantity, _)) in keys {
            self.add(web, gifticon_id, quantity, Some(&key)).await;
        }
        self.edit().keys.clear();
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
    /// Looks once whether all agrees, and says what does not.
    pub async fn check(&self, web: &Web) -> Result<(), String> {
        let promises = self.edit().clone();
        promises.check(web).await
    }
}

impl Promises {
    async fn check(&self, web: &Web) -> Result<(), String> {
        if let Some(broken) = self.broken.first() {
            return Err(broken.clone());
        }
        let carts = by(web.all("carts").await?, "id")?;
        let payments = by(web.all("payments").await?, "cartId")?;
        let views = by(web.all("mypages").await?, "cartId")?;
        let gifticons = by(web.all("gifticons").await?, "gifticonId")?;

        for (id, put) in &self.put {
            let gifticon = gifticons.get(id).ok_or(format!("gifticon {id} is gone"))?;
            let available = number(gifticon, "availableQuantity")?;
            let of = |cart: &&Value| cart["gifticonId"].as_i64() == Some(*id);
            let held: i64 =
                carts.values().filter(of).filter_map(|cart| cart["quantity"].as_i64()).sum();
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
        Ok(())
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
