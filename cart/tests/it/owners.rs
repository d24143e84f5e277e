//! What belongs to others is as if it were not there.

use crate::gone::Carts;
use cart::api;
use chassis::testing::{answer, client_as, peer, with_principals, without_path};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// The service over HTTP, for requests by anybody.
struct Shop {
    carts: Carts,
    url: String,
}

impl Shop {
    async fn start() -> Self {
        let carts = Carts::start().await;
        let url = peer(with_principals(api::routes(carts.app.clone())));
        Self { carts, url }
    }

    fn request(&self, name: &str, method: Method, path: &str) -> RequestBuilder {
        client_as(name).request(method, format!("{}{path}", self.url))
    }

    async fn ask(&self, name: &str, method: Method, path: &str) -> (u16, Value) {
        answer(self.request(name, method, path)).await
    }

    async fn get(&self, name: &str, path: &str) -> (u16, Value) {
        self.ask(name, Method::GET, path).await
    }

    async fn add(&self, name: &str, quantity: i64, key: Option<&str>) -> (u16, Value) {
        let request = self.request(name, Method::POST, "/carts");
        let request = request.json(&json!({ "gifticonId": 1, "quantity": quantity }));
        answer(match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        })
        .await
    }

    /// Returns the ids and the total of a list.
    async fn list(&self, name: &str, query: &str) -> (Vec<i64>, Value) {
        let (status, page) = self.get(name, &format!("/carts{query}")).await;
        assert_eq!(status, 200, "{page}");
        let items = page["_embedded"]["carts"].as_array().unwrap();
        let ids = items.iter().map(|cart| cart["id"].as_i64().unwrap()).collect();
        (ids, page["page"]["totalElements"].clone())
    }
}

const NAMES: [&str; 3] = ["alice", "bob", "guest"];

#[tokio::test]
async fn everybody_sees_and_cancels_their_own_carts_and_an_md_sees_all() {
    let shop = Shop::start().await;
    for (id, name) in (1..).zip(NAMES) {
        let (status, cart) = shop.add(name, id, None).await;
        assert_eq!((status, &cart["id"], cart.get("owner")), (201, &json!(id), None), "{cart}");
    }
    for (own, name) in (1..).zip(NAMES) {
        let (status, _) = shop.get(name, &format!("/carts/{own}")).await;
        assert_eq!(status, 200, "{name}");
        for query in ["", "?sort=amount", "?owner=guest", "?owner=https://id.example%23alice"] {
            assert_eq!(shop.list(name, query).await, (vec![own], json!(1)), "{name}: {query}");
        }
        for other in (1..=3).filter(|id| *id != own) {
            let path = format!("/carts/{other}");
            for method in [Method::GET, Method::DELETE] {
                let (status, shown) = shop.ask(name, method.clone(), &path).await;
                let (_, absent) = shop.ask(name, method.clone(), "/carts/99").await;
                assert_eq!(status, 404, "{name}: {method} {path}");
                assert_eq!(without_path(shown), without_path(absent), "{name}: {method} {path}");
                for (condition, tag) in [
                    ("if-match", "*"),
                    ("if-match", "\"1\""),
                    ("if-match", "\"999\""),
                    ("if-none-match", "*"),
                    ("if-none-match", "\"1\""),
                ] {
                    let request = shop.request(name, method.clone(), &path).header(condition, tag);
                    let (status, _) = answer(request).await;
                    assert_eq!(status, 404, "{name}: {method} {path}, {condition}: {tag}");
                }
            }
        }
    }
    for name in ["md", "operator"] {
        assert_eq!(shop.list(name, "").await, (vec![1, 2, 3], json!(3)));
        assert_eq!(shop.list(name, "?owner=guest").await, (vec![3], json!(1)));
        assert_eq!(shop.list(name, "?owner=https://id.example%23bob").await, (vec![2], json!(1)));
        let (status, cart) = shop.get(name, "/carts/1").await;
        assert_eq!((status, &cart["owner"]), (200, &json!("https://id.example#alice")));
        // Only its owner cancels a cart.
        assert_eq!(shop.ask(name, Method::DELETE, "/carts/1").await.0, 404);
    }
    for (own, name) in (1..).zip(NAMES) {
        assert_eq!(shop.ask(name, Method::DELETE, &format!("/carts/{own}")).await.0, 204);
        assert_eq!(shop.list(name, "").await, (vec![], json!(0)));
    }
    let owners = ["https://id.example#alice", "https://id.example#bob", "guest"];
    assert_eq!(shop.carts.gifticon.0.lock().unwrap().owners, owners, "as gifticon was told");
    for cart in shop.carts.log.told().await {
        let owner = owners[usize::try_from(cart["id"].as_i64().unwrap() - 1).unwrap()];
        assert_eq!(cart["owner"], owner, "{cart}");
    }
}

#[tokio::test]
async fn a_key_of_one_owner_is_not_that_of_another() {
    let shop = Shop::start().await;
    for (id, name) in (1..).zip(NAMES) {
        for _ in 0..2 {
            let (status, cart) = shop.add(name, id, Some("k")).await;
            assert_eq!((status, &cart["id"]), (201, &json!(id)), "{name}");
        }
        assert_eq!(shop.add(name, 9, Some("k")).await.0, 422, "{name}");
    }
    // What a key is kept as is no key of a guest.
    let forged = shop.add("guest", 1, Some("https://id.example#alice k")).await;
    assert_eq!((forged.0, &forged.1["id"]), (201, &json!(4)));
}
