//! The mypage service in process.

use chassis::Running;
use chassis::base::config::{ClientStreams, StreamsLimit};
use chassis::bus::{Bus, Message};
use chassis::testing::{TestDb, TestLog, eventually};
use mypage::MypageConfig;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub(crate) struct Mypage {
    pub(crate) client: Client,
    pub(crate) running: Running,
    pub(crate) log: TestLog,
    pub(crate) db: TestDb,
}

impl Mypage {
    pub(crate) async fn start() -> Self {
        Self::start_on(TestDb::sqlite()).await
    }

    pub(crate) async fn start_on(db: TestDb) -> Self {
        Self::start_with(db, StreamsLimit::default()).await
    }

    pub(crate) async fn start_with(db: TestDb, streams: StreamsLimit) -> Self {
        Self::start_limited(db, streams, ClientStreams::default()).await
    }

    pub(crate) async fn start_limited(
        db: TestDb,
        streams: StreamsLimit,
        client_streams: ClientStreams,
    ) -> Self {
        let log = TestLog::open().await;
        let running = serve(&db, &log, streams, client_streams).await;
        Self { client: Client::builder().no_proxy().build().unwrap(), running, log, db }
    }

    /// As after a restart of the process.
    pub(crate) async fn restart(mut self) -> Self {
        self.running.stop(Duration::from_secs(5)).await;
        self.running =
            serve(&self.db, &self.log, StreamsLimit::default(), ClientStreams::default()).await;
        self
    }

    pub(crate) async fn hear_text(&self, key: i64, payload: String) {
        let publisher = self.log.log.publisher().await.unwrap();
        publisher.publish(&[message(key, payload)]).await.remove(0).unwrap();
    }

    pub(crate) async fn hear(&self, key: i64, event: &Value) {
        self.hear_text(key, event.to_string()).await;
    }

    pub(crate) async fn ask(&self, method: Method, path: &str) -> (u16, Value) {
        let managed = path.starts_with("/admin").then(|| self.running.management_url());
        let base = managed.flatten().unwrap_or_else(|| self.running.url());
        let answer = self.client.request(method, format!("{base}{path}")).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path).await
    }

    /// Waits until the page of a cart has the status `wanted`, and answers it.
    pub(crate) async fn becomes(&self, cart: i64, wanted: &str) -> Value {
        eventually(&format!("cart {cart} to be {wanted}"), async || {
            let (_, page) = self.get(&format!("/mypages/search/findByCartId?cartId={cart}")).await;
            (page["status"] == wanted).then_some(page)
        })
        .await
    }

    /// The steps of a page as `eventType at`.
    pub(crate) async fn history(&self, page: &Value) -> Vec<String> {
        let (status, steps) = self.get(&format!("/mypages/{}/history", page["id"])).await;
        assert_eq!(status, 200, "{steps}");
        let step = |step: &Value| {
            format!("{} {}", step["eventType"].as_str().unwrap(), step["at"].as_str().unwrap())
        };
        steps.as_array().unwrap().iter().map(step).collect()
    }

    pub(crate) async fn parked(&self) -> Vec<Value> {
        let (status, parked) = self.get("/admin/parked").await;
        assert_eq!(status, 200, "{parked}");
        parked.as_array().unwrap().clone()
    }

    pub(crate) async fn has_parked(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} parked events"), async || {
            let parked = self.parked().await;
            (parked.len() == count).then_some(parked)
        })
        .await
    }
}

async fn serve(
    db: &TestDb,
    log: &TestLog,
    streams: StreamsLimit,
    client_streams: ClientStreams,
) -> Running {
    let config = MypageConfig { host: db.host(), streams, client_streams };
    mypage::start(config, Arc::new(log.log.clone())).await.unwrap()
}

/// Returns a message of the topic.
pub(crate) fn message(key: i64, payload: String) -> Message {
    Message { key: key.to_string(), payload, headers: vec![] }
}

/// An event of a cart, that happened at a second of one minute.
pub(crate) fn event(event_type: &str, cart: i64, second: u8) -> Value {
    let mut event = json!({
        "eventType": event_type, "timestamp": "20261124000000", "eventId": Uuid::new_v4(),
        "occurredAt": at(second), "status": event_type,
    });
    let fields = match event_type {
        "CartAdded" => json!({
            "id": cart, "gifticonId": 7, "quantity": 2, "reservationId": Uuid::new_v4(),
            "name": "아메리카노", "price": 5000, "amount": 10_000,
        }),
        "CartRemoved" => json!({ "id": cart, "gifticonId": 7, "quantity": 2 }),
        _ => json!({ "id": cart + 100, "cartId": cart, "amount": 10_000 }),
    };
    event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    event
}

pub(crate) fn at(second: u8) -> String {
    format!("2026-11-24T00:00:{second:02}.000Z")
}
