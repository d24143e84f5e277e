//! A stream does not outlive the token that opened it.

use super::Walk;
use chassis::base::config::Guests;
use chassis::testing::{EventReader, eventually};
use reqwest::{Client, Method, header};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

/// How long a token of [`Walk::last_seconds`] is still good.
const LEFT: Duration = Duration::from_secs(8);

impl Walk {
    /// Returns a token of a customer that has expired, and is good for some seconds more since clocks may be apart.
    fn last_seconds(&self, name: &str) -> String {
        let mut claims = self.issuer.claims(name, &["customer"]);
        claims["exp"] = (claims["iat"].as_u64().unwrap() - (30 - LEFT.as_secs())).into();
        self.issuer.key().sign(&claims)
    }

    async fn stream(&self, path: &str, token: Option<&str>, last_id: &str) -> EventReader {
        let bearer = token.map(|token| format!("Bearer {token}").parse().unwrap());
        let headers = bearer.map(|bearer| (header::AUTHORIZATION, bearer)).into_iter().collect();
        let client = Client::builder().no_proxy().default_headers(headers).build().unwrap();
        EventReader::open(&client, &format!("{}{path}", self.shop.web.base), last_id).await
    }
}

/// Follows a stream. Returns its last block, if it ends before a token of [`Walk::last_seconds`] is refused, and the last id.
async fn followed(mut stream: EventReader) -> (Option<String>, String) {
    let blocks = async {
        let mut last = String::new();
        while let Some(block) = stream.block().await {
            last = block;
        }
        last
    };
    let last = timeout(LEFT + Duration::from_secs(1), blocks).await.ok();
    (last, stream.last_id)
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_misses_nothing() {
    const PATHS: [&str; 2] = ["/mypages/stream", "/live/stream"];
    let walk = Walk::with(|config| config.auth.auth_guests = Guests::Allow).await;
    let buy = async || {
        let body = json!({ "gifticonId": 1, "quantity": 1 });
        let (status, cart) = walk.ask("alice", Method::POST, "/carts", body).await;
        assert_eq!(status, 201, "{cart}");
        let path = format!("/mypages/search/findByCartId?cartId={}", cart["id"]);
        eventually("the view of the payment", async || {
            let view = walk.ask("alice", Method::GET, &path, json!({})).await.1;
            (view["status"] == "PaymentApproved").then_some(())
        })
        .await;
    };
    walk.register(100, 5_000).await;
    buy().await;
    let long = walk.issuer.token("alice", &["customer"]);
    let mut others = Vec::new();
    for path in PATHS {
        for token in [Some(&*long), None] {
            others.push((path, tokio::spawn(followed(walk.stream(path, token, "").await))));
        }
    }
    let short = walk.last_seconds("alice");
    let mut ending = Vec::new();
    for path in PATHS {
        let stream = walk.stream(path, Some(&short), "").await;
        ending.push((path, tokio::spawn(followed(stream))));
    }
    let mut last_ids = Vec::new();
    for (path, stream) in ending {
        let (last, last_id) = stream.await.unwrap();
        assert_eq!(last.as_deref(), Some("retry: 500\n\n"), "{path}: it ends in order");
        assert!(!last_id.is_empty(), "{path}");
        last_ids.push((path, last_id));
    }
    for (path, stream) in others {
        assert_eq!(stream.await.unwrap().0, None, "{path}: others go on");
    }
    // What happened meanwhile comes first on the next connection, and what was told does not come again.
    buy().await;
    for (path, last_id) in last_ids {
        let mut stream = walk.stream(path, Some(&long), &last_id).await;
        let mut told = Vec::new();
        while told.last() != Some(&json!(2)) {
            let event = timeout(LEFT, stream.event()).await.unwrap().unwrap();
            assert_ne!(event.event, "reset", "{path}");
            told.push(event.data["cartId"].clone());
        }
        assert!(!told.contains(&json!(1)), "{path}: {told:?}");
    }
    walk.shop.stop().await;
}
