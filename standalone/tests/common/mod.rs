//! A shop to test, a customer to test it with, and the audit of its guarantees.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses a part of this"
)]

pub mod audit;
pub mod process;

use chassis::Running;
use chassis::bus::EmbeddedLog;
use chassis::config::Topic;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use standalone::{Listeners, StandaloneConfig};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The settings of a shop in `dir`, on free ports.
pub fn config(dir: &Path, kafka_brokers: Option<String>) -> StandaloneConfig {
    StandaloneConfig {
        data_dir: dir.to_owned(),
        kafka_brokers,
        topic: Topic { kafka_topic: "gifticon".into() },
        listeners: Listeners::free(),
        // The tests' machines are small and busy: what is late here must be late indeed.
        budget: cart::Budget { gifticon_timeout_ms: 5_000 },
        limit: payment::Limit { payment_limit: None },
        cors: gateway::Cors { cors_origins: vec![] },
    }
}

/// A shop in this process.
pub struct Shop {
    pub web: Web,
    pub direct: Direct,
    parts: Vec<Running>,
    pub log: Option<EmbeddedLog>,
    pub dir: TempDir,
}

/// The services without the gateway.
#[derive(Clone)]
pub struct Direct {
    pub gifticon: Web,
    pub cart: Web,
    pub payment: Web,
    pub mypage: Web,
}

impl Shop {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings that `change` changes.
    pub async fn with(change: impl FnOnce(&mut StandaloneConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path(), None);
        change(&mut config);
        let shop = standalone::start(config).await.unwrap();
        let web = Web::new(shop.gateway.url());
        let direct = Direct {
            gifticon: Web::new(shop.gifticon.url()),
            cart: Web::new(shop.cart.url()),
            payment: Web::new(shop.payment.url()),
            mypage: Web::new(shop.mypage.url()),
        };
        let (parts, log) = shop.into_parts();
        Self { web, direct, parts, log, dir }
    }

    /// Drains it, and leaves its files for a look inside.
    pub async fn stop(self) -> TempDir {
        for part in self.parts {
            part.stop(Duration::from_secs(10)).await;
        }
        if let Some(log) = self.log {
            log.close().await;
        }
        self.dir
    }
}

/// A customer's or MD's way to the shop.
#[derive(Clone)]
pub struct Web {
    pub client: Client,
    pub base: String,
}

/// Status and body of an answer; `Err` where there was none.
pub type Answer = Result<(StatusCode, Value), reqwest::Error>;

impl Web {
    pub fn new(base: String) -> Self {
        let client = Client::builder().timeout(Duration::from_secs(20)).no_proxy().build().unwrap();
        Self { client, base }
    }

    /// Sends a request with a JSON body, if any.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// What is at `path`, which must be there.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None).await.unwrap();
        assert_eq!(status, StatusCode::OK, "GET {path}: {body}");
        body
    }

    /// Puts a gifticon on sale.
    pub async fn register(&self, gifticon_id: i64, quantity: i64, price: i64) {
        let body = json!({
            "gifticonId": gifticon_id.to_string(), "name": "Americano",
            "availableQuantity": quantity.to_string(), "price": price.to_string(),
        });
        let (status, body) = self.ask(Method::POST, "/gifticons", Some(body)).await.unwrap();
        assert_eq!(status, StatusCode::CREATED, "{body}");
    }

    /// Adds a cart, with an `Idempotency-Key` if one is given.
    pub async fn add(&self, gifticon_id: i64, quantity: i64, key: Option<&str>) -> Answer {
        let body = json!({ "gifticonId": gifticon_id, "quantity": quantity });
        let mut request = self.client.post(format!("{}/carts", self.base)).json(&body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// Cancels a cart.
    pub async fn cancel(&self, id: i64) -> Answer {
        self.ask(Method::DELETE, &format!("/carts/{id}"), None).await
    }

    /// All items of a collection, page by page.
    pub async fn all(&self, collection: &str) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        let mut next = Some(format!("{}/{collection}?size=1000", self.base));
        while let Some(url) = next {
            let response = self.client.get(&url).send().await.map_err(|error| error.to_string())?;
            let page: Value = response.json().await.map_err(|error| error.to_string())?;
            let items = page["_embedded"][collection]
                .as_array()
                .ok_or(format!("no page at {url}: {page}"))?;
            all.extend(items.iter().cloned());
            next = page["_links"]["next"]["href"].as_str().map(Into::into);
        }
        Ok(all)
    }
}

/// Numbers that look random and come again with the same seed.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }
}

/// The seed of this run: `TEST_SEED`, or a new one. Printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = setting("TEST_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("TEST_SEED={seed}");
    seed
}

/// A number that the gate sets.
pub fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the gate asks for more than a plain run")]
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}
