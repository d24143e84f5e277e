//! The original's story, letter for letter (its README, 3.2), through the gateway: numbers as strings,
//! as httpie sends them.

mod common;

use chassis::testing::eventually;
use common::{Shop, Web};
use rdkafka::mocking::MockCluster;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn the_original_s_story_over_the_embedded_log() {
    let shop = Shop::start().await;
    story(&shop.web).await;
    common::inside::settled(shop.dir.path()).await;
    let dir = shop.stop().await;
    assert_eq!(
        common::inside::copies(dir.path()).await,
        0,
        "nothing failed, so nothing was sent twice"
    );
}

#[tokio::test]
async fn the_original_s_story_over_kafka_s_mock_cluster() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("gifticon", 6, 1).unwrap();
    let brokers = mock.bootstrap_servers();
    let shop = Shop::with(|config| config.kafka_brokers = Some(brokers)).await;
    story(&shop.web).await;
    shop.stop().await;
}

#[tokio::test]
async fn the_original_s_story_over_a_real_broker() {
    #[expect(clippy::disallowed_methods, reason = "tests find their servers by environment")]
    let Ok(brokers) = std::env::var("TEST_KAFKA_BROKERS") else {
        eprintln!("skipped: TEST_KAFKA_BROKERS is unset");
        return;
    };
    let topic = format!("test-{}", uuid::Uuid::new_v4());
    let shop = Shop::with(|config| {
        config.kafka_brokers = Some(brokers);
        config.topic.kafka_topic = topic;
    })
    .await;
    story(&shop.web).await;
    shop.stop().await;
}

async fn story(web: &Web) {
    let post =
        async |path: &str, body: Value| web.ask(Method::POST, path, Some(body)).await.unwrap();

    // 1) The MD registers.
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

    // 3) The stock is down, two payments are approved, the customer's page shows both.
    assert_eq!(web.get("/gifticons/1").await["availableQuantity"], 75);
    shows(web, "/payments", "payments", &["PaymentApproved", "PaymentApproved"]).await;
    shows(web, "/mypages", "mypages", &["PaymentApproved", "PaymentApproved"]).await;

    // 4) The first is cancelled; the second is left.
    let (status, _) = web.cancel(1).await.unwrap();
    assert_eq!(status, StatusCode::NO_CONTENT);
    let carts = web.get("/carts").await;
    assert_eq!(carts["page"]["totalElements"], 1);
    assert_eq!(carts["_embedded"]["carts"][0]["id"], 2);

    // 5) The stock returns, the payment is cancelled, and the page says so.
    eventually("the stock to return", async || {
        (web.get("/gifticons/1").await["availableQuantity"] == 85).then_some(())
    })
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

/// Waits until a collection shows these states, by id.
async fn shows(web: &Web, path: &str, name: &str, wanted: &[&str]) {
    eventually(&format!("{path} to show {wanted:?}"), async || {
        let page = web.get(path).await;
        let mut items = page["_embedded"][name].as_array().unwrap().clone();
        items.sort_by_key(|item| item["cartId"].as_i64());
        let states: Vec<&str> = items.iter().filter_map(|item| item["status"].as_str()).collect();
        (states == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_declined_payment_removes_its_cart_and_returns_its_stock() {
    let shop = Shop::with(|config| config.limit.payment_limit = Some(20_000)).await;
    let web = &shop.web;
    web.register(1, 100, 5000).await;
    let (status, _) = web.add(1, 4, None).await.unwrap();
    assert_eq!(status, StatusCode::CREATED);
    let (status, dear) = web.add(1, 5, None).await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "shopping does not wait for payment");
    let id = dear["id"].as_i64().unwrap();

    shows(web, "/payments", "payments", &["PaymentApproved", "PaymentDeclined"]).await;
    shows(web, "/mypages", "mypages", &["PaymentApproved", "PaymentDeclined"]).await;
    eventually("the stock to return", async || {
        (web.get("/gifticons/1").await["availableQuantity"] == 96).then_some(())
    })
    .await;
    let (status, _) = web.ask(Method::GET, &format!("/carts/{id}"), None).await.unwrap();
    assert_eq!(status, StatusCode::NOT_FOUND);
    shop.stop().await;
}

#[tokio::test]
async fn one_trace_goes_through_the_whole_purchase() {
    let shop = Shop::start().await;
    shop.web.register(1, 100, 5000).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let add = shop.web.client.post(format!("{}/carts", shop.web.base)).header("traceparent", trace);
    let answer = add.json(&json!({"gifticonId": 1, "quantity": 1})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    shows(&shop.web, "/mypages", "mypages", &["PaymentApproved"]).await;
    let history = shop.log.as_ref().unwrap().history().await.unwrap();
    let told: Vec<&str> = history
        .iter()
        .filter(|message| message.header("traceparent") == Some(trace))
        .filter_map(|message| message.header("ce_type"))
        .collect();
    for event_type in ["QuantityModified", "CartAdded", "PaymentApproved"] {
        assert!(told.contains(&event_type), "{event_type} is not among {told:?}");
    }
    shop.stop().await;
}
