//! The mypage service over HTTP and events.

use crate::common::{Mypage, at, event};
use chassis::testing::eventually;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_page_tells_the_whole_story_of_a_cart() {
    let mypage = Mypage::start().await;
    mypage.hear(1, &event("CartAdded", 1, 1)).await;
    let added = mypage.becomes(1, "CartAdded").await;
    let url = mypage.running.url();
    let wanted = json!({
        "id": 1, "cartId": 1, "gifticonId": 7, "name": "아메리카노", "price": 5000, "quantity": 2,
        "amount": 10_000, "paymentId": null, "status": "CartAdded", "createdAt": at(1),
        "updatedAt": at(1), "_links": {
            "self": { "href": format!("{url}/mypages/1") },
            "mypage": { "href": format!("{url}/mypages/1") },
            "history": { "href": format!("{url}/mypages/1/history") },
        },
    });
    assert_eq!(added, wanted);

    for (event_type, status, second) in [
        ("PaymentApproved", "PaymentApproved", 2),
        ("CartRemoved", "CartRemoved", 3),
        ("PaymentCancelled", "PaymentCanceled", 4),
    ] {
        mypage.hear(1, &event(event_type, 1, second)).await;
        let page = mypage.becomes(1, status).await;
        assert_eq!((&page["paymentId"], &page["updatedAt"]), (&json!(101), &json!(at(second))));
        assert_eq!((&page["name"], &page["createdAt"]), (&json!("아메리카노"), &json!(at(1))));
    }
    let page = mypage.get("/mypages/1").await;
    assert_eq!(page.0, 200);
    let (_, steps) = mypage.get("/mypages/1/history").await;
    assert_eq!(
        steps,
        json!([
            { "eventType": "CartAdded", "status": "CartAdded", "at": at(1) },
            { "eventType": "PaymentApproved", "status": "PaymentApproved", "at": at(2) },
            { "eventType": "CartRemoved", "status": "CartRemoved", "at": at(3) },
            { "eventType": "PaymentCancelled", "status": "PaymentCanceled", "at": at(4) },
        ])
    );
}

#[tokio::test]
async fn a_decline_ends_as_a_decline_although_its_cart_goes_after_it() {
    let mypage = Mypage::start().await;
    for (event_type, second) in [("CartAdded", 1), ("PaymentDeclined", 2), ("CartRemoved", 3)] {
        mypage.hear(1, &event(event_type, 1, second)).await;
    }
    let page = eventually("all three steps", async || {
        let (_, page) = mypage.get("/mypages/search/findByCartId?cartId=1").await;
        (page["updatedAt"] == at(3)).then_some(page)
    })
    .await;
    assert_eq!(page["status"], "PaymentDeclined");
    let steps = [("CartAdded", 1), ("PaymentDeclined", 2), ("CartRemoved", 3)];
    assert_eq!(mypage.history(&page).await, steps.map(|(step, s)| format!("{step} {}", at(s))));
}

#[tokio::test]
async fn what_comes_again_or_in_another_order_is_one_row_all_the_same() {
    let mypage = Mypage::start().await;
    let (added, approved) = (event("CartAdded", 1, 5), event("PaymentApproved", 1, 4));
    // The payment first, also by its clock; each several times, and once more under another id.
    for told in [&approved, &approved, &added, &added, &event("CartAdded", 1, 5)] {
        mypage.hear(1, told).await;
    }
    mypage.hear(2, &event("CartAdded", 2, 6)).await;
    mypage.becomes(2, "CartAdded").await;
    let page = eventually("the cart's own event", async || {
        let (_, page) = mypage.get("/mypages/search/findByCartId?cartId=1").await;
        (page["name"] == "아메리카노").then_some(page)
    })
    .await;
    assert_eq!((&page["status"], &page["paymentId"]), (&json!("PaymentApproved"), &json!(101)));
    let wanted = [format!("CartAdded {}", at(5)), format!("PaymentApproved {}", at(4))];
    assert_eq!(mypage.history(&page).await, wanted, "a cart begins with its addition");

    let mypage = mypage.restart().await;
    mypage.hear(1, &added).await;
    mypage.hear(3, &event("CartAdded", 3, 7)).await;
    mypage.becomes(3, "CartAdded").await;
    let (_, list) = mypage.get("/mypages?sort=cartId").await;
    let carts: Vec<_> = list["_embedded"]["mypages"].as_array().unwrap().iter().collect();
    let carts: Vec<_> = carts.into_iter().map(|page| page["cartId"].clone()).collect();
    assert_eq!(carts, [1, 2, 3]);
    assert_eq!(list["page"]["totalElements"], 3);
}

#[tokio::test]
async fn pages_are_found_and_listed_and_never_written() {
    let mypage = Mypage::start().await;
    for cart in 1..=5 {
        mypage.hear(cart, &event("CartAdded", cart, 1)).await;
    }
    for cart in 1..=5 {
        mypage.becomes(cart, "CartAdded").await;
    }
    for found in ["cartId=3", "CartId=3"] {
        let (status, page) = mypage.get(&format!("/mypages/search/findByCartId?{found}")).await;
        assert_eq!((status, &page["cartId"]), (200, &json!(3)));
    }
    for (path, status) in [
        ("/mypages/search/findByCartId?cartId=99", 404),
        ("/mypages/search/findByCartId?cartId=x", 400),
        ("/mypages/search/findByCartId", 400),
        ("/mypages/99", 404),
        ("/mypages/99/history", 404),
        ("/mypages?sort=nonsense", 400),
    ] {
        assert_eq!(mypage.get(path).await.0, status, "{path}");
    }
    let (mut path, mut carts) = (Some("/mypages?size=2".to_owned()), Vec::new());
    while let Some(next) = path {
        let (_, list) = mypage.get(&next).await;
        let pages = list["_embedded"]["mypages"].as_array().unwrap();
        carts.extend(pages.iter().map(|page| page["cartId"].as_i64().unwrap()));
        let href = list["_links"]["next"]["href"].as_str();
        path = href.map(|href| href.strip_prefix(&mypage.running.url()).unwrap().to_owned());
    }
    carts.sort_unstable(); // events of different carts come in any order
    assert_eq!(carts, [1, 2, 3, 4, 5]);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for path in ["/mypages", "/mypages/1"] {
            assert_eq!(mypage.ask(method.clone(), path).await.0, 405, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_originals_events_are_read_and_strange_ones_passed_over() {
    let mypage = Mypage::start().await;
    // No eventId, no occurredAt, and a gifticonId that is a string.
    let original = json!({
        "eventType": "CartAdded", "timestamp": "20261124123456", "id": 1, "gifticonId": "7",
        "quantity": "3", "status": "CartAdded",
    });
    mypage.hear(1, &original).await;
    mypage.hear(1, &original).await; // another place in the topic, so another event
    mypage.hear(1, &json!({ "eventType": "CartAdmired", "id": "of no consequence" })).await;
    let paid = json!({
        "eventType": "PaymentApproved", "timestamp": "20261124123457", "id": 4, "cartId": 1,
        "amount": null, "status": "PaymentApproved", "unheardOf": [1],
    });
    mypage.hear(1, &paid).await;
    let page = mypage.becomes(1, "PaymentApproved").await;
    assert_eq!((&page["gifticonId"], &page["quantity"]), (&json!(7), &json!(3)));
    assert_eq!((&page["name"], &page["amount"]), (&Value::Null, &Value::Null));
    assert_eq!(mypage.history(&page).await.len(), 2);
    assert_eq!(mypage.get("/mypages").await.1["page"]["totalElements"], 1);
    assert!(mypage.parked().await.is_empty());
}
