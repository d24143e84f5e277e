//! The gifticon service in process.
#![allow(
    unreachable_pub,
    dead_code,
    clippy::allow_attributes,
    reason = "it is a part of each test"
)]

use chassis::Running;
use chassis::testing::{TestDb, TestLog};
use gifticon::GifticonConfig;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub struct Gifticon {
    pub client: Client,
    pub running: Running,
    pub log: TestLog,
    pub db: TestDb,
}

impl Gifticon {
    pub async fn start() -> Self {
        let (log, db) = (TestLog::open().await, TestDb::sqlite());
        let config = GifticonConfig { host: db.host() };
        let running = gifticon::start(config, Arc::new(log.log.clone())).await.unwrap();
        Self { client: Client::builder().no_proxy().build().unwrap(), running, log, db }
    }

    /// With one gifticon, of 10 units.
    pub async fn with_ten() -> Self {
        let gifticon = Self::start().await;
        let body = json!({"gifticonId": "7", "name": " Americano ", "availableQuantity": "10", "price": "5000"});
        let (status, body) = gifticon.ask(Method::POST, "/gifticons", body).await;
        assert_eq!((status, &body["id"], &body["name"]), (201, &json!(1), &json!("Americano")));
        gifticon
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        etag: Option<&str>,
        body: Value,
    ) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.running.url()));
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    pub async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let answer = self.send(method, path, None, body).await;
        (
            answer.status().as_u16(),
            serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default(),
        )
    }

    pub async fn available(&self) -> i64 {
        let (_, body) = self.ask(Method::GET, "/gifticons/1", Value::Null).await;
        body["availableQuantity"].as_i64().unwrap()
    }

    pub async fn reserve(&self, id: Uuid, quantity: i64) -> (u16, Value) {
        let body = json!({ "gifticonId": 7, "quantity": quantity });
        self.ask(Method::PUT, &format!("/reservations/{id}"), body).await
    }
}
