//! An HTTP client of the shop.

use crate::account::Identity;
use chassis::base::limits::CLIENT_KEEP_ALIVE;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Bound for a request with its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Status and body of an answer; `Err` if none came.
pub type Answer = Result<(StatusCode, Value), reqwest::Error>;

/// An HTTP client of the shop, or of one service. Clones share their connections.
#[derive(Clone, Debug)]
pub struct ShopClient {
    pub client: Client,
    pub base: String,
    /// Who makes its requests.
    pub identity: Identity,
}

impl ShopClient {
    /// Returns a client of the server at the URL `base`, for requests without a token.
    ///
    /// # Panics
    /// If no client can be created.
    pub fn new(base: String) -> Self {
        let client = Client::builder().timeout(REQUEST_TIMEOUT).no_proxy();
        let client = client.pool_idle_timeout(CLIENT_KEEP_ALIVE).build();
        let client = client.expect("a client can be created");
        Self { client, base, identity: Identity::default() }
    }

    /// Returns a client of the same server whose requests somebody makes.
    #[must_use]
    pub fn by(&self, identity: Identity) -> Self {
        Self { identity, ..self.clone() }
    }

    /// Returns a request to a URL.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.identity.sign(self.client.request(method, url))
    }

    /// Sends a request with a JSON body, if any.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, &format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    /// Returns the body of `GET path`.
    ///
    /// # Panics
    /// If the answer is not 200.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None).await.expect("an answer comes");
        assert_eq!(status, StatusCode::OK, "GET {path}: {body}");
        body
    }

    /// Returns whether the process reports that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = self.ask(Method::GET, "/actuator/health/readiness", None).await;
        answer.is_ok_and(|(status, _)| status == StatusCode::OK)
    }

    /// Returns whether the process is ready and its database answers.
    pub async fn is_healthy(&self) -> bool {
        let answer = self.ask(Method::GET, "/actuator/health", None).await;
        answer.is_ok_and(|(status, _)| status == StatusCode::OK)
    }

    /// Registers a gifticon, and returns whether it is registered.
    pub async fn try_register(&self, gifticon_id: i64, quantity: i64, price: i64) -> bool {
        let body = json!({
            "gifticonId": gifticon_id.to_string(), "name": "Americano",
            "availableQuantity": quantity.to_string(), "price": price.to_string(),
        });
        let answer = self.ask(Method::POST, "/gifticons", Some(body)).await;
        // 409: an earlier request registered it, and its answer was lost.
        answer.is_ok_and(|(status, _)| {
            status == StatusCode::CREATED || status == StatusCode::CONFLICT
        })
    }

    /// Registers a gifticon.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn register(&self, gifticon_id: i64, quantity: i64, price: i64) {
        assert!(
            self.try_register(gifticon_id, quantity, price).await,
            "gifticon {gifticon_id} was refused"
        );
    }

    /// Adds a cart, with an `Idempotency-Key` if one is given.
    pub async fn add(&self, gifticon_id: i64, quantity: i64, key: Option<&str>) -> Answer {
        let body = json!({ "gifticonId": gifticon_id, "quantity": quantity });
        let mut request = self.request(Method::POST, &format!("{}/carts", self.base)).json(&body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        answer(request).await
    }

    /// Cancels a cart.
    pub async fn cancel(&self, id: i64) -> Answer {
        self.ask(Method::DELETE, &format!("/carts/{id}"), None).await
    }

    /// Reads all items of a collection, page by page.
    pub async fn all(&self, collection: &str) -> Result<Vec<Value>, String> {
        self.all_after(collection, 0).await
    }

    /// Reads the items of a collection whose ids are above `after`, page by page.
    pub async fn all_after(&self, collection: &str, after: i64) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        let mut next = Some(format!("{}/{collection}?size=1000&after={after}", self.base));
        while let Some(url) = next {
            let response = self.request(Method::GET, &url).send().await;
            let response = response.map_err(|error| error.to_string())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server closes a connection that was idle for some time. A request that is sent at that moment has no answer.
    #[tokio::test]
    async fn a_connection_that_was_idle_for_long_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = ShopClient::new(format!("http://{}", listener.local_addr().unwrap()));
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    while let Ok(1..) = stream.read(&mut [0; 4_096]).await {
                        let empty = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        stream.write_all(empty).await.unwrap();
                    }
                });
            }
        });
        assert!(client.is_ready().await && client.is_ready().await);
        assert!(!server.is_finished(), "one connection for both");
        tokio::time::sleep(CLIENT_KEEP_ALIVE).await;
        assert!(client.is_ready().await);
        assert!(server.is_finished(), "another connection");
    }
}
