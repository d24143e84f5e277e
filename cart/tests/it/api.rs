//! The cart service over HTTP and events.

use crate::common::Cart;
use chassis::testing::eventually;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

#[tokio::test]
async fn what_is_added_is_answered_shown_and_told() {
    let cart = Cart::start().await;
    let answer = cart.post(3, None).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["location"], format!("{}/carts/1", cart.url));
    let body: Value = answer.json().await.unwrap();
    assert_eq!((&body["status"], &body["amount"]), (&json!("CartAdded"), &json!(15_000)));
    let told = eventually("the event", async || cart.told("CartAdded").await.pop()).await;
    assert_eq!(
        (&told["id"], &told["quantity"], &told["amount"]),
        (&json!(1), &json!(3), &json!(15_000))
    );
    assert_eq!(told["reservationId"], cart.gifticon.0.lock().unwrap().reserved[0].as_str());
    cart.settles(1).await;
}

#[tokio::test]
async fn payment_decides_what_becomes_of_a_cart() {
    let cart = Cart::start().await;
    for _ in 0..2 {
        assert_eq!(cart.add(1, None).await.0, 201);
    }
    cart.hear("PaymentApproved", 1).await;
    cart.has_status(1, "PaymentApproved").await;
    cart.hear("PaymentDeclined", 2).await;
    let removed = eventually("the removal", async || cart.told("CartRemoved").await.pop()).await;
    assert_eq!(removed["id"], 2);
    assert_eq!(cart.delete(2).await, 404);

    // What is gone stays gone, however late its payment is decided.
    assert_eq!(cart.delete(1).await, 204);
    for late in ["PaymentApproved", "PaymentDeclined", "PaymentCancelled"] {
        cart.hear(late, 1).await;
        cart.hear(late, 2).await;
    }
    cart.hear("PaymentApproved", 99).await; // not a cart of ours
    assert_eq!(cart.add(1, None).await.0, 201);
    cart.hear("PaymentApproved", 3).await;
    cart.has_status(3, "PaymentApproved").await;
    assert_eq!(cart.live().await, 1);
    eventually("both removals", async || (cart.told("CartRemoved").await.len() == 2).then_some(()))
        .await;
}

#[tokio::test]
async fn of_fifty_cancels_at_once_one_cancels() {
    let cart = Arc::new(Cart::start().await);
    cart.add(1, None).await;
    let mut customers = JoinSet::new();
    for _ in 0..50 {
        let cart = Arc::clone(&cart);
        customers.spawn(async move { cart.delete(1).await });
    }
    let mut answers = customers.join_all().await;
    answers.sort_unstable();
    assert_eq!((answers[0], answers[1], answers.len()), (204, 404, 50));
    eventually("the removal", async || (cart.told("CartRemoved").await.len() == 1).then_some(()))
        .await;
    assert_eq!(cart.told("CartRemoved").await.len(), 1);
}

#[tokio::test]
async fn a_cancel_whose_conditions_do_not_hold_cancels_nothing() {
    let cart = Cart::start().await;
    let answer = cart.post(1, None).send().await.unwrap();
    let added = answer.headers()["etag"].clone();
    cart.hear("PaymentApproved", 1).await;
    cart.has_status(1, "PaymentApproved").await;
    let url = format!("{}/carts/1", cart.url);
    let paid = cart.client.get(&url).send().await.unwrap().headers()["etag"].clone();
    assert_ne!(added, paid, "the status is another");
    let known = cart.client.get(&url).header("if-none-match", paid.clone());
    assert_eq!(known.send().await.unwrap().status(), 304);

    let cancel = async |name: &str, value: &HeaderValue| {
        let request = cart.client.delete(&url).header(name, value.clone());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(cancel("if-match", &added).await, 412);
    assert_eq!(cancel("if-match", &HeaderValue::from_static("\"999\"")).await, 412);
    assert_eq!(cancel("if-none-match", &HeaderValue::from_static("*")).await, 412);
    assert_eq!(cancel("if-none-match", &paid).await, 412);
    assert_eq!(cart.live().await, 1);
    let either = format!("{}, {}", added.to_str().unwrap(), paid.to_str().unwrap());
    assert_eq!(cancel("if-match", &either.parse().unwrap()).await, 204);
    assert_eq!(cancel("if-match", &paid).await, 404);
}

#[tokio::test]
async fn carts_are_sorted_by_every_field_and_a_sort_of_thousands_of_fields_is_refused() {
    let cart = Cart::start().await;
    for quantity in [2, 1, 3, 1] {
        assert_eq!(cart.add(quantity, None).await.0, 201);
    }
    let sorted = async |query: &str| {
        let url = format!("{}/carts?{query}", cart.url);
        let answer = cart.client.get(url).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    let ids = |page: &Value| {
        let items = page["_embedded"]["carts"].as_array().unwrap();
        items.iter().map(|item| item["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    for (sort, wanted) in [
        ("sort=amount", [2, 4, 1, 3]),
        ("sort=amount,desc", [3, 1, 4, 2]),
        ("sort=quantity&sort=id,desc", [4, 2, 1, 3]),
        ("sort=name", [1, 2, 3, 4]),
        ("sort=price,desc", [4, 3, 2, 1]),
        ("sort=id,id,id", [1, 2, 3, 4]),
        ("sort=amount&sort=amount,desc", [2, 4, 1, 3]),
    ] {
        let (status, page) = sorted(sort).await;
        assert_eq!(status, 200, "{sort}: {page}");
        assert_eq!(ids(&page), wanted, "{sort}");
    }
    let thousands = vec!["id"; 2_000].join(",");
    assert_eq!(sorted(&format!("sort={thousands}")).await.0, 400);
    assert_eq!(sorted(&vec!["sort=id"; 2_000].join("&")).await.0, 400);
    let others = (0..3_000).map(|n| format!("x{n}=y")).collect::<Vec<_>>().join("&");
    assert_eq!(sorted(&others).await.0, 200, "unknown names are ignored");
    let (status, problem) = sorted("sort=reservationId").await;
    assert_eq!(status, 400);
    let allowed = "id, gifticonId, quantity, status, name, price, amount";
    assert!(problem["detail"].as_str().unwrap().contains(allowed), "{problem}");
}

#[tokio::test]
async fn a_cart_is_cancelled_once_and_listed_no_more() {
    let cart = Cart::start().await;
    for quantity in 1..=3 {
        assert_eq!(cart.add(quantity, None).await.0, 201);
    }
    assert_eq!(cart.delete(2).await, 204);
    assert_eq!((cart.delete(2).await, cart.delete(99).await), (404, 404));
    let url = format!("{}/carts/2", cart.url);
    assert_eq!(cart.client.get(&url).send().await.unwrap().status(), 404);
    let url = format!("{}/carts?sort=id,desc&size=2", cart.url);
    let page: Value = cart.client.get(url).send().await.unwrap().json().await.unwrap();
    let ids = |page: &Value| {
        let items = page["_embedded"]["carts"].as_array().unwrap();
        items.iter().map(|item| item["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((ids(&page), &page["page"]["totalElements"]), (vec![3, 1], &json!(2)));
    let removed = eventually("the removal", async || cart.told("CartRemoved").await.pop()).await;
    let added = cart.told("CartAdded").await;
    let added = added.iter().find(|added| added["id"] == 2).unwrap();
    for field in ["id", "gifticonId", "quantity", "reservationId"] {
        assert_eq!(removed[field], added[field], "{field}");
    }
    let history = cart.log.log.history().await.unwrap();
    let mut keys: Vec<_> = history.into_iter().filter_map(|told| told.key.clone()).collect();
    keys.sort();
    assert_eq!(keys, ["1", "2", "2", "3"]);
    let patch = cart.client.patch(format!("{}/carts/1", cart.url)).json(&json!({}));
    assert_eq!(patch.send().await.unwrap().status(), 405);
}
