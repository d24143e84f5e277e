//! Features of every collection, through the gateway: sorting, ETags and conditional requests.

mod common;

use chassis::testing::eventually;
use common::Shop;
use reqwest::Method;
use serde_json::Value;

#[tokio::test]
async fn every_field_of_every_item_sorts_its_collection() {
    let shop = Shop::with_a_paid_cart().await;
    for collection in ["gifticons", "carts", "payments", "mypages"] {
        let item = shop.web.get(&format!("/{collection}/1")).await;
        let fields = item.as_object().unwrap().keys().filter(|field| *field != "_links");
        let fields: Vec<&str> = fields.map(String::as_str).collect();
        for field in &fields {
            for direction in ["", ",asc", ",desc"] {
                let path = format!("/{collection}?sort={field}{direction}");
                let (status, page) = shop.web.ask(Method::GET, &path, None).await.unwrap();
                assert_eq!(status, 200, "{path}: {page}");
                assert_eq!(page["_embedded"][collection].as_array().unwrap().len(), 1, "{path}");
            }
        }
        let path = format!("/{collection}?sort=nothing");
        let (status, problem) = shop.web.ask(Method::GET, &path, None).await.unwrap();
        assert_eq!(status, 400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(fields.iter().all(|field| detail.contains(field)), "{detail}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn every_item_has_an_etag_and_answers_304_to_it() {
    let shop = Shop::with_a_paid_cart().await;
    for path in [
        "/gifticons/1",
        "/gifticons/search/findByGifticonId?gifticonId=1",
        "/carts/1",
        "/payments/1",
        "/payments/search/findByCartId?cartId=1",
        "/mypages/1",
        "/mypages/search/findByCartId?cartId=1",
    ] {
        let url = format!("{}{path}", shop.web.base);
        let item = shop.web.client.get(&url).send().await.unwrap();
        let tag = item.headers()["etag"].to_str().unwrap().to_owned();
        assert!(item.json::<Value>().await.unwrap()["id"].is_i64());
        let weak = format!("W/{tag}");
        let list = format!("\"nothing\", {tag}");
        for method in [Method::GET, Method::HEAD] {
            for known in [&tag, &weak, &list, "*"] {
                let request = shop.web.client.request(method.clone(), &url);
                let answer = request.header("if-none-match", known).send().await.unwrap();
                assert_eq!(answer.status(), 304, "{method} {path} {known}");
                assert_eq!(answer.headers()["etag"], tag.as_str());
                assert!(!answer.headers().contains_key("content-length"), "{method} {path}");
                assert_eq!(answer.text().await.unwrap(), "");
            }
            let request = shop.web.client.request(method.clone(), &url);
            let request = request.header("if-none-match", "\"a\"").header("if-none-match", &tag);
            assert_eq!(request.send().await.unwrap().status(), 304, "both header lines are read");
            for (name, other, status) in [
                ("if-none-match", "\"a\"", 200),
                ("if-match", "\"a\"", 412),
                ("if-match", &tag, 200),
            ] {
                let request = shop.web.client.request(method.clone(), &url);
                let answer = request.header(name, other).send().await.unwrap();
                assert_eq!(answer.status(), status, "{method} {path} {name}: {other}");
            }
        }
    }
    shop.stop().await;
}

#[tokio::test]
async fn an_etag_changes_with_the_item() {
    let shop = Shop::with_a_paid_cart().await;
    let tag = async |path: &str| {
        let url = format!("{}{path}", shop.web.base);
        shop.web.client.get(url).send().await.unwrap().headers()["etag"].clone()
    };
    let paths = ["/gifticons/1", "/payments/1", "/mypages/1"];
    let mut before = Vec::new();
    for path in paths {
        before.push(tag(path).await);
        assert_eq!(&tag(path).await, before.last().unwrap(), "{path}");
    }
    shop.web.cancel(1).await.unwrap();
    for (path, before) in paths.into_iter().zip(before) {
        eventually("another ETag", async || (tag(path).await != before).then_some(())).await;
    }
    shop.stop().await;
}
