//! A customer's or MD's way to the shop.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Status and body of an answer; `Err` where there was none.
pub type Answer = Result<(StatusCode, Value), reqwest::Error>;

/// A way to the shop, or to one service.
#[derive(Clone, Debug)]
pub struct Web {
    pub client: Client,
    pub base: String,
}

impl Web {
    /// The way to `base`.
    ///
    /// # Panics
    /// Where no client can be made.
    pub fn new(base: String) -> Self {
        let client = Client::builder().timeout(Duration::from_secs(20)).no_proxy().build();
        Self { client: client.expect("a client can be made"), base }
    }

    /// Sends a request with a JSON body, if any.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    /// What is at `path`.
    ///
    /// # Panics
    /// Where nothing is.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None).await.expect("it answers");
        assert_eq!(status, StatusCode::OK, "GET {path}: {body}");
        body
    }

    /// Whether the process says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = self.ask(Method::GET, "/actuator/health/readiness", None).await;
        answer.is_ok_and(|(status, _)| status == StatusCode::OK)
    }

    /// Whether the process is ready and its database answers.
    pub async fn is_healthy(&self) -> bool {
        let answer = self.ask(Method::GET, "/actuator/health", None).await;
        answer.is_ok_and(|(status, _)| status == StatusCode::OK)
    }

    /// Puts a gifticon on sale, and says whether it is.
    pub async fn try_register(&self, gifticon_id: i64, quantity: i64, price: i64) -> bool {
        let body = json!({
            "gifticonId": gifticon_id.to_string(), "name": "Americano",
            "availableQuantity": quantity.to_string(), "price": price.to_string(),
        });
        let answer = self.ask(Method::POST, "/gifticons", Some(body)).await;
        // It is there already where an answer before this one was lost.
        answer.is_ok_and(|(status, _)| {
            status == StatusCode::CREATED || status == StatusCode::CONFLICT
        })
    }

    /// Puts a gifticon on sale.
    ///
    /// # Panics
    /// Where that is refused.
    pub async fn register(&self, gifticon_id: i64, quantity: i64, price: i64) {
        assert!(self.try_register(gifticon_id, quantity, price).await, "it was refused");
    }

    /// Adds a cart, with an `Idempotency-Key` if one is given.
    pub async fn add(&self, gifticon_id: i64, quantity: i64, key: Option<&str>) -> Answer {
        let body = json!({ "gifticonId": gifticon_id, "quantity": quantity });
        let mut request = self.client.post(format!("{}/carts", self.base)).json(&body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        answer(request).await
    }

    /// Cancels a cart.
    pub async fn cancel(&self, id: i64) -> Answer {
        self.ask(Method::DELETE, &format!("/carts/{id}"), None).await
    }

    /// All items of a collection, page by page.
    pub async fn all(&self, collection: &str) -> Result<Vec<Value>, String> {
        self.all_after(collection, 0).await
    }

    /// The items of a collection after the one whose id is `after`, page by page.
    pub async fn all_after(&self, collection: &str, after: i64) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        let mut next = Some(format!("{}/{collection}?size=1000&after={after}", self.base));
        while let Some(url) = next {
            let response = self.client.get(&url).send().await.map_err(|error| error.to_string())?;
            let page: Value = response.json().await.map_err(|error| error.to_string())?;
            let items = page["_embedded"][collection].as_array();
            all.extend(items.ok_or(format!("no page at {url}: {page}"))?.iter().cloned());
            next = page["_links"]["next"]["href"].as_str().map(Into::into);
        }
        Ok(all)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await?;
    let status = response.status();
    let text = response.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}
