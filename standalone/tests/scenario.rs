//! The purchase of the original sample, a purchase that is declined, and the trace of a purchase.

mod common;

use chaos::story::{self, shows};
use chassis::testing::eventually;
use common::{Shop, server};
use rdkafka::mocking::MockCluster;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn the_story_of_the_original_on_the_embedded_log() {
    let shop = Shop::start().await;
    story::play(&shop.web).await;
    common::audit::settled(shop.dir.path()).await;
    let dir = shop.stop().await;
    assert_eq!(
        common::audit::copies(dir.path()).await,
        0,
        "without failures no event is sent twice"
    );
}

#[tokio::test]
async fn the_story_of_the_original_on_the_mock_cluster() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("gifticon", 6, 1).unwrap();
    let brokers = mock.bootstrap_servers();
    let shop = Shop::with(|config| config.kafka_brokers = Some(brokers)).await;
    story::play(&shop.web).await;
    shop.stop().await;
}

#[tokio::test]
#[ignore = "needs TEST_KAFKA_BROKERS"]
async fn the_story_of_the_original_on_kafka() {
    let brokers = server("TEST_KAFKA_BROKERS");
    let topic = format!("test-{}", uuid::Uuid::new_v4());
    let shop = Shop::with(|config| {
        config.kafka_brokers = Some(brokers);
        config.topic.kafka_topic = topic;
    })
    .await;
    story::play(&shop.web).await;
    shop.stop().await;
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
    let event_types: Vec<&str> = history
        .iter()
        .filter(|message| message.header("traceparent") == Some(trace))
        .filter_map(|message| message.header("ce_type"))
        .collect();
    for event_type in ["QuantityModified", "CartAdded", "PaymentApproved"] {
        assert!(event_types.contains(&event_type), "{event_type} is not among {event_types:?}");
    }
    shop.stop().await;
}
