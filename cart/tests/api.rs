//! The cart service over HTTP and events.

mod common;

use chassis::testing::eventually;
use common::{Cart, Does};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection};
use std::sync::Arc;
use std::time::{Duration, Instant};
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
async fn a_no_of_gifticon_is_passed_on_and_leaves_nothing() {
    let cart = Cart::start().await;
    for (does, status) in [(Does::Answers(404), 404), (Does::SellsOut, 409)] {
        cart.gifticon.does(does);
        let (answered, problem) = cart.add(5, None).await;
        assert_eq!(answered, status, "{problem}");
        assert!(status == 404 || problem["availableQuantity"] == 3, "{problem}");
    }
    assert_eq!(cart.live().await, 0);
    for _ in 0..10 {
        cart.add(5, None).await;
    }
    cart.gifticon.does(Does::Reserves);
    assert_eq!(cart.add(5, None).await.0, 201, "a no does not open the circuit");
    eventually("the one cart to be told", async || cart.told("CartAdded").await.pop()).await;
    assert_eq!(cart.told("CartAdded").await.len() + cart.told("CartRemoved").await.len(), 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_503_and_is_released() {
    let cart = Cart::start().await;
    for does in [Does::Hangs, Does::Answers(500), Does::Answers(201)] {
        cart.gifticon.does(does);
        let began = Instant::now();
        let answer = cart.post(1, None).header("accept-language", "ko").send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert!(began.elapsed() < Duration::from_secs(2), "a customer waits no longer");
        assert_eq!(answer.headers()["retry-after"], "1");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["detail"], "잠시 후 다시 시도해 주세요");
    }
    cart.settles(0).await;
    assert_eq!(cart.gifticon.asked(), 4, "a late call is made once more");
    assert_eq!(cart.live().await, 0);
}

#[tokio::test]
async fn a_connection_that_breaks_costs_no_customer() {
    let cart = Cart::with_timeout(10_000).await; // a panic may take its time to be told
    cart.gifticon.does(Does::BreaksOnce { then_sells_out: false });
    assert_eq!(cart.add(1, None).await.0, 201);
    assert_eq!(cart.gifticon.asked(), 2, "it was asked again");
    cart.settles(1).await;
    assert_eq!((cart.live().await, cart.gifticon.holds()), (1, 1), "by the same name");
}

/// The no may be of another replica, told while the first one still took the last units.
#[tokio::test]
async fn a_no_after_a_connection_that_broke_proves_nothing() {
    let cart = Cart::with_timeout(10_000).await;
    cart.gifticon.does(Does::BreaksOnce { then_sells_out: true });
    assert_eq!(cart.add(1, None).await.0, 503);
    cart.settles(0).await;
    assert_eq!((cart.live().await, cart.gifticon.asked()), (0, 2));
}

#[tokio::test]
async fn one_late_call_costs_no_customer() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::HangsOnce { then_sells_out: false });
    assert_eq!(cart.add(1, None).await.0, 201);
    assert_eq!(cart.gifticon.asked(), 2, "it was asked again");
    cart.settles(1).await;
    assert_eq!((cart.live().await, cart.gifticon.holds()), (1, 1), "by the same name");
}

#[tokio::test]
async fn a_no_after_a_late_call_proves_nothing() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::HangsOnce { then_sells_out: true });
    assert_eq!(cart.add(1, None).await.0, 503);
    cart.settles(0).await;
    assert_eq!((cart.live().await, cart.gifticon.asked()), (0, 2));
}

/// Each late call counts, also one that is made again, and none is made again once the circuit is open.
#[tokio::test]
async fn late_calls_are_made_again_only_while_the_circuit_is_closed() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::Hangs);
    for asked in [2, 4, 5, 5] {
        assert_eq!(cart.add(1, None).await.0, 503);
        assert_eq!(cart.gifticon.asked(), asked, "the fifth late call opens the circuit");
    }
    eventually("a probe", async || {
        assert_eq!(cart.add(1, None).await.0, 503);
        (cart.gifticon.asked() > 5).then_some(())
    })
    .await;
    assert_eq!(cart.gifticon.asked(), 6, "a probe is not made again");
    cart.gifticon.does(Does::Reserves);
    eventually("the circuit to close", async || (cart.add(1, None).await.0 == 201).then_some(()))
        .await;
    cart.settles(1).await;
}

/// Who has waited for the whole patience is not asked for again, nor is a customer who has gone.
#[tokio::test]
async fn a_late_call_is_made_again_within_the_patience_only() {
    let cart = Cart::with_timeout(1_500).await;
    cart.gifticon.does(Does::Hangs);
    assert_eq!(cart.add(1, None).await.0, 503);
    cart.settles(0).await;
    assert_eq!(cart.gifticon.asked(), 1);
}

#[tokio::test]
async fn a_circuit_that_is_open_asks_nobody_and_heals_by_itself() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::Answers(500));
    for _ in 0..5 {
        assert_eq!(cart.add(1, None).await.0, 503);
    }
    let asked = cart.gifticon.asked();
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(cart.add(1, None).await.0, 503);
    }
    assert!(cart.gifticon.asked() == asked || began.elapsed() > Duration::from_secs(1));
    cart.gifticon.does(Does::Reserves);
    eventually("the circuit to close", async || (cart.add(1, None).await.0 == 201).then_some(()))
        .await;
    cart.settles(1).await;
}

#[tokio::test]
async fn a_key_gives_the_same_answer_also_after_a_restart() {
    let cart = Cart::start().await;
    let (status, first) = cart.add(2, Some("k")).await;
    assert_eq!(status, 201);
    assert_eq!(cart.add(2, Some("k")).await, (201, first.clone()));
    cart.gifticon.does(Does::SellsOut);
    let (status, refused) = cart.add(9, Some("no")).await;
    assert_eq!(status, 409);
    cart.gifticon.does(Does::Reserves);
    assert_eq!(cart.add(9, Some("no")).await, (409, refused), "the answer was no, and stays no");

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

#[tokio::test]
async fn a_customer_who_goes_away_meanwhile_leaves_no_cart() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::Hangs);
    let gone = cart.post(1, None).timeout(Duration::from_millis(100)).send().await;
    assert!(gone.is_err());
    eventually("gifticon to be asked", async || (cart.gifticon.asked() > 0).then_some(())).await;
    cart.settles(0).await;
    assert_eq!(cart.live().await, 0);
}

#[tokio::test]
async fn a_customer_who_went_away_gets_no_cart_when_gifticon_answers_at_last() {
    let cart = Cart::with_timeout(20_000).await;
    cart.gifticon.does(Does::Waits);
    // A client that closed its side may only have half-closed, so the service goes on for 2 s. Where it
    // has not noticed by then, there is a cart, as for an answer that was lost; what it holds is never
    // more than that. Each try waits longer.
    let (mut made, mut wait) = (0, Duration::from_secs(2));
    eventually("the service to notice", async || {
        let asked = cart.gifticon.asked();
        let gone = cart.post(1, None).timeout(Duration::from_millis(100)).send().await;
        assert!(gone.is_err());
        eventually("gifticon to be asked", async || (cart.gifticon.asked() > asked).then_some(()))
            .await;
        wait += Duration::from_millis(500);
        tokio::time::sleep(wait).await;
        cart.gifticon.1.notify_one();
        cart.ends().await;
        let live = cart.live().await;
        assert_eq!(cart.gifticon.holds(), live, "a cart or a release");
        let noticed = live == made;
        made = live;
        noticed.then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_a_crash_left_is_swept() {
    let cart = Cart::start().await;
    let file = cart.db.url.as_str().to_owned();
    let id = uuid::Uuid::new_v4().to_string();
    cart.gifticon.0.lock().unwrap().reserved.push(id.clone());
    let mut connection = AnyConnection::connect(&file).await.unwrap();
    let left = "insert into intents (reservation_id, gifticon_id, quantity, status) \
                values ($1, 1, 1, 'Pending')";
    sqlx::query(left).bind(id.as_str()).execute(&mut connection).await.unwrap();
    cart.settles(0).await;
    assert!(cart.gifticon.0.lock().unwrap().released.contains(&id));
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
