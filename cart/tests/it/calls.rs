//! What becomes of a cart when gifticon answers with a no, late, or not at all.

use crate::common::{Cart, Does};
use cart::domain::Block;
use chassis::testing::eventually;
use serde_json::Value;
use sqlx::{AnyConnection, Connection};
use std::time::{Duration, Instant};

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

/// The budgets of calls that get no answer: a panic, which breaks a connection, may take its time to be told.
const BUDGETS: [u64; 2] = [10_000, 250];

#[tokio::test]
async fn one_call_that_breaks_or_is_late_costs_no_customer() {
    let no_answer =
        [Does::BreaksOnce { then_sells_out: false }, Does::HangsOnce { then_sells_out: false }];
    for (does, budget) in no_answer.into_iter().zip(BUDGETS) {
        let cart = Cart::with_timeout(budget).await;
        cart.gifticon.does(does);
        assert_eq!(cart.add(1, None).await.0, 201);
        assert_eq!(cart.gifticon.asked(), 2, "it was asked again");
        cart.settles(1).await;
        assert_eq!((cart.live().await, cart.gifticon.holds()), (1, 1), "by the same name");
    }
}

/// The no may be of another replica, told while the first one still took the last units.
#[tokio::test]
async fn a_no_after_a_call_that_broke_or_was_late_proves_nothing() {
    let no_answer =
        [Does::BreaksOnce { then_sells_out: true }, Does::HangsOnce { then_sells_out: true }];
    for (does, budget) in no_answer.into_iter().zip(BUDGETS) {
        let cart = Cart::with_timeout(budget).await;
        cart.gifticon.does(does);
        assert_eq!(cart.add(1, None).await.0, 503);
        cart.settles(0).await;
        assert_eq!((cart.live().await, cart.gifticon.asked()), (0, 2));
    }
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
async fn an_attempt_that_a_crash_left_is_swept() {
    let cart = Cart::start().await;
    let mut connection = AnyConnection::connect(cart.db.url.as_str()).await.unwrap();
    let (alone, first) = (uuid::Uuid::new_v4(), Block::unused());
    let in_a_block = first.reservation(200).0;
    for id in [alone, in_a_block] {
        cart.gifticon.0.lock().unwrap().reserved.push(id.to_string());
    }
    for (id, left) in [
        (
            alone,
            "insert into intents (reservation_id, gifticon_id, quantity, status) \
             values ($1, 1, 1, 'Pending')",
        ),
        (first.first().0, "insert into attempt_blocks (first_reservation_id) values ($1)"),
    ] {
        sqlx::query(left).bind(id.to_string()).execute(&mut connection).await.unwrap();
    }
    cart.settles(0).await;
    let released = cart.gifticon.0.lock().unwrap().released.clone();
    assert!(released.contains(&alone.to_string()) && released.contains(&in_a_block.to_string()));
}
