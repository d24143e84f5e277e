//! What the tables promise about idempotency keys, on each database.

use crate::store::{add, begin, cancel, confirm, done, outcomes};
use cart::domain::{Command, Outcome, Refusal, Rejection, Reply};
use cart::store;
use chassis::listing::Scope;
use chassis::model::Publications;
use chassis::on_each_database;
use chassis::storage::Db;

on_each_database!(
    store::schema();
    a_key_remembers_how_its_request_ended,
    a_key_that_another_replica_took_is_not_taken_again,
    a_key_whose_cart_was_rolled_back_is_free,
);

async fn a_key_remembers_how_its_request_ended(db: Db) {
    let made = add(&db, Some("added")).await;
    let ends = [
        ("gone", Rejection::UnknownGifticon),
        ("short", Rejection::InsufficientStock { available: 2 }),
    ];
    for (key, rejection) in ends {
        let (attempt, begun) = begin(Some(key));
        done(&db, begun).await;
        let reservation = attempt.reservation_id;
        done(&db, Command::Refuse { reservation, rejection }).await;
    }
    let ask = async |key| done(&db, begin(Some(key)).1).await;
    assert_eq!(ask("added").await, Reply::Repeated(Outcome::Added(made.id), Some(made.clone())));
    for (key, rejection) in ends {
        assert_eq!(ask(key).await, Reply::Repeated(Outcome::Rejected(rejection), None));
    }
    assert_eq!(ask("new").await, Reply::Begun);
    assert_eq!(ask("new").await, Reply::Repeated(Outcome::Pending, None));

    let (mut other, _) = begin(Some("added"));
    other.quantity = 4;
    assert_eq!(outcomes(&db, &[Command::BeginAttempt(other)]).await, [Err(Refusal::KeyReused)]);

    // A request that was cancelled leaves its key for the next try.
    let (attempt, first) = begin(Some("again"));
    done(&db, first).await;
    done(&db, cancel(&attempt)).await;
    assert_eq!(ask("again").await, Reply::Begun);
    // Also where both are in one batch.
    let (attempt, first) = begin(Some("at once"));
    let (_, second) = begin(Some("at once"));
    done(&db, first).await;
    let both = outcomes(&db, &[cancel(&attempt), second]).await;
    assert_eq!(both, [Ok(Reply::Done), Ok(Reply::Begun)]);
}

async fn a_key_that_another_replica_took_is_not_taken_again(db: Db) {
    let (_, mine) = begin(Some("k"));
    let mut stale = {
        let mut tx = db.begin().await.unwrap();
        store::load(&mut tx, &[&mine]).await.unwrap()
    };
    add(&db, Some("k")).await;
    stale.handle(&mine, &mut Publications::default()).unwrap();
    let mut tx = db.begin().await.unwrap();
    store::save(&mut tx, &stale).unwrap();
    assert!(tx.flush().await.is_err(), "two requests got one key");
}

async fn a_key_whose_cart_was_rolled_back_is_free(db: Db) {
    let confirmed = async |key| {
        let (attempt, begun) = begin(Some(key));
        done(&db, begun).await;
        let Reply::Cart(cart) = done(&db, confirm(&attempt)).await else { panic!("no cart") };
        (attempt, cart)
    };
    let (attempt, cart) = confirmed("k").await;
    let (_, other) = confirmed("other").await;
    done(&db, cancel(&attempt)).await;
    assert!(store::by_id(&db, &Scope::All, cart.id.0).await.unwrap().is_none());
    assert_eq!(done(&db, begin(Some("k")).1).await, Reply::Begun);
    let again = Reply::Repeated(Outcome::Added(other.id), Some(other));
    assert_eq!(done(&db, begin(Some("other")).1).await, again, "it is another's");
    // Also where its repeat is in the same batch.
    let (attempt, cart) = confirmed("at once").await;
    let repeat = || begin(Some("at once")).1;
    let three = outcomes(&db, &[repeat(), cancel(&attempt), repeat()]).await;
    let repeated = Reply::Repeated(Outcome::Added(cart.id), Some(cart));
    assert_eq!(three, [Ok(repeated), Ok(Reply::Done), Ok(Reply::Begun)]);
    assert_eq!(done(&db, repeat()).await, Reply::Repeated(Outcome::Pending, None));
    // And where the cart was made in that batch.
    let (attempt, begun) = begin(Some("made at once"));
    done(&db, begun).await;
    let both = outcomes(&db, &[confirm(&attempt), cancel(&attempt)]).await;
    assert!(both.iter().all(Result::is_ok));
    assert_eq!(done(&db, begin(Some("made at once")).1).await, Reply::Begun);
}
