//! The page of merchandisers while a service is busy, late or away. What it does in a shop that works is in
//! `standalone/tests/pages/md.rs`.

use crate::common::gateway;
use crate::pages::{offers, open, send};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use chassis::testing::peer;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const NEW: &str = "gifticonId=7&name=Latte&availableQuantity=30&price=5%2C000";
const CHANGE: &str = "etag=%221%22&seenName=Latte&seenPrice=5000&price=5500&restock=-3&page=0";
/// What the stand-in has on sale.
const LATTE: &str =
    r#"{ "id": 1, "gifticonId": 7, "name": "Latte", "availableQuantity": 9, "price": 5000 }"#;

fn problem(status: u16, slug: &str) -> Response {
    let problem = json!({ "type": format!("/problems/{slug}"), "status": status });
    (StatusCode::from_u16(status).unwrap(), Json(problem)).into_response()
}

fn list(name: &str, items: &[Value]) -> Json<Value> {
    let page = json!({ "size": 20, "totalElements": items.len(), "totalPages": 1, "number": 0 });
    Json(json!({ "_embedded": { name: items }, "page": page }))
}

fn latte() -> Value {
    serde_json::from_str(LATTE).unwrap()
}

fn says(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "the page does not say {text:?}:\n{page}");
    }
}

fn lacks(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(!page.contains(text), "the page says {text:?}:\n{page}");
    }
}

#[tokio::test]
async fn a_gifticon_that_is_busy_loses_nothing_that_was_typed() {
    let busy = any(async || problem(503, "unavailable"));
    let services = Router::new()
        .route("/gifticons", busy.clone())
        .route("/gifticons/{id}", busy)
        .route("/carts", get(async || list("carts", &[])));
    let gateway = gateway(&peer(services), &[]).await;
    let url = format!("{}/md/gifticons", gateway.url());

    let (status, page) = send(url.clone(), NEW.into(), "ko").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    says(&page, &["지금은 저장할 수 없어요. 입력한 내용은 그대로 있으니"]);
    let typed =
        [("gifticonId", "7"), ("name", "Latte"), ("availableQuantity", "30"), ("price", "5,000")];
    offers(&page, &typed);
    let (_, form) = page.split_once("id=\"new-title\"").unwrap();
    for (name, value) in typed {
        let (_, field) = form.split_once(&format!("name=\"{name}\"")).unwrap();
        let field = field.split('>').next().unwrap();
        assert!(field.contains(&format!("value=\"{value}\"")), "{name}: {field}");
    }
    // Nobody knows what is on sale: neither that it is nothing, nor how much.
    says(&page, &["판매 중인 상품</dt><dd>알 수 없음</dd>", "모두 불러오지 못했어요"]);
    lacks(&page, &["첫 기프티콘을 등록해 보세요"]);

    let (status, page) = send(format!("{url}/1"), CHANGE.into(), "en").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    says(&page, &["The shop is busy", "<h3>Latte</h3>", "Not everything on sale can be read"]);
    let etag = ("etag", "&#34;1&#34;");
    let sent = [etag, ("seenName", "Latte"), ("seenPrice", "5000"), ("price", "5500")];
    offers(&page, &[&sent[..], &[("restock", "-3"), ("page", "0")]].concat());
    let (_, row) = page.split_once("id=\"g-1\"").expect("the row that was edited is there");
    says(row, &["value=\"5500\"", "value=\"-3\"", "name=\"etag\" value=\"&#34;1&#34;\""]);
    lacks(&page, &["with the form above", "name=\"unsure\"", "value=\"1\"></div>"]);
    gateway.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_gifticon_that_cannot_be_read_is_not_passed_over_in_silence() {
    let services = Router::new()
        .route("/gifticons", get(async || list("gifticons", &[latte()])))
        .route("/gifticons/{id}", get(async || problem(503, "unavailable")))
        .route("/carts", get(async || list("carts", &[])));
    let gateway = gateway(&peer(services), &[]).await;
    let page = open(&format!("{}/md", gateway.url())).await;
    says(&page, &["Not everything on sale can be read right now"]);
    lacks(&page, &["with the form above"]);
    gateway.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_only_carts_know_is_unknown_while_cart_is_away() {
    let services = Router::new()
        .route("/gifticons", get(async || list("gifticons", &[latte()])))
        .route("/gifticons/{id}", get(async || ([(header::ETAG, "\"1\"")], Json(latte()))))
        .route("/carts", get(async || problem(503, "unavailable")));
    let gateway = gateway(&peer(services), &[]).await;
    let page = open(&format!("{}/md?lang=ko", gateway.url())).await;
    says(&page, &["판매 중인 상품</dt><dd>1</dd>", "담긴 장바구니</dt><dd>알 수 없음</dd>"]);
    says(&page, &["결제 중</dt><dd>알 수 없음</dd>", "판매 알 수 없음", "남음 9</span>"]);
    lacks(&page, &["판매 0", "결제 중 0"]);
    gateway.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_not_made_twice() {
    // It is made, and no answer comes: the version that the form shows is not the newest any more.
    let patches = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&patches);
    let gifticon = any(async move |request: Request| {
        let under = request.headers().get(header::IF_MATCH).cloned();
        match (request.method(), under.as_ref().map(|tag| tag.to_str().unwrap())) {
            (&Method::GET, _) => ([(header::ETAG, "\"2\"")], Json(latte())).into_response(),
            (_, Some("\"1\"")) if counted.fetch_add(1, Ordering::SeqCst) == 0 => {
                problem(504, "upstream-late")
            }
            (_, Some("\"1\"")) => problem(412, "precondition-failed"),
            _ => {
                counted.fetch_add(1, Ordering::SeqCst);
                Json(latte()).into_response()
            }
        }
    });
    let services = Router::new()
        .route("/gifticons", get(async || list("gifticons", &[latte()])))
        .route("/gifticons/{id}", gifticon)
        .route("/carts", get(async || list("carts", &[])));
    let gateway = gateway(&peer(services), &[]).await;
    let url = format!("{}/md/gifticons/1", gateway.url());

    let (status, page) = send(url.clone(), CHANGE.into(), "en").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    says(&page, &["it may be saved, or not"]);
    offers(&page, &[("etag", "&#34;1&#34;"), ("restock", "-3"), ("unsure", "1")]);
    let (_, row) = page.split_once("id=\"g-1\"").unwrap();
    says(row, &["name=\"etag\" value=\"&#34;1&#34;\"", "name=\"unsure\" value=\"1\""]);

    let (status, page) = send(url.clone(), format!("{CHANGE}&unsure=1"), "en").await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    says(&page, &["It may be saved already. Latte costs ₩5,000 now, and 9 are left"]);
    assert_eq!(patches.load(Ordering::SeqCst), 2, "it was not tried under a newer version");
    let (_, row) = page.split_once("id=\"g-1\"").unwrap();
    says(row, &["name=\"etag\" value=\"&#34;2&#34;\"", "value=\"-3\""]);
    lacks(&page, &["name=\"unsure\""]);
    // Who has looked, and sends it once more, is obeyed.
    let (status, _) = send(url, CHANGE.replace("%221%22", "%222%22"), "en").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    gateway.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_gifticon_whose_answer_was_lost_is_on_sale_when_it_is_tried_again() {
    let register = any(async |request: Request| match *request.method() {
        Method::GET => list("gifticons", &[latte()]).into_response(),
        _ if request.headers().get("x-request-id").is_some_and(|id| id == "first") => {
            problem(502, "upstream-failed")
        }
        _ => problem(409, "gifticon-exists"),
    });
    let services = Router::new()
        .route("/gifticons", register)
        .route("/gifticons/search/findByGifticonId", get(async || Json(latte())))
        .route("/gifticons/{id}", get(async || ([(header::ETAG, "\"1\"")], Json(latte()))))
        .route("/carts", get(async || list("carts", &[])));
    let gateway = gateway(&peer(services), &[]).await;
    let url = format!("{}/md/gifticons", gateway.url());
    let client = chassis::http::client::new().unwrap();
    let first = client.post(&url).body(NEW).header("x-request-id", "first");
    let first = first.header("content-type", "application/x-www-form-urlencoded");
    let page = first.header("accept", "text/html").send().await.unwrap().text().await.unwrap();
    says(&page, &["it may be saved, or not"]);
    offers(&page, &[("gifticonId", "7"), ("unsure", "1")]);

    let again = format!("{NEW}&unsure=1");
    assert_eq!(send(url.clone(), again.clone(), "en").await.0, StatusCode::SEE_OTHER);
    // That of somebody else is not taken for it, and neither is one that is sent for the first time.
    for other in [again.replace("Latte", "Cake"), NEW.to_owned()] {
        let (status, page) = send(url.clone(), other, "en").await;
        assert_eq!(status, StatusCode::CONFLICT);
        says(&page, &["Number 7 is in use"]);
    }
    gateway.stop(Duration::from_secs(5)).await;
}
