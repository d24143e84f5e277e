//! A wall clock that jumps by weeks, differently at each reading, changes nothing that a customer sees.

mod common;

use chassis::base::clock::jumps;
use chassis::testing::eventually;
use common::{Cart, Does};
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row, query};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Two months, in milliseconds.
const JUMPS: i64 = 60 * 24 * 60 * 60_000;
/// The clock is that of the process: one test at a time holds it.
static CLOCK: Mutex<()> = Mutex::const_new(());

/// Writes into the table of a running service.
async fn write(cart: &Cart, sql: &str) {
    let mut connection = AnyConnection::connect(cart.db.url.as_str()).await.unwrap();
    query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

/// Waits for a round of the sweeper, which ends an attempt that was given up.
async fn a_round_ends(cart: &Cart) {
    let given_up = format!(
        "insert into intents (reservation_id, gifticon_id, quantity, status) \
         values ('{}', 1, 1, 'Abandoned')",
        uuid::Uuid::new_v4()
    );
    write(cart, &given_up).await;
    let mut connection = AnyConnection::connect(cart.db.url.as_str()).await.unwrap();
    eventually("the sweeper to end it", async || {
        let left = query("select 1 from intents where status = 'Abandoned'");
        left.fetch_optional(&mut connection).await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_leaves_what_is_under_way() {
    let _clock = CLOCK.lock().await;
    jumps::within(JUMPS);
    let cart = std::sync::Arc::new(Cart::with_timeout(20_000).await);
    cart.gifticon.does(Does::Waits);
    let mut customers = JoinSet::new();
    for _ in 0..20 {
        let cart = std::sync::Arc::clone(&cart);
        customers.spawn(async move { cart.add(1, None).await });
    }
    eventually("all to be asked", async || (cart.gifticon.asked() == 20).then_some(())).await;
    for _ in 0..3 {
        a_round_ends(&cart).await;
    }
    cart.gifticon.does(Does::Reserves);
    cart.gifticon.1.notify_waiters();
    for (status, body) in customers.join_all().await {
        assert_eq!(status, 201, "{body}");
    }
    cart.settles(20).await;
}

#[tokio::test]
async fn what_a_crash_left_is_swept_at_the_next_start() {
    let _clock = CLOCK.lock().await;
    let cart = Cart::start().await;
    jumps::within(JUMPS);
    for n in 0..700 {
        let id = uuid::Uuid::from_u128(n).to_string();
        cart.gifticon.0.lock().unwrap().reserved.push(id);
    }
    let left = "with recursive counts(n) as (select 0 union all select n + 1 from counts where n < 699) \
                insert into intents (reservation_id, gifticon_id, quantity, status) \
                select format('00000000-0000-0000-0000-%012x', n), 1, 1, 'Pending' from counts";
    write(&cart, left).await;
    for n in [0x1000, 0x1100] {
        let block = uuid::Uuid::from_u128(n);
        write(&cart, &format!("insert into attempt_blocks values ('{block}')")).await;
        let reservation = uuid::Uuid::from_u128(n + 77).to_string();
        cart.gifticon.0.lock().unwrap().reserved.push(reservation);
    }
    // What is there while it runs is swept after two of these timeouts, which no test waits for.
    let cart = cart.restart_with_timeout(60_000).await;
    cart.settles(0).await;
}

#[tokio::test]
async fn a_key_is_remembered_however_the_clock_jumps() {
    let _clock = CLOCK.lock().await;
    jumps::within(JUMPS);
    let cart = Cart::start().await;
    let first = cart.add(1, Some("mine")).await;
    assert_eq!(first.0, 201);
    let expired = "insert into idempotency_keys (idempotency_key, gifticon_id, quantity, outcome, minute) \
                   values ('expired', 1, 1, 'NoGifticon', -1441)";
    write(&cart, expired).await;
    let cart = cart.restart().await;
    // It is used anew when it is forgotten.
    eventually("the expired key to be forgotten", async || {
        (cart.add(1, Some("expired")).await.0 == 201).then_some(())
    })
    .await;
    let again = cart.add(1, Some("mine")).await;
    assert_eq!((again.0, &again.1["id"]), (201, &first.1["id"]), "it got a second cart");
    assert_eq!(cart.live().await, 2);
}

/// Other replicas have run for two days while the machine of this one was suspended.
#[tokio::test]
async fn a_key_is_as_young_as_other_replicas_know() {
    let _clock = CLOCK.lock().await;
    let cart = Cart::start().await;
    assert_eq!(cart.add(1, Some("before")).await.0, 201);
    write(&cart, "update running_time set minutes = 2880").await;
    assert_eq!(cart.add(1, Some("after")).await.0, 201);
    let mut connection = AnyConnection::connect(cart.db.url.as_str()).await.unwrap();
    let minute = query("select minute from idempotency_keys where idempotency_key = 'after'");
    let minute: i64 = minute.fetch_one(&mut connection).await.unwrap().get(0);
    assert_eq!(minute, 2_880, "it would be forgotten at once");
}

/// What a customer is told, without where it was told.
async fn story(seed: u64) -> Vec<(u16, Value)> {
    let cart = Cart::start().await;
    let mut answers = Vec::new();
    for step in 0..60 {
        // A linear congruential generator is random enough here.
        let dice = (seed + step).wrapping_mul(6_364_136_223_846_793_005).rotate_left(17);
        let key = format!("key {}", dice % 7);
        match dice % 10 {
            0..3 => answers.push(cart.add(1, None).await),
            3..7 => answers.push(cart.add(1 + i64::try_from(dice % 2).unwrap(), Some(&key)).await),
            7 => {
                cart.gifticon.does(Does::SellsOut);
                answers.push(cart.add(1, Some(&format!("short {key}"))).await);
                cart.gifticon.does(Does::Reserves);
            }
            _ => {
                let id = i64::try_from(dice % 20).unwrap();
                answers.push((cart.delete(id).await, Value::Null));
            }
        }
    }
    for (_, body) in &mut answers {
        if let Some(body) = body.as_object_mut() {
            body.retain(|name, _| !["_links", "instance", "traceId"].contains(&name.as_str()));
        }
    }
    answers
}

#[tokio::test]
async fn every_answer_is_the_same_as_with_a_steady_clock() {
    let _clock = CLOCK.lock().await;
    for seed in 0..5 {
        jumps::within(0);
        let steady = story(seed).await;
        jumps::within(JUMPS);
        assert_eq!(story(seed).await, steady, "seed {seed}");
    }
}
