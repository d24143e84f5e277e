//! The purchase of the original sample (3.2 of its README), request for request, through the gateway. Numbers are strings,
//! as httpie sends them.

use crate::ShopClient;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Bound for an effect to show.
const SHOW_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs it in a shop without carts.
///
/// # Panics
/// If the shop answers other than the original.
pub async fn play(web: &ShopClient) {
    let post =
        async |path: &str, body: Value| web.ask(Method::POST, path, Some(body)).await.unwrap();

    // 1) The merchandiser registers a gifticon.
    let americano = json!({"gifticonId": "1", "name": "Americano", "availableQuantity": "100", "price": "5000"});
    let (status, gifticon) = post("/gifticons", americano).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(gifticon["_links"]["self"]["href"], format!("{}/gifticons/1", web.base));

    // 2) A customer adds two carts; a third asks for more than is left.
    for (id, quantity) in [(1, "10"), (2, "15")] {
        let (status, cart) = post("/carts", json!({"gifticonId": "1", "quantity": quantity})).await;
        assert_eq!(status, StatusCode::CREATED);
        assert_eq!((&cart["id"], &cart["status"]), (&json!(id), &json!("CartAdded")));
    }
    let (status, problem) = post("/carts", json!({"gifticonId": "1", "quantity": "200"})).await;
    assert_eq!((status, &problem["availableQuantity"]), (StatusCode::CONFLICT, &json!(75)));

    // 3) The stock has decreased, both payments are approved, and the customer's page shows it.
    assert_eq!(web.get("/gifticons/1").await["availableQuantity"], 75);
    shows(web, "/payments", "payments", &["PaymentApproved", "PaymentApproved"]).await;
    shows(web, "/mypages", "mypages", &["PaymentApproved", "PaymentApproved"]).await;

    // 4) The first cart is cancelled; the second is left.
    let (status, _) = web.cancel(1).await.unwrap();
    assert_eq!(status, StatusCode::NO_CONTENT);
    let carts = web.get("/carts").await;
    assert_eq!(carts["page"]["totalElements"], 1);
    assert_eq!(carts["_embedded"]["carts"][0]["id"], 2);

    // 5) The stock returns, the payment is cancelled, and the page shows it.
    until("the stock to return", async || web.get("/gifticons/1").await["availableQuantity"] == 85)
        .await;
    shows(web, "/payments", "payments", &["PaymentCanceled", "PaymentApproved"]).await;
    shows(web, "/mypages", "mypages", &["PaymentCanceled", "PaymentApproved"]).await;
    let page = web.get("/mypages/search/findByCartId?cartId=1").await;
    let history = page["_links"]["history"]["href"].as_str().unwrap();
    let history = web.get(history.strip_prefix(&web.base).unwrap()).await;
    let steps: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["eventType"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["CartAdded", "PaymentApproved", "CartRemoved", "PaymentCancelled"]);
    let fields = [&page["name"], &page["price"], &page["quantity"], &page["amount"]];
    assert_eq!(fields, [&json!("Americano"), &json!(5000), &json!(10), &json!(50000)]);
}

/// Waits until the items of a collection have these states, in the order of their carts.
///
/// # Panics
/// If they do not in time.
pub async fn shows(web: &ShopClient, path: &str, name: &str, wanted: &[&str]) {
    until(&format!("{path} to show {wanted:?}"), async || {
        let page = web.get(path).await;
        let mut items = page["_embedded"][name].as_array().unwrap().clone();
        items.sort_by_key(|item| item["cartId"].as_i64());
        let states: Vec<&str> = items.iter().filter_map(|item| item["status"].as_str()).collect();
        states == wanted
    })
    .await;
}

async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let until = Instant::now() + SHOW_TIMEOUT;
    while !so().await {
        assert!(Instant::now() < until, "waited {SHOW_TIMEOUT:?} in vain for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
