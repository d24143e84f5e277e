//! The blocks whose reservations a process hands out.

use crate::gone::Carts;
use cart::blocks::BLOCK_USE_MAX;
use cart::domain::{BLOCK_SIZE, Block};
use chassis::base::unavailable::Unavailable;
use chassis::testing::eventually;
use sqlx::{AnyConnection, Connection, Executor, Row};
use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::time::Duration;
use tokio::time::sleep;

/// Within which time a block that can be deleted is: longer than it is in use.
const DELETED_WITHIN: Duration = Duration::from_secs(2);

async fn blocks(connection: &mut AnyConnection) -> i64 {
    let count = sqlx::query("select count(*) from attempt_blocks");
    count.fetch_one(connection).await.unwrap().get(0)
}

async fn connect(carts: &Carts) -> AnyConnection {
    AnyConnection::connect(carts.db.url.as_str()).await.unwrap()
}

#[tokio::test]
async fn a_block_is_deleted_when_all_of_it_is_settled() {
    let carts = Carts::start().await;
    let mut connection = connect(&carts).await;
    let first = carts.app.blocks.take(pending()).await.unwrap();
    let second = carts.app.blocks.take(pending()).await.unwrap();
    assert_eq!(Block::of(first.reservation()), Block::of(second.reservation()));
    first.settle();
    sleep(DELETED_WITHIN).await;
    assert_eq!(blocks(&mut connection).await, 1, "one reservation is under way");
    second.settle();
    eventually("the block to go", async || (blocks(&mut connection).await == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn a_block_of_which_something_was_left_behind_stays_for_the_sweeper() {
    let carts = Carts::start().await;
    let mut connection = connect(&carts).await;
    let (left, settled) =
        (carts.app.blocks.take(pending()).await, carts.app.blocks.take(pending()).await);
    drop(left.unwrap());
    settled.unwrap().settle();
    sleep(DELETED_WITHIN).await;
    assert_eq!(blocks(&mut connection).await, 1);
    carts.running.stop(Duration::from_secs(5)).await;
    assert_eq!(blocks(&mut connection).await, 1, "also when the process ends");
}

#[tokio::test]
async fn a_drain_deletes_the_blocks_that_nobody_uses() {
    let carts = Carts::start().await;
    let mut connection = connect(&carts).await;
    carts.app.blocks.take(pending()).await.unwrap().settle();
    assert_eq!(blocks(&mut connection).await, 1);
    carts.running.stop(Duration::from_secs(5)).await;
    assert_eq!(blocks(&mut connection).await, 0);
}

#[tokio::test]
async fn no_two_requests_get_the_same_reservation_and_none_an_old_one() {
    let carts = Carts::start().await;
    let (mut taken, mut used) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..BLOCK_SIZE * 3 {
        let place = carts.app.blocks.take(pending()).await.unwrap();
        assert!(taken.insert(place.reservation()), "it was handed out before");
        used.insert(Block::of(place.reservation()));
        place.settle();
    }
    assert!(used.len() >= 3, "{used:?}");
    sleep(BLOCK_USE_MAX).await;
    let late = carts.app.blocks.take(pending()).await.unwrap();
    assert!(!used.contains(&Block::of(late.reservation())), "its block is out of use");
}

#[tokio::test]
async fn a_request_waits_for_a_block_as_long_as_it_may_and_no_longer() {
    let carts = Carts::start().await;
    let mut locked = carts.lock().await;
    let unlocks = async {
        sleep(BLOCK_USE_MAX * 3 / 2).await; // the first block is out of use before it is written
        locked.execute("rollback").await.unwrap();
    };
    let soon = carts.app.blocks.take(sleep(Duration::from_millis(300)));
    let (patient, soon, ()) = tokio::join!(carts.app.blocks.take(pending()), soon, unlocks);
    let overloaded = Some(Unavailable::Overloaded { at: "writer" });
    assert_eq!(soon.err(), overloaded);
    patient.unwrap().settle();
    let gone = carts.app.blocks.take(ready(())).await;
    assert_eq!(gone.err(), overloaded, "a reservation is there, and nobody wants it");
}
