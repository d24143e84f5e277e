//! Requests with an idempotency key.

use crate::common::{Cart, Does};
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_key_gives_the_same_answer_also_after_a_restart() {
    let cart = Cart::start().await;
    let (status, first) = cart.add(2, Some("k")).await;
    assert_eq!(status, 201);
    assert_eq!(cart.add(2, Some("k")).await, (201, first.clone()));
    cart.gifticon.does(Does::SellsOut);
    let (status, mut refused) = cart.add(9, Some("no")).await;
    assert_eq!(status, 409);
    cart.gifticon.does(Does::Reserves);
    let (status, again) = cart.add(9, Some("no")).await;
    refused["traceId"] = again["traceId"].clone(); // it is another request
    assert_eq!((status, again), (409, refused), "the answer was no, and stays no");

    let cart = cart.restart().await;
    let (status, mut again) = cart.add(2, Some("k")).await;
    again["_links"] = first["_links"].clone(); // the port is another one
    assert_eq!((status, again), (201, first));
    let (status, problem) = cart.add(3, Some("k")).await;
    assert_eq!((status, &problem["type"]), (422, &json!("/problems/idempotency-key-reused")));
    cart.settles(2).await;
    assert_eq!(cart.live().await, 1);
}

#[tokio::test]
async fn ten_requests_with_one_key_at_once_make_one_cart() {
    let cart = Arc::new(Cart::start().await);
    let mut customers = JoinSet::new();
    for _ in 0..10 {
        let cart = Arc::clone(&cart);
        customers.spawn(async move { cart.add(1, Some("k")).await });
    }
    let answers = customers.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].0, 201);
    assert_eq!((cart.gifticon.asked(), cart.live().await), (1, 1));
}

#[tokio::test]
async fn a_key_that_was_answered_503_is_free_for_the_next_try() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::Answers(500));
    assert_eq!(cart.add(1, Some("k")).await.0, 503);
    cart.gifticon.does(Does::Reserves);
    assert_eq!(cart.add(1, Some("k")).await.0, 201);
    cart.settles(1).await;
}
