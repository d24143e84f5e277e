//! What the carts' tables promise, on each database.

use cart::app::{Answer, CartDomain};
use cart::domain::{Cart, Command, Intent, No, Outcome, Refusal, Status};
use cart::store;
use chassis::Counter;
use chassis::db::Db;
use chassis::on_each_database;
use chassis::testing::carry_out;
use common_events::{CartId, GifticonId, ReservationId};
use uuid::Uuid;

on_each_database!(
    store::schema();
    a_cart_comes_back_as_it_was_made,
    ids_count_from_one_without_gaps,
    a_batch_of_many_rows_is_one_transaction,
    intents_wait_until_they_are_ended,
    a_key_remembers_how_its_request_ended,
    a_key_that_another_replica_took_is_not_taken_again,
    what_is_gone_is_not_shown,
);

fn intend(key: Option<&str>) -> (ReservationId, Command) {
    let reservation_id = ReservationId(Uuid::new_v4());
    let intent = Intent {
        reservation_id,
        gifticon_id: GifticonId(1),
        quantity: 3,
        key: key.map(Into::into),
        abandoned: false,
        since: 1_000,
    };
    (reservation_id, Command::Intend(intent))
}

fn confirm(reservation: ReservationId) -> Command {
    Command::Confirm { reservation, name: "아메리카노".into(), price: 5000, at: 2_000 }
}

async fn outcomes(db: &Db, commands: &[Command]) -> Vec<Result<Answer, Refusal>> {
    carry_out(db, &CartDomain { db: db.clone() }, commands).await.unwrap()
}

async fn done(db: &Db, command: Command) -> Answer {
    outcomes(db, &[command]).await.remove(0).unwrap()
}

/// Adds a cart in two transactions, as a request does.
async fn add(db: &Db, key: Option<&str>) -> Cart {
    let (reservation, intend) = intend(key);
    assert_eq!(done(db, intend).await, Answer::Intended);
    match done(db, confirm(reservation)).await {
        Answer::Cart(cart) => cart,
        other => panic!("{other:?}"),
    }
}

async fn a_cart_comes_back_as_it_was_made(db: Db) {
    let made = add(&db, None).await;
    assert_eq!(store::by_id(&db, 1).await.unwrap().unwrap(), made);
    assert_eq!((made.name.as_str(), made.amount(), made.added_at), ("아메리카노", 15_000, 2_000));
    assert_eq!(
        done(&db, confirm(made.reservation_id)).await,
        Answer::Cart(made),
        "confirmed twice is once"
    );
    done(&db, Command::MarkPaid { id: CartId(1) }).await;
    assert_eq!(store::by_id(&db, 1).await.unwrap().unwrap().status, Status::Paid);
    assert!(store::by_id(&db, 2).await.unwrap().is_none());
}

async fn ids_count_from_one_without_gaps(db: Db) {
    for wanted in 1..=3 {
        let (refused, intend) = intend(None);
        done(&db, intend).await;
        done(&db, Command::Refuse { reservation: refused, no: No::NoGifticon }).await;
        assert_eq!(add(&db, None).await.id, CartId(wanted));
    }
}

async fn a_batch_of_many_rows_is_one_transaction(db: Db) {
    let (ids, intents): (Vec<_>, Vec<_>) =
        (0..1_300).map(|n| intend(Some(&format!("key {n}")))).unzip();
    assert!(outcomes(&db, &intents).await.into_iter().all(|one| one == Ok(Answer::Intended)));
    let confirms: Vec<Command> = ids.into_iter().map(confirm).collect();
    assert!(outcomes(&db, &confirms).await.into_iter().all(|one| one.is_ok()));
    assert_eq!(Counter::live(&db, "carts").await.unwrap(), 1_300);
    let removes: Vec<Command> = (1..=1_300).map(|id| Command::Remove { id: CartId(id) }).collect();
    assert!(outcomes(&db, &removes).await.into_iter().all(|one| one.is_ok()));
    assert_eq!(Counter::live(&db, "carts").await.unwrap(), 0);
    assert!(store::stale_intents(&db, i64::MAX, 10).await.unwrap().is_empty());
}

async fn intents_wait_until_they_are_ended(db: Db) {
    let (id, intend) = intend(None);
    done(&db, intend).await;
    assert!(store::stale_intents(&db, 1_000, 10).await.unwrap().is_empty(), "it is not older");
    assert_eq!(store::stale_intents(&db, 1_001, 10).await.unwrap(), [id]);
    assert!(store::abandoned_intents(&db, 10).await.unwrap().is_empty());

    done(&db, Command::Abandon { reservation: id }).await;
    assert!(store::stale_intents(&db, i64::MAX, 10).await.unwrap().is_empty());
    assert_eq!(store::abandoned_intents(&db, 10).await.unwrap(), [id]);
    assert_eq!(outcomes(&db, &[confirm(id)]).await, [Err(Refusal::Abandoned)]);

    done(&db, Command::Forget { reservation: id }).await;
    assert!(store::abandoned_intents(&db, 10).await.unwrap().is_empty());
}

async fn a_key_remembers_how_its_request_ended(db: Db) {
    let made = add(&db, Some("added")).await;
    let ends = [("gone", No::NoGifticon), ("short", No::Short { available: 2 })];
    for (key, no) in ends {
        let (reservation, intend) = intend(Some(key));
        done(&db, intend).await;
        done(&db, Command::Refuse { reservation, no }).await;
    }
    let ask = async |key| done(&db, intend(Some(key)).1).await;
    assert_eq!(ask("added").await, Answer::Before(Outcome::Added(made.id), Some(made.clone())));
    for (key, no) in ends {
        assert_eq!(ask(key).await, Answer::Before(Outcome::Refused(no), None));
    }
    assert_eq!(ask("new").await, Answer::Intended);
    assert_eq!(ask("new").await, Answer::Before(Outcome::Pending, None));

    let (_, other) = intend(Some("added"));
    let Command::Intend(mut other) = other else { panic!("it intends") };
    other.quantity = 4;
    assert_eq!(outcomes(&db, &[Command::Intend(other)]).await, [Err(Refusal::KeyReused)]);

    // A request that was given up leaves its key for the next try.
    let (reservation, first) = intend(Some("again"));
    done(&db, first).await;
    done(&db, Command::Abandon { reservation }).await;
    assert_eq!(ask("again").await, Answer::Intended);
    // Also where both are in one batch.
    let (reservation, first) = intend(Some("at once"));
    let (_, second) = intend(Some("at once"));
    done(&db, first).await;
    let both = outcomes(&db, &[Command::Abandon { reservation }, second]).await;
    assert_eq!(both, [Ok(Answer::Done), Ok(Answer::Intended)]);
}

async fn a_key_that_another_replica_took_is_not_taken_again(db: Db) {
    let (_, mine) = intend(Some("k"));
    let mut stale = {
        let mut tx = db.begin().await.unwrap();
        store::load(&mut tx, &db, &[&mine]).await.unwrap()
    };
    add(&db, Some("k")).await;
    let events = stale.decide(&mine).unwrap();
    events.iter().for_each(|event| stale.evolve(event));
    let mut tx = db.begin().await.unwrap();
    assert!(store::save(&mut tx, &stale, &events).await.is_err(), "two requests got one key");
}

async fn what_is_gone_is_not_shown(db: Db) {
    let made = add(&db, None).await;
    done(&db, Command::Remove { id: made.id }).await;
    assert!(store::by_id(&db, made.id.0).await.unwrap().is_none());
    assert_eq!(outcomes(&db, &[Command::Remove { id: made.id }]).await, [Err(Refusal::Absent)]);
    done(&db, Command::MarkPaid { id: made.id }).await;
    assert!(store::by_id(&db, made.id.0).await.unwrap().is_none(), "what is gone stays gone");
    assert_eq!(add(&db, None).await.id, CartId(2), "ids are not given again");
}
