//! The guarantees, checked from outside over HTTP and from inside by SQL.

use super::Web;
use chassis::testing::eventually;
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
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
        self.0.lock().unwrap()
    }

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

    /// Waits until all agrees, and panics with what does not when it never does. Answers how long
    /// that took.
    pub async fn audit(&self, web: &Web) -> Duration {
        let started = Instant::now();
        let promises = self.edit().clone();
        loop {
            match promises.check(web).await {
                Ok(()) => return started.elapsed(),
                Err(why) => {
                    assert!(started.elapsed() < SETTLES, "not settled in {SETTLES:?}: {why}");
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
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

/// What the databases of a shop without customers come to look like inside: nothing half done, nothing
/// in disagreement with what is shown, and the topic in order.
pub async fn inside(dir: &Path) {
    for (file, query, what) in [
        ("cart", "select count(*) from outbox", "events in the outbox of cart"),
        ("payment", "select count(*) from outbox", "events in the outbox of payment"),
        ("gifticon", "select count(*) from outbox", "events in the outbox of gifticon"),
        ("cart", "select count(*) from intents", "intents"),
        ("cart", "select count(*) from idempotency_keys where outcome = 'Pending'", "pending keys"),
        ("payment", "select count(*) from payments where id is null", "undecided payments"),
        ("cart", "select count(*) from parked", "events parked by cart"),
        ("payment", "select count(*) from parked", "events parked by payment"),
        ("gifticon", "select count(*) from parked", "events parked by gifticon"),
        ("mypage", "select count(*) from parked", "events parked by mypage"),
        (
            "gifticon",
            "select count(*) from gifticons g where held <> (select coalesce(sum(quantity), 0) \
             from reservations r where r.gifticon_id = g.gifticon_id and r.status = 'Held')",
            "gifticons that hold other than their reservations",
        ),
        (
            "cart",
            "select count(*) from counters where name = 'carts' and live <> \
             (select count(*) from carts where status <> 'CartRemoved')",
            "wrong counters of carts",
        ),
    ] {
        let file = dir.join(file).with_extension("db");
        eventually(&format!("no {what}"), async || (scalar(&file, query).await == 0).then_some(()))
            .await;
    }
    // The first copy of each event of a key is in the order in which it happened.
    let disorder = "select count(*) from \
        (select min(seq) as seq, key, json_extract(payload, '$.eventType') as type, \
                json_extract(payload, '$.cartId') as of, json_extract(payload, '$.id') as id \
         from messages group by json_extract(payload, '$.eventId')) removed \
        join (select min(seq) as seq, json_extract(payload, '$.id') as id from messages \
              where json_extract(payload, '$.eventType') = 'CartAdded' group by 2) added \
        on removed.type = 'CartRemoved' and removed.id = added.id and removed.seq < added.seq";
    let log = dir.join("events.db");
    if log.exists() {
        assert_eq!(scalar(&log, disorder).await, 0, "carts removed before they were added");
    }
}

/// How many messages of the embedded log are copies of an earlier one.
pub async fn copies(dir: &Path) -> i64 {
    let copies =
        "select count(*) - count(distinct json_extract(payload, '$.eventId')) from messages";
    scalar(&dir.join("events.db"), copies).await
}

async fn scalar(file: &Path, query: &str) -> i64 {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", file.display());
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut connection).await;
    row.unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
}
