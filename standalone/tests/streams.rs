//! The event streams and the figures of the whole shop, through its gateway.

mod common;

use chassis::testing::{EventReader, eventually};
use common::Shop;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// Bound for an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(5);

async fn next(stream: &mut EventReader) -> Value {
    let event = timeout(EVENT_TIMEOUT, stream.event()).await.expect("an event comes");
    event.expect("the stream goes on").data
}

#[tokio::test]
async fn a_purchase_and_its_end_are_seen_without_asking_again() {
    let shop = Shop::start().await;
    let client = Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("{}{path}", shop.web.base);
    let mut live = EventReader::open(&client, &url("/live/stream"), "").await;
    let mut views = EventReader::open(&client, &url("/mypages/stream"), "").await;
    shop.web.register(1, 10, 5_000).await;
    assert_eq!(shop.web.add(1, 2, None).await.unwrap().0, 201);
    let mut view = json!({});
    while view["status"] != "PaymentApproved" {
        view = next(&mut views).await;
    }
    assert_eq!(view.as_object_mut().unwrap().remove("version"), Some(json!(8)));
    assert_eq!(view, shop.web.get("/mypages/1").await);
    assert_eq!(shop.web.cancel(1).await.unwrap().0, 204);
    while view["status"] != "PaymentCanceled" {
        view = next(&mut views).await;
    }
    assert_eq!(view["version"], 10);

    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "payment PaymentCancelled") {
        let event = next(&mut live).await;
        told.push(format!(
            "{} {}",
            event["service"].as_str().unwrap(),
            event["type"].as_str().unwrap()
        ));
    }
    told.retain(|event| event != "gifticon QuantityModified"); // in any order with the others
    assert_eq!(
        told,
        [
            "gifticon GifticonRegistered",
            "cart CartAdded",
            "payment PaymentApproved",
            "cart CartRemoved",
            "payment PaymentCancelled"
        ]
    );
    shop.stop().await;
}

#[tokio::test]
async fn figures_come_from_each_service() {
    let shop = Shop::with_a_paid_cart().await;
    let figures = eventually("the gauges to be read", async || {
        let figures = shop.web.get("/live/figures").await;
        figures["services"][3]["lagEvents"].is_number().then_some(figures)
    })
    .await;
    assert!(figures["cartsPerSecond"].is_number(), "{figures}");
    let names = ["gifticon", "cart", "payment", "mypage"];
    for (service, name) in figures["services"].as_array().unwrap().iter().zip(names) {
        assert_eq!(
            (&service["service"], &service["up"]),
            (&json!(name), &json!(true)),
            "{service}"
        );
        for figure in ["outboxEvents", "outboxAgeSeconds", "parkedEvents"] {
            assert!(service[figure].is_number(), "{figure} of {service}");
        }
        let breaker = if name == "cart" { json!("closed") } else { Value::Null };
        assert_eq!(service["breaker"], breaker, "{name}");
        let sold_out = if name == "cart" { json!(0) } else { Value::Null };
        assert_eq!(service["soldOut"], sold_out, "{name}");
    }
    let (status, _) = shop.web.ask(Method::GET, "/figures", None).await.unwrap();
    assert_eq!(status, 404, "the figures of one service are not for everybody");
    shop.stop().await;
}

#[tokio::test]
async fn a_stream_is_asked_for_by_get_alone() {
    let shop = Shop::start().await;
    for path in ["/mypages/stream", "/live/stream"] {
        for (method, status) in [(Method::HEAD, 200), (Method::OPTIONS, 200), (Method::PUT, 405)] {
            let answer =
                shop.web.client.request(method.clone(), format!("{}{path}", shop.web.base));
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), status, "{method} {path}");
            if method == Method::HEAD {
                assert_eq!(answer.headers()["content-type"], "text/event-stream");
                assert_eq!(answer.headers()["cache-control"], "no-store");
            } else {
                let allow = answer.headers()["allow"].to_str().unwrap().to_uppercase();
                assert!(allow.contains("GET") && !allow.contains("PUT"), "{allow}");
            }
        }
    }
    shop.stop().await;
}
