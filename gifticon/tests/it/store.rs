//! What the tables of stock promise, on each database.

use axum::http::HeaderMap;
use chassis::auth::Principal;
use chassis::http::hal::Collection;
use chassis::http::{BaseUrl, Query};
use chassis::model::{Ids, Publications};
use chassis::on_each_database;
use chassis::storage::{Db, Reads, Schema, ids};
use chassis::testing::{TestDb, carry_out, eventually};
use common_events::{ExpectedVersions, GifticonId, Owner, ReservationId};
use gifticon::app::StockModel;
use gifticon::domain::{Change, Command, Refusal, Reply};
use gifticon::store::{self, GIFTICONS, GifticonRow};
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row, query};
use uuid::Uuid;

on_each_database!(
    store::schema();
    what_is_saved_comes_back_the_same,
    a_batch_of_many_rows_is_one_transaction,
    what_comes_and_goes_in_one_batch_is_as_it_ended,
    a_reservation_that_another_replica_released_is_not_overwritten,
    a_second_registration_of_a_number_fails_in_the_table,
    the_table_refuses_to_sell_what_is_not_there,
    a_transaction_that_is_dropped_leaves_nothing,
    rows_count_from_one_and_are_not_given_again,
    pages_lead_through_all_in_any_order,
    ; replicas: two_replicas_sell_what_is_there_and_no_more,
    a_release_at_one_replica_and_its_reservation_at_another_leave_nothing_held,
);

fn register(number: i64, available: i64) -> Command {
    let (gifticon_id, name) = (GifticonId(number), format!("Gifticon {number:04}"));
    Command::Register { gifticon_id, name, available, price: 5000 - number }
}

fn reserve(reservation: ReservationId, number: i64, quantity: i64) -> Command {
    reserve_for(&Owner::GUEST, reservation, number, quantity)
}

fn reserve_for(owner: &Owner, reservation: ReservationId, number: i64, quantity: i64) -> Command {
    let (gifticon_id, owner) = (GifticonId(number), owner.clone());
    Command::Reserve { reservation, gifticon_id, quantity, owner }
}

fn delete(id: i64) -> Command {
    Command::Delete { id, expected: ExpectedVersions::default() }
}

fn new_reservation() -> ReservationId {
    ReservationId(Uuid::new_v4())
}

async fn done(db: &Db, commands: &[Command]) -> Vec<Reply> {
    let outcomes = carry_out(db, &StockModel, commands).await.unwrap();
    outcomes.into_iter().map(Result::unwrap).collect()
}

async fn refused(db: &Db, command: Command) -> Refusal {
    let mut outcomes = carry_out(db, &StockModel, &[command]).await.unwrap();
    outcomes.remove(0).unwrap_err()
}

async fn what_is_saved_comes_back_the_same(db: Db) {
    let (held, early) = (new_reservation(), new_reservation());
    let alice = Owner::of_subject("https://id.example", "alice");
    let replies = done(&db, &[register(7, 10), reserve_for(&alice, held, 7, 3)]).await;
    let Reply::Gifticon(at_first) = &replies[0] else { panic!("{replies:?}") };
    assert_eq!((at_first.id, at_first.available), (1, 10));
    let Reply::Reservation { reservation: made, is_new: true } = &replies[1] else {
        panic!("{replies:?}")
    };
    assert_eq!((made.left, made.price, made.name.as_str()), (7, 4993, "Gifticon 0007"));
    assert_eq!(made.owner, alice);

    let read = store::by_number(&db, 7).await.unwrap().unwrap();
    assert_eq!((read.available, read.held, read.version), (7, 3, 2));
    assert_eq!(store::by_row(&db, 1).await.unwrap().unwrap(), read);
    // The repeat is answered as the first time, although stock has moved on since. So is one by a cart of a version that tells
    // no owner.
    done(&db, &[reserve(new_reservation(), 7, 2)]).await;
    let again = done(&db, &[reserve(held, 7, 3)]).await;
    assert!(
        matches!(&again[0], Reply::Reservation { reservation, is_new: false } if reservation == made),
        "{again:?}"
    );
    assert_eq!(refused(&db, reserve(held, 7, 4)).await, Refusal::ReservationDiffers);

    done(&db, &[Command::Release { reservation: held }, Command::Release { reservation: early }])
        .await;
    done(&db, &[Command::Release { reservation: held }]).await;
    let read = store::by_row(&db, 1).await.unwrap().unwrap();
    assert_eq!((read.available, read.held), (8, 2));
    for gone in [held, early] {
        assert_eq!(refused(&db, reserve(gone, 7, 1)).await, Refusal::ReservationReleased);
    }
    let change =
        Change {
            name: Some("라떼".into()), price: Some(1), restock: Some(5), ..Change::default()
        };
    done(&db, &[Command::Change { id: 1, change }]).await;
    let read = store::by_row(&db, 1).await.unwrap().unwrap();
    assert_eq!((read.name.as_str(), read.price, read.available), ("라떼", 1, 13));
    assert_eq!(store::units(&db).await.unwrap(), (13, 2));
    assert_eq!(refused(&db, delete(1)).await, Refusal::GifticonHeld { held: 2 });
}

async fn a_batch_of_many_rows_is_one_transaction(db: Db) {
    let registrations: Vec<Command> = (1..=1_300).map(|number| register(number, 5)).collect();
    done(&db, &registrations).await;
    let reservations: Vec<Command> =
        (1..=1_300).map(|number| reserve(new_reservation(), number, 2)).collect();
    done(&db, &reservations).await;
    assert_eq!(store::units(&db).await.unwrap(), (1_300 * 3, 1_300 * 2));
    let releases: Vec<Command> = reservations
        .iter()
        .map(|command| match command {
            Command::Reserve { reservation, .. } => Command::Release { reservation: *reservation },
            other => panic!("{other:?}"),
        })
        .collect();
    done(&db, &releases).await;
    assert_eq!(store::units(&db).await.unwrap(), (1_300 * 5, 0));
}

async fn what_comes_and_goes_in_one_batch_is_as_it_ended(db: Db) {
    let (once, never) = (new_reservation(), new_reservation());
    let release = Command::Release { reservation: once };
    let delete = delete(2);
    let batch =
        [register(1, 5), reserve(once, 1, 2), release, register(2, 1), delete, register(2, 9)];
    done(&db, &batch).await;
    assert_eq!(store::units(&db).await.unwrap(), (14, 0));
    assert_eq!(refused(&db, reserve(once, 1, 2)).await, Refusal::ReservationReleased);
    assert_eq!(store::by_number(&db, 2).await.unwrap().unwrap().id, 3);
    assert_eq!(refused(&db, reserve(never, 3, 1)).await, Refusal::UnknownGifticon);
}

async fn a_reservation_that_another_replica_released_is_not_overwritten(db: Db) {
    done(&db, &[register(1, 5)]).await;
    let id = new_reservation();
    // This replica read that there is no such reservation …
    let stale = {
        let mut tx = db.begin().await.unwrap();
        store::load(&mut tx, &[&reserve(id, 1, 2)]).await.unwrap()
    };
    // … when the other one took a release of it, which came first.
    done(&db, &[Command::Release { reservation: id }]).await;
    let mut stock = stale;
    stock.handle(&reserve(id, 1, 2), &mut Publications::default()).unwrap();
    let mut tx = db.begin().await.unwrap();
    store::save(&mut tx, &stock).unwrap();
    assert!(tx.flush().await.is_err(), "the tombstone was overwritten");
    drop(tx);
    assert_eq!(refused(&db, reserve(id, 1, 2)).await, Refusal::ReservationReleased);
    assert_eq!(store::units(&db).await.unwrap(), (5, 0));
}

/// Of two replicas, which only Postgres has: both are asked for the last units under one name, as cart does
/// when the connection of its first question broke.
#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn two_replicas_answer_one_question_with_one_yes() {
    let test = TestDb::postgres().await;
    let schema = store::schema();
    let (one, other) = (test.open(&schema).await, test.open(&schema).await);
    done(&one, &[register(1, 2)]).await;
    let question = reserve(new_reservation(), 1, 2);

    let mut tx = one.begin().await.unwrap();
    let mut stock = store::load(&mut tx, &[&question]).await.unwrap();
    stock.handle(&question, &mut Publications::default()).unwrap();
    store::save(&mut tx, &stock).unwrap();
    let repeat = question.clone();
    let again = tokio::spawn(async move { done(&other, &[repeat]).await });
    let blocked = "select count(*) from pg_stat_activity \
                   where datname = current_database() and wait_event_type = 'Lock'";
    eventually("the second to wait for the first", async || {
        let row = one.fetch_one(query(blocked)).await.unwrap();
        (row.get::<i64, _>(0) > 0).then_some(())
    })
    .await;
    assert!(!again.is_finished(), "it did not wait for the first");
    tx.commit().await.unwrap();
    let replies = again.await.unwrap();
    assert!(matches!(replies[0], Reply::Reservation { is_new: false, .. }), "{replies:?}");

    // And a release of it at one does not stand in the way of the other.
    let Command::Reserve { reservation, .. } = question else { unreachable!() };
    done(&one, &[Command::Release { reservation }, reserve(new_reservation(), 1, 1)]).await;
    assert_eq!(store::units(&one).await.unwrap(), (1, 1));
}

async fn a_second_registration_of_a_number_fails_in_the_table(db: Db) {
    done(&db, &[register(1, 5)]).await;
    assert_eq!(refused(&db, register(1, 5)).await, Refusal::GifticonExists(GifticonId(1)));
    let twice = "insert into gifticons (id, gifticon_id, name, available, held, price, version) \
                 values (9, 1, 'x', 1, 0, 1, 1)";
    let mut tx = db.begin().await.unwrap();
    assert!(query(twice).execute(&mut *tx).await.is_err());
}

async fn the_table_refuses_to_sell_what_is_not_there(db: Db) {
    done(&db, &[register(1, 5)]).await;
    for below in ["available = -1", "held = -1", "price = -1"] {
        let mut tx = db.begin().await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("update gifticons set {below} where id = 1"));
        assert!(query(sql).execute(&mut *tx).await.is_err(), "{below} was taken");
    }
}

async fn a_transaction_that_is_dropped_leaves_nothing(db: Db) {
    done(&db, &[register(1, 5)]).await;
    {
        let mut tx = db.begin().await.unwrap();
        let command = reserve(new_reservation(), 1, 2);
        let mut stock = store::load(&mut tx, &[&command]).await.unwrap();
        stock.handle(&command, &mut Publications::default()).unwrap();
        store::save(&mut tx, &stock).unwrap();
        tx.flush().await.unwrap();
    }
    assert_eq!(store::units(&db).await.unwrap(), (5, 0));
}

async fn rows_count_from_one_and_are_not_given_again(db: Db) {
    let counter = async || {
        let mut tx = db.begin().await.unwrap();
        let mut reads = Reads::of(&tx);
        let ids = ids::lock(&mut reads, "gifticons");
        ids::read(&reads.run(&mut tx).await.unwrap(), &ids).unwrap()
    };
    assert_eq!(counter().await, Ids::read(0, 0, 0));
    done(&db, &[register(7, 1), register(9, 1)]).await;
    assert_eq!(refused(&db, register(9, 1)).await, Refusal::GifticonExists(GifticonId(9)));
    done(&db, &[delete(2)]).await;
    assert_eq!(counter().await, Ids::read(2, 1, 0));
    done(&db, &[register(9, 1)]).await;
    assert_eq!(store::by_number(&db, 9).await.unwrap().unwrap().id, 3);
    assert_eq!(counter().await, Ids::read(3, 2, 0));
    // A batch that changes stock but makes no gifticon leaves the counter alone.
    done(&db, &[reserve(new_reservation(), 7, 1)]).await;
    assert_eq!(counter().await, Ids::read(3, 2, 0));
}

async fn page(db: &Db, query: &str) -> Value {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = Query(pairs.map(|(name, value)| (name.into(), value.into())).collect());
    let read = |row: GifticonRow| (row.id, serde_json::json!({ "id": row.id }));
    let page: Result<Collection<_>, _> =
        GIFTICONS.page(db, &BaseUrl::of(&HeaderMap::new()), &Principal::open(), &query, read).await;
    serde_json::to_value(page.unwrap_or_else(|problem| panic!("{problem:?}"))).unwrap()
}

fn ids(page: &Value) -> Vec<i64> {
    let items = page["_embedded"]["gifticons"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

async fn pages_lead_through_all_in_any_order(db: Db) {
    let registrations: Vec<Command> = (1..=45).map(|number| register(number, 5)).collect();
    done(&db, &registrations).await;
    let mut found = Vec::new();
    let mut next = Some("size=20".to_owned());
    while let Some(query) = next {
        let page = page(&db, &query).await;
        assert_eq!(
            (&page["page"]["totalElements"], &page["page"]["totalPages"]),
            (&45.into(), &3.into())
        );
        found.extend(ids(&page));
        let href = page["_links"]["next"]["href"].as_str();
        assert_eq!(href.is_some(), found.len() < 45, "next leads somewhere: {page}");
        assert!(
            href.is_none_or(|href| href.contains("after=")),
            "it costs no more deep down: {page}"
        );
        next = href.and_then(|href| Some(href.split_once('?')?.1.to_owned()));
    }
    assert_eq!(found, (1..=45).collect::<Vec<_>>());
    assert_eq!(ids(&page(&db, "page=2").await), (41..=45).collect::<Vec<_>>(), "the last page");
    assert_eq!(ids(&page(&db, "page=1").await), (21..=40).collect::<Vec<_>>());
    assert!(ids(&page(&db, "page=3").await).is_empty());
    // The price falls with the number.
    assert_eq!(ids(&page(&db, "sort=price&size=2").await), [45, 44]);
    assert_eq!(
        ids(&page(&db, "sort=availableQuantity&sort=name,desc&size=2&page=1").await),
        [43, 42]
    );
}

/// What a replica makes of a command, which it tries again once where the other was in its way.
async fn at(replica: &Db, command: Command) -> Result<Reply, Refusal> {
    let (model, commands) = (StockModel, [command]);
    match carry_out(replica, &model, &commands).await {
        Ok(mut outcomes) => outcomes.remove(0),
        Err(_) => carry_out(replica, &model, &commands).await.unwrap().remove(0),
    }
}

async fn two_replicas_sell_what_is_there_and_no_more(one: Db, other: Db) {
    let register = async |replica: &Db, numbers: std::ops::Range<i64>| {
        for number in numbers {
            at(replica, register(number, 30)).await.unwrap();
        }
    };
    tokio::join!(register(&one, 1..21), register(&other, 21..41));
    for id in 1..=40 {
        assert!(store::by_row(&one, id).await.unwrap().is_some(), "there is a gap at {id}");
    }
    let sell = async |replica: &Db| {
        let mut sold = 0;
        for _ in 0..20 {
            sold += i64::from(at(replica, reserve(new_reservation(), 1, 1)).await.is_ok());
        }
        sold
    };
    let (here, there) = tokio::join!(sell(&one), sell(&other));
    assert_eq!(here + there, 30, "{here} and {there}");
    let sold_out = store::by_number(&other, 1).await.unwrap().unwrap();
    assert_eq!((sold_out.available, sold_out.held), (0, 30));
}

async fn a_release_at_one_replica_and_its_reservation_at_another_leave_nothing_held(
    one: Db,
    other: Db,
) {
    at(&one, register(1, 5)).await.unwrap();
    for _ in 0..30 {
        let id = new_reservation();
        let (made, released) = tokio::join!(
            at(&one, reserve(id, 1, 2)),
            at(&other, Command::Release { reservation: id })
        );
        assert!(matches!(made, Ok(_) | Err(Refusal::ReservationReleased)), "{made:?}");
        released.unwrap();
        assert_eq!(store::units(&one).await.unwrap(), (5, 0));
        assert!(at(&one, reserve(id, 1, 2)).await.is_err(), "what is released stays released");
    }
}

/// What was reserved before reservations had owners.
async fn reservations_of_before_are_guests(test: TestDb) {
    let before =
        Schema::new(&[(1001, "gifticon", include_str!("../../migrations/1001_gifticon.sql"))]);
    let db = Db::open(&test.url, &before).await.unwrap();
    db.migrate(&before).await;
    let held = new_reservation();
    let mut connection = AnyConnection::connect(test.url.as_str()).await.unwrap();
    for statement in [
        "insert into gifticons (id, gifticon_id, name, available, held, price, version) \
         values (1, 7, 'Americano', 5, 2, 5000, 1)"
            .to_owned(),
        format!(
            "insert into reservations (id, gifticon_id, quantity, name, price, left_over, status, changed_at) \
             values ('{held}', 7, 2, 'Americano', 5000, 5, 'Held', 0)"
        ),
    ] {
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    db.close().await;
    let db = Db::open(&test.url, &store::schema()).await.unwrap();
    db.migrate(&store::schema()).await;
    let again = done(&db, &[reserve(held, 7, 2)]).await;
    let Reply::Reservation { reservation, is_new: false } = &again[0] else { panic!("{again:?}") };
    assert_eq!(reservation.owner, Owner::GUEST);
    done(&db, &[Command::Release { reservation: held }]).await;
    assert_eq!(store::units(&db).await.unwrap(), (7, 0));
    db.close().await;
}

#[tokio::test]
async fn reservations_of_before_are_guests_on_sqlite() {
    reservations_of_before_are_guests(TestDb::sqlite()).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn reservations_of_before_are_guests_on_postgres() {
    reservations_of_before_are_guests(TestDb::postgres().await).await;
}
