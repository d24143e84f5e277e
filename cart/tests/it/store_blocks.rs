//! What the tables promise about blocks of attempts, on each database.

use crate::store::{begin, cancel, confirm, done, outcomes};
use cart::domain::{Attempt, Block, Command, Refusal, Reply};
use cart::store;
use chassis::on_each_database;
use chassis::storage::{Db, ids};
use chassis::testing::carry_out;
use common_events::ReservationId;

on_each_database!(
    store::schema();
    a_block_is_there_until_it_is_closed,
    what_a_block_leaves_is_cancelled,
    a_cancelled_attempt_of_a_block_waits_for_its_release,
    ; replicas: a_block_that_another_replica_expires_makes_no_cart_any_more,
);

/// A block, and attempts in it.
fn block<const N: usize>() -> (Block, [Attempt; N]) {
    let (first, _) = begin(None);
    let block = Block::of(first.reservation_id);
    let attempt = |place: usize| {
        let reservation_id = block.reservation(u8::try_from(place).unwrap());
        Attempt { reservation_id, ..first.clone() }
    };
    (block, std::array::from_fn(attempt))
}

async fn cancelled(db: &Db) -> Vec<ReservationId> {
    store::cancelled_attempts(db, 1_000).await.unwrap()
}

async fn a_block_is_there_until_it_is_closed(db: Db) {
    let (block, [one, other]) = block();
    assert_eq!(done(&db, Command::OpenBlock(block)).await, Reply::Begun);
    assert_eq!(store::blocks(&db, 10).await.unwrap(), [block]);
    assert!(store::pending_attempts(&db, 10).await.unwrap().is_empty(), "it is one row");
    assert!(matches!(done(&db, confirm(&one)).await, Reply::Cart(_)));
    done(&db, Command::CloseBlock(block)).await;
    assert!(store::blocks(&db, 10).await.unwrap().is_empty() && cancelled(&db).await.is_empty());
    assert_eq!(outcomes(&db, &[confirm(&other)]).await, [Err(Refusal::AttemptCancelled)]);
    assert_eq!(ids::count_live(&db, "carts").await.unwrap(), 1);
}

async fn what_a_block_leaves_is_cancelled(db: Db) {
    let (block, [made, removed, given_up, late]) = block();
    done(&db, Command::OpenBlock(block)).await;
    outcomes(&db, &[confirm(&made), confirm(&removed), cancel(&given_up)]).await;
    outcomes(&db, &[cancel(&removed)]).await; // nobody was told of the cart
    done(&db, Command::ExpireBlock(block)).await;
    let mut left: Vec<_> = block.reservations().collect();
    left.retain(|id| ![made.reservation_id, removed.reservation_id].contains(id));
    assert_eq!(cancelled(&db).await, left, "those that became no cart");
    assert!(store::blocks(&db, 10).await.unwrap().is_empty());
    assert_eq!(outcomes(&db, &[confirm(&late)]).await, [Err(Refusal::AttemptCancelled)]);
    for again in [cancel(&late), Command::ExpireBlock(block), Command::CloseBlock(block)] {
        done(&db, again).await;
    }
    assert_eq!(cancelled(&db).await, left, "once is enough");
    assert_eq!(ids::count_live(&db, "carts").await.unwrap(), 1);
}

async fn a_cancelled_attempt_of_a_block_waits_for_its_release(db: Db) {
    let (block, [one]) = block();
    let reservation = one.reservation_id;
    done(&db, Command::OpenBlock(block)).await;
    done(&db, cancel(&one)).await;
    assert_eq!(cancelled(&db).await, [reservation]);
    assert_eq!(outcomes(&db, &[confirm(&one)]).await, [Err(Refusal::AttemptCancelled)]);
    done(&db, Command::CloseBlock(block)).await;
    assert_eq!(cancelled(&db).await, [reservation], "also when its block is gone");
    assert_eq!(outcomes(&db, &[confirm(&one)]).await, [Err(Refusal::AttemptCancelled)]);
    done(&db, Command::CloseAttempt { reservation }).await;
    assert!(cancelled(&db).await.is_empty());
}

async fn a_block_that_another_replica_expires_makes_no_cart_any_more(one: Db, other: Db) {
    let mut both_ways = [0, 0];
    for round in 0..40 {
        let (block, [attempt]) = block();
        done(&one, Command::OpenBlock(block)).await;
        let (confirm, expire) = ([confirm(&attempt)], [Command::ExpireBlock(block)]);
        let confirm = carry_out(&one, &cart::model::CartModel, &confirm);
        let expire = carry_out(&other, &cart::model::CartModel, &expire);
        // First in each order, and then at the same time.
        let (confirmed, expired) = match round {
            0 => (confirm.await, expire.await),
            1 => {
                let expired = expire.await;
                (confirm.await, expired)
            }
            _ => tokio::join!(confirm, expire),
        };
        expired.unwrap();
        let confirmed = confirmed.unwrap().remove(0);
        assert!(matches!(confirmed, Ok(Reply::Cart(_)) | Err(Refusal::AttemptCancelled)));
        let is_released = cancelled(&one).await.contains(&attempt.reservation_id);
        assert_eq!(
            is_released,
            confirmed.is_err(),
            "a cart without stock, or stock without a cart"
        );
        both_ways[usize::from(is_released)] += 1;
        let ids = block.reservations().map(|reservation| Command::CloseAttempt { reservation });
        outcomes(&one, &ids.collect::<Vec<_>>()).await;
    }
    assert!(!both_ways.contains(&0), "one of the orders never was: {both_ways:?}");
}
