//! The pages while a service is busy or away. What they do in a shop that works is in `standalone/tests/pages.rs`.

use crate::common::gateway;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use axum::{Json, Router};
use chassis::testing::peer;
use serde_json::json;
use std::time::Duration;

const KEY: &str = "0190a5b0-0000-4000-8000-000000000001";

/// Sends the form of a card, and returns status and page.
async fn buy(base: &str, language: &str) -> (StatusCode, String) {
    let form = format!("gifticonId=1&quantity=3&price=5000&page=0&key={KEY}");
    send(format!("{base}/shop/carts"), form, language).await
}

/// Sends a form, and returns status and page.
pub(crate) async fn send(url: String, form: String, language: &str) -> (StatusCode, String) {
    let client = chassis::http::client::new().unwrap();
    let request = client.post(url).body(form);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request = request.header("accept", "text/html").header("accept-language", language);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    (answer.status(), answer.text().await.unwrap())
}

/// Returns a page as a browser gets it.
pub(crate) async fn open(url: &str) -> String {
    let request = chassis::http::client::new().unwrap().get(url).header("accept", "text/html");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.text().await.unwrap()
}

/// Asserts that a page has the form once more, as it was sent.
fn keeps_the_form(page: &str) {
    offers(page, &[("key", KEY), ("quantity", "3"), ("gifticonId", "1")]);
}

/// Asserts that a page has a button that sends these fields again.
pub(crate) fn offers(page: &str, fields: &[(&str, &str)]) {
    let (_, retry) = page.split_once("class=\"summary\"").expect("it has a summary");
    let (_, retry) = retry.split_once("<form").expect("the summary has a form");
    let retry = retry.split("</form>").next().unwrap();
    let fields = fields.iter().map(|(name, value)| format!("name=\"{name}\" value=\"{value}\""));
    for field in fields.chain(["<button class=\"primary\">".to_owned()]) {
        assert!(retry.contains(&field), "{field} is not in {retry}");
    }
}

#[tokio::test]
async fn a_page_says_that_a_part_of_the_shop_is_away() {
    let gateway = gateway("http://127.0.0.1:9", &[]).await;
    let base = gateway.url();
    let client = chassis::http::client::new().unwrap();
    for (path, text) in [
        ("/", "We cannot reach a part of the shop"),
        ("/shop", "Try again in a moment"),
        ("/me", "href=\"/me\""),
        ("/md", "href=\"/md\""),
    ] {
        let request = client.get(format!("{base}{path}")).header("accept", "text/html");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{path}");
        let page = answer.text().await.unwrap();
        assert!(page.contains(text) && page.contains("<html lang=\"en\""), "{path}: {page}");
    }
    // The picture shows who is away.
    let answer =
        client.get(format!("{base}/live")).header("accept", "text/html").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.text().await.unwrap().contains("no answer"));
    let (status, page) = buy(&base, "ko").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(page.contains("고른 내용은 그대로 있으니 잠시 뒤에 다시 시도해 주세요"), "{page}");
    keeps_the_form(&page);
    gateway.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_shop_that_is_busy_keeps_the_form_and_its_key() {
    let gifticon = json!({ "id": 1, "gifticonId": 1, "name": "Latte", "availableQuantity": 9, "price": 5_000 });
    let list = json!({
        "_embedded": { "gifticons": [&gifticon] },
        "page": { "size": 24, "totalElements": 1, "totalPages": 1, "number": 0 },
    });
    for (status, slug) in [(503, "stock-unavailable"), (429, "too-many-requests")] {
        let status = StatusCode::from_u16(status).unwrap();
        let busy = any(async move |request: Request| {
            assert_eq!(request.headers()["idempotency-key"], KEY);
            assert_eq!(request.headers()["accept-language"], "en");
            let problem = json!({ "type": format!("/problems/{slug}"), "status": status.as_u16() });
            (status, Json(problem)).into_response()
        });
        let (list, gifticon) = (list.clone(), gifticon.clone());
        let services = Router::new()
            .route("/gifticons", get(async move || Json(list)))
            .route("/gifticons/search/findByGifticonId", get(async move || Json(gifticon)))
            .route("/carts", busy);
        let gateway = gateway(&peer(services), &[]).await;
        let (answered, page) = buy(&gateway.url(), "en").await;
        assert_eq!(answered, status);
        assert!(page.contains("Many people are shopping at once"), "{page}");
        keeps_the_form(&page);
        let (_, card) = page.split_once("id=\"g-1\"").expect("the card is there too");
        assert!(
            card.contains(&format!("value=\"{KEY}\"")) && card.contains("value=\"3\""),
            "{card}"
        );
        gateway.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_cancel_that_is_refused_says_why_and_can_be_tried_again() {
    let refuses = any(async |request: Request| {
        let status: u16 = request.uri().path().rsplit('/').next().unwrap().parse().unwrap();
        let problem = json!({ "type": "/problems/x", "status": status });
        (StatusCode::from_u16(status).unwrap(), Json(problem))
    });
    // The number of the cart is the status of the answer.
    let services = Router::new().route("/carts/{id}", refuses);
    let gateway = gateway(&peer(services), &[]).await;
    for status in [429, 503, 404] {
        let url = format!("{}/me/cancel", gateway.url());
        let (answered, page) = send(url, format!("cartId={status}"), "ko").await;
        assert_eq!(answered.as_u16(), status);
        assert_eq!(page.contains("이미 취소된 장바구니예요"), status == 404, "{page}");
        let retry = format!("name=\"cartId\" value=\"{status}\"");
        assert_eq!(page.contains(&retry), status != 404, "{page}");
    }
    gateway.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_amount_that_is_not_known_is_not_spoken_of() {
    let view = |id: i64, amount: Option<i64>| {
        json!({
            "id": id, "cartId": id, "name": null, "quantity": null, "amount": amount,
            "status": "CartAdded", "updatedAt": "2026-11-27T04:05:59Z",
        })
    };
    let list = json!({
        "_embedded": { "mypages": [view(1, Some(5_000)), view(2, None)] },
        "page": { "size": 12, "totalElements": 2, "totalPages": 1, "number": 0 },
    });
    let services = Router::new()
        .route("/mypages", get(async move || Json(list)))
        .route("/mypages/{id}/history", get(async || Json(json!([]))));
    let gateway = gateway(&peer(services), &[]).await;
    for (language, known, unknown) in [
        ("ko", "<p>5,000원을 돌려받고", "<p>결제한 금액을 모두 돌려받고"),
        ("en", "<p>You get ₩5,000 back", "<p>You get your money back"),
    ] {
        let page = open(&format!("{}/me?lang={language}", gateway.url())).await;
        assert!(page.contains(known) && page.contains(unknown), "{page}");
    }
    gateway.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_picture_says_if_it_sums_a_part_of_the_stock() {
    for (kinds, name) in
        [(200, "Vouchers left</dt>"), (201, "Vouchers left (not of all kinds)</dt>")]
    {
        let gifticon = json!({ "id": 1, "gifticonId": 1, "name": "Latte", "availableQuantity": 9, "price": 5_000 });
        let list = json!({
            "_embedded": { "gifticons": [gifticon] },
            "page": { "size": 200, "totalElements": kinds, "totalPages": 2, "number": 0 },
        });
        let services = Router::new().route("/gifticons", get(async move || Json(list)));
        let gateway = gateway(&peer(services), &[]).await;
        let page = open(&format!("{}/live?lang=en", gateway.url())).await;
        assert!(page.contains(&format!("{name}<dd>9</dd>")), "{page}");
        gateway.stop(Duration::from_secs(5)).await;
    }
}
