//! The cart service in process, with a gifticon that does what the test says.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test uses a part")]

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::put;
use axum::{Json, Router};
use cart::{CallTimeout, CartConfig};
use chassis::bus::{Bus, Message};
use chassis::testing::{TestDb, TestLog, eventually, peer};
use chassis::{Running, http};
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection, Row};
use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// What the stand-in does when it is asked to reserve.
#[derive(Clone, Copy, PartialEq)]
pub enum Does {
    Reserves,
    Answers(u16),
    SellsOut,
    /// Takes the stock and never says so.
    Hangs,
    /// Takes the stock, and the connection breaks before there is an answer; the next is a yes, or a no.
    BreaksOnce {
        then_sells_out: bool,
    },
    /// Takes the stock and never says so. The next is a yes, or a no.
    HangsOnce {
        then_sells_out: bool,
    },
    /// Takes the stock and says so when the test lets it.
    Waits,
    /// Answers neither reservations nor releases.
    StandsStill,
}

#[derive(Clone)]
pub struct Gifticon(pub Arc<Mutex<Seen>>, pub Arc<Notify>);

pub struct Seen {
    pub does: Does,
    pub reserved: Vec<String>,
    /// For whom each of them was.
    pub owners: Vec<Value>,
    pub released: BTreeSet<String>,
}

impl Gifticon {
    pub fn new() -> Self {
        let (does, released) = (Does::Reserves, BTreeSet::new());
        let seen = Seen { does, reserved: Vec::new(), owners: Vec::new(), released };
        Self(Arc::new(Mutex::new(seen)), Arc::default())
    }

    pub fn does(&self, does: Does) {
        self.0.lock().unwrap().does = does;
    }

    pub fn asked(&self) -> usize {
        self.0.lock().unwrap().reserved.len()
    }

    /// Reservations that were asked for and not released.
    pub fn holds(&self) -> usize {
        let seen = self.0.lock().unwrap();
        let reserved: BTreeSet<&String> = seen.reserved.iter().collect();
        reserved.into_iter().filter(|id| !seen.released.contains(*id)).count()
    }
}

pub async fn reserve(
    State(gifticon): State<Gifticon>,
    http::Uuid(id): http::Uuid,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let does = {
        let mut seen = gifticon.0.lock().unwrap();
        seen.reserved.push(id.to_string());
        seen.owners.push(body["owner"].clone());
        seen.does
    };
    if let Does::BreaksOnce { then_sells_out } = does {
        gifticon.does(if then_sells_out { Does::SellsOut } else { Does::Reserves });
        panic!("the connection breaks with its task");
    }
    if let Does::HangsOnce { then_sells_out } = does {
        gifticon.does(if then_sells_out { Does::SellsOut } else { Does::Reserves });
        return pending().await;
    }
    if does == Does::Waits {
        gifticon.1.notified().await;
    }
    match does {
        Does::Reserves | Does::Waits | Does::BreaksOnce { .. } | Does::HangsOnce { .. } => {
            (StatusCode::CREATED, Json(json!({ "name": "Americano", "price": 5000 })))
        }
        Does::SellsOut => (StatusCode::CONFLICT, Json(json!({ "availableQuantity": 3 }))),
        Does::Answers(status) => (StatusCode::from_u16(status).unwrap(), Json(Value::Null)),
        Does::Hangs | Does::StandsStill => pending().await,
    }
}

pub async fn release(State(gifticon): State<Gifticon>, http::Uuid(id): http::Uuid) -> StatusCode {
    if gifticon.0.lock().unwrap().does == Does::StandsStill {
        return pending().await;
    }
    gifticon.0.lock().unwrap().released.insert(id.to_string());
    StatusCode::NO_CONTENT
}

pub struct Cart {
    pub client: Client,
    pub url: String,
    pub gifticon: Gifticon,
    gifticon_url: String,
    pub log: TestLog,
    pub db: TestDb,
    running: Running,
}

impl Cart {
    pub async fn start() -> Self {
        Self::with_timeout(250).await
    }

    pub async fn with_timeout(timeout_ms: u64) -> Self {
        let (gifticon, log, db) = (Gifticon::new(), TestLog::open().await, TestDb::sqlite());
        let routes = Router::new().route("/reservations/{id}", put(reserve).delete(release));
        let gifticon_url = peer(routes.with_state(gifticon.clone()));
        let running = serve(&db, &log, &gifticon_url, timeout_ms).await;
        let client = Client::builder().no_proxy().build().unwrap();
        Self { client, url: running.url(), gifticon, gifticon_url, log, db, running }
    }

    /// As after a restart of the process.
    pub async fn restart(self) -> Self {
        self.restart_with_timeout(250).await
    }

    pub async fn restart_with_timeout(mut self, timeout_ms: u64) -> Self {
        self.running.stop(Duration::from_secs(5)).await;
        self.running = serve(&self.db, &self.log, &self.gifticon_url, timeout_ms).await;
        self.url = self.running.url();
        self
    }

    pub fn post(&self, quantity: i64, key: Option<&str>) -> reqwest::RequestBuilder {
        let body = json!({ "gifticonId": "1", "quantity": quantity });
        let request = self.client.post(format!("{}/carts", self.url)).json(&body);
        match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        }
    }

    pub async fn add(&self, quantity: i64, key: Option<&str>) -> (u16, Value) {
        let answer = self.post(quantity, key).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub async fn delete(&self, id: i64) -> u16 {
        let url = format!("{}/carts/{id}", self.url);
        self.client.delete(url).send().await.unwrap().status().as_u16()
    }

    pub async fn live(&self) -> usize {
        let page = self.client.get(format!("{}/carts", self.url)).send().await.unwrap();
        page.json::<Value>().await.unwrap()["page"]["totalElements"]
            .as_u64()
            .unwrap()
            .try_into()
            .unwrap()
    }

    pub async fn told(&self, event_type: &str) -> Vec<Value> {
        let told = self.log.told().await;
        told.into_iter().filter(|event| event["eventType"] == event_type).collect()
    }

    /// Has an event of payment come.
    pub async fn hear(&self, event_type: &str, cart: i64) {
        let payload = json!({
            "eventType": event_type, "timestamp": "20261124000000", "eventId": uuid::Uuid::new_v4(),
            "id": 1, "cartId": cart, "amount": 5000, "status": event_type,
        });
        let message =
            Message { key: cart.to_string(), payload: payload.to_string(), headers: vec![] };
        let publisher = self.log.log.publisher().await.unwrap();
        publisher.publish(&[message]).await.remove(0).unwrap();
    }

    pub async fn has_status(&self, id: i64, wanted: &str) {
        eventually(&format!("cart {id} to be {wanted}"), async || {
            let url = format!("{}/carts/{id}", self.url);
            let cart: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
            (cart["status"] == wanted).then_some(())
        })
        .await;
    }

    /// Waits until no attempt and no block is left and all events are published, and checks that no event was parked.
    pub async fn ends(&self) {
        let mut connection = AnyConnection::connect(self.db.url.as_str()).await.unwrap();
        let left = "select (select count(*) from intents) + (select count(*) from attempt_blocks) \
                    + (select count(*) from outbox), (select count(*) from parked)";
        let parked: i64 = eventually("the last attempt to end, and an empty outbox", async || {
            let left = sqlx::query(left).fetch_one(&mut connection).await.unwrap();
            (left.get::<i64, _>(0) == 0).then(|| left.get(1))
        })
        .await;
        assert_eq!(parked, 0, "an event was parked");
    }

    /// Waits until gifticon holds `wanted` reservations and no attempt is left.
    pub async fn settles(&self, wanted: usize) {
        self.ends().await;
        eventually(&format!("{wanted} reservations"), async || {
            (self.gifticon.holds() == wanted).then_some(())
        })
        .await;
        self.ends().await;
    }
}

async fn serve(db: &TestDb, log: &TestLog, gifticon_url: &str, timeout_ms: u64) -> Running {
    let config = CartConfig {
        host: db.host(),
        timeout: CallTimeout { gifticon_timeout_ms: timeout_ms },
        gifticon_url: gifticon_url.into(),
    };
    cart::start(config, Arc::new(log.log.clone())).await.unwrap()
}
