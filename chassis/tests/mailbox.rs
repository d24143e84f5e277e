//! Writer, outbox, relay, inbox and parking place, as a service sees them, on each database.

mod common;

use chassis::base::patience::PATIENCE;
use chassis::base::unavailable::Unavailable;
use chassis::bus::PublishError;
use chassis::storage::{Db, Dialect, Tx};
use chassis::testing::{TestDb, eventually};
use chassis::writer::CommandError;
use common::{Add, Negative, Scripted, Service, cart_added};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::Value;
use sqlx::Row;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

macro_rules! on_each_database {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $test() { super::$test(super::TestDb::sqlite()).await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $test() {
                match super::TestDb::postgres().await {
                    Some(db) => super::$test(db).await,
                    None => eprintln!("skipped: TEST_DATABASE_URL is unset"),
                }
            })*
        }
    };
}

on_each_database!(
    commands_are_answered_in_order_and_are_durable,
    a_refusal_or_a_failure_changes_nothing_and_stops_nothing,
    who_waits_in_vain_for_the_writer_is_refused_after_the_patience_and_nothing_is_done,
    a_pause_of_the_database_refuses_nobody_however_many_wait,
    what_its_caller_gave_up_is_not_done,
    what_happened_is_told_in_order_and_leaves_the_outbox,
    an_unknown_outcome_is_sent_again_with_all_that_follows,
    what_waits_for_the_broker_shows_in_the_metrics,
    what_the_broker_refuses_is_parked_and_can_be_sent_again,
    an_event_that_comes_twice_is_acted_on_once,
    the_same_event_twice_in_one_batch_is_acted_on_once,
    an_event_that_fails_is_parked_with_its_key_and_others_go_on,
    a_message_that_is_no_event_is_parked_and_can_be_given_up,
    what_cannot_have_an_effect_holds_no_key_back,
    an_event_that_cannot_be_read_holds_its_key_back,
    what_has_no_id_is_told_by_its_content_as_well,
    every_event_that_is_said_to_be_parked_can_be_seen,
    a_replay_that_fails_again_keeps_the_order,
    more_is_replayed_than_is_read_at_once,
    a_key_that_a_database_cannot_keep_stops_nobody,
    random_bytes_are_parked_or_skipped,
    two_replicas_send_each_event_in_order,
    a_look_up_that_was_planned_for_a_small_table_stays_one,
);

async fn commands_are_answered_in_order_and_are_durable(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    let adds = (1..=1_200).map(|number| (Add { id: number % 3, number: 1 }, None));
    let answers = service.writer.execute_all(adds).await;
    let answers: Vec<i64> = answers.into_iter().map(Result::unwrap).collect();
    for (place, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, i64::try_from(place / 3 + 1).unwrap());
    }
    assert_eq!(service.total(0).await, 400);
    service.running.stop(Duration::from_secs(5)).await;

    let service = Service::start(&db, &Scripted::default()).await;
    assert_eq!(service.writer.execute(Add { id: 0, number: 1 }).await.unwrap(), 401);
}

async fn a_refusal_or_a_failure_changes_nothing_and_stops_nothing(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    service.writer.execute(Add { id: 1, number: 5 }).await.unwrap();
    let refused = service.writer.execute(Add { id: 1, number: -1 }).await;
    assert!(matches!(refused, Err(CommandError::Refused(_))));
    for fails in [13, 14] {
        let failed = service.writer.execute(Add { id: 1, number: fails }).await;
        assert!(matches!(failed, Err(CommandError::Unavailable(Unavailable::Failed))));
    }
    assert_eq!(service.writer.execute(Add { id: 1, number: 1 }).await.unwrap(), 6);
}

/// Locks the row of the tally on Postgres, and the file on SQLite, until the transaction ends.
async fn lock(service: &Service, elsewhere: &Db) -> Tx<'static> {
    service.writer.execute(Add { id: 1, number: 0 }).await.unwrap();
    service.outbox_is_empty().await;
    let mut tx = elsewhere.begin().await.unwrap();
    if service.db.dialect() == Dialect::Postgres {
        let patient = "set local idle_in_transaction_session_timeout = 0";
        sqlx::query(patient).execute(&mut *tx).await.unwrap();
    }
    let lock = "update tallies set total = total where id = 1";
    sqlx::query(lock).execute(&mut *tx).await.unwrap();
    tx
}

fn ask_many(
    service: &Service,
    count: usize,
) -> JoinSet<(Result<i64, CommandError<Negative>>, Duration)> {
    let mut asked = JoinSet::new();
    for _ in 0..count {
        let writer = service.writer.clone();
        asked.spawn(async move {
            let began = Instant::now();
            (writer.execute(Add { id: 1, number: 1 }).await, began.elapsed())
        });
    }
    asked
}

async fn who_waits_in_vain_for_the_writer_is_refused_after_the_patience_and_nothing_is_done(
    db: TestDb,
) {
    let service = Service::start(&db, &Scripted::default()).await;
    let elsewhere = service.db.clone(); // a SQLite file is open once
    let locked = lock(&service, &elsewhere).await;
    let mut asked = ask_many(&service, 600); // more than go into one batch
    let (first, waited) = asked.join_next().await.unwrap().unwrap();
    let overloaded = Unavailable::Overloaded { at: "writer" };
    assert!(matches!(first, Err(CommandError::Unavailable(why)) if why == overloaded));
    assert!(waited >= PATIENCE, "it was refused after {waited:?}");
    assert!(waited < PATIENCE * 2, "it was refused after {waited:?} only");
    locked.commit().await.unwrap();
    let done = asked.join_all().await.iter().filter(|(outcome, _)| outcome.is_ok()).count();
    assert_eq!(
        service.total(1).await,
        i64::try_from(done).unwrap(),
        "what is told is what was done"
    );
    // SQLite looks at its lock every 100 ms.
    assert!(service.writer.execute(Add { id: 1, number: 1 }).await.is_ok(), "it goes on at once");
}

async fn a_pause_of_the_database_refuses_nobody_however_many_wait(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    let elsewhere = service.db.clone(); // a SQLite file is open once
    let locked = lock(&service, &elsewhere).await;
    let asked = ask_many(&service, 2_500);
    let pause = async {
        sleep(Duration::from_millis(200)).await;
        locked.commit().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(asked.join_all(), pause);
    // A machine that needs longer for all of them may refuse those who waited for it, and nobody else.
    for (outcome, waited) in &outcomes {
        assert!(outcome.is_ok() || *waited >= PATIENCE, "{outcome:?} after {waited:?}");
    }
    let done = outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count();
    assert_eq!(service.total(1).await, i64::try_from(done).unwrap());
}

async fn what_its_caller_gave_up_is_not_done(db: TestDb) {
    let service = Service::start(&db, &Scripted::default()).await;
    let elsewhere = service.db.clone(); // a SQLite file is open once
    let locked = lock(&service, &elsewhere).await;
    let writer = service.writer.clone();
    // One keeps the writer busy, so that the other waits in the queue on both databases.
    let busy = tokio::spawn(async move { writer.execute(Add { id: 1, number: 1 }).await });
    sleep(Duration::from_millis(50)).await;
    let gone =
        timeout(Duration::from_millis(100), service.writer.execute(Add { id: 1, number: 100 }));
    assert!(gone.await.is_err(), "it waits");
    locked.commit().await.unwrap();
    assert_eq!(busy.await.unwrap().unwrap(), 1);
    assert_eq!(service.writer.execute(Add { id: 1, number: 1 }).await.unwrap(), 2);
}

fn numbers(bus: &Scripted) -> Vec<i64> {
    let number =
        |payload: &str| serde_json::from_str::<Value>(payload).unwrap()["id"].as_i64().unwrap();
    bus.sent().iter().map(|message| number(&message.payload)).collect()
}

async fn what_happened_is_told_in_order_and_leaves_the_outbox(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let adds = (0..2_500).map(|number| (Add { id: number % 7, number: number + 100 }, None));
    for answer in service.writer.execute_all(adds).await {
        answer.unwrap();
    }
    service.outbox_is_empty().await;
    assert_eq!(numbers(&bus), (100..2_600).collect::<Vec<_>>());
    let message = &bus.sent()[0];
    assert_eq!(message.key, "0");
    let header = |name: &str| {
        message.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone())
    };
    let json: Value = serde_json::from_str(&message.payload).unwrap();
    assert_eq!(header("ce_id").as_deref(), json["eventId"].as_str());
    assert_eq!(header("ce_type").as_deref(), Some("QuantityModified"));
    assert_eq!(header("ce_source").as_deref(), Some("/tally"));
}

async fn an_unknown_outcome_is_sent_again_with_all_that_follows(db: TestDb) {
    let bus = Scripted::default();
    let unknown = || Err(PublishError::Unknown("the test says so".into()));
    bus.answer_next([Ok(()), unknown(), Ok(())]);
    let service = Service::start(&db, &bus).await;
    for number in 1..=3 {
        service.writer.execute(Add { id: 1, number }).await.unwrap(); // a transaction each
    }
    service.outbox_is_empty().await;
    let sent = numbers(&bus);
    let firsts: Vec<i64> = (1..=3).filter(|number| sent.contains(number)).collect();
    let mut seen = Vec::new();
    sent.iter().for_each(|number| {
        if !seen.contains(number) {
            seen.push(*number);
        }
    });
    assert_eq!(seen, firsts, "the first copies are in order: {sent:?}");
    let copies = |wanted| sent.iter().filter(|number| **number == wanted).count();
    assert_eq!(copies(1), 1, "what was acknowledged is gone: {sent:?}");
    assert_eq!(copies(2), 2, "sent again: {sent:?}");
}

async fn what_waits_for_the_broker_shows_in_the_metrics(db: TestDb) {
    let bus = Scripted::default();
    bus.answer_next((0..1_000).map(|_| Err(PublishError::Unknown("the broker is away".into()))));
    let service = Service::start(&db, &bus).await;
    for answer in
        service.writer.execute_all((1..=3).map(|number| (Add { id: 1, number }, None))).await
    {
        answer.unwrap();
    }
    eventually("three events in the gauge", async || {
        let text = metrics(&service).await;
        text.lines().any(|line| line == "outbox_events 3").then_some(())
    })
    .await;
}

async fn admin(service: &Service, method: reqwest::Method, path: &str) -> (u16, Value) {
    let client = chassis::http::client::new().unwrap();
    let url = format!("{}/admin/parked{path}", service.running.management_url().unwrap());
    let answer = client.request(method, url).send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn metrics(service: &Service) -> String {
    let url = format!("{}/metrics", service.running.management_url().unwrap());
    chassis::http::client::new().unwrap().get(url).send().await.unwrap().text().await.unwrap()
}

async fn parked(service: &Service) -> Vec<Value> {
    admin(service, reqwest::Method::GET, "").await.1.as_array().unwrap().clone()
}

async fn what_the_broker_refuses_is_parked_and_can_be_sent_again(db: TestDb) {
    let bus = Scripted::default();
    bus.answer_next([Err(PublishError::Refused("too large".into()))]);
    let service = Service::start(&db, &bus).await;
    for answer in
        service.writer.execute_all((1..=2).map(|number| (Add { id: number, number }, None))).await
    {
        answer.unwrap();
    }
    service.outbox_is_empty().await;
    assert_eq!(numbers(&bus), [2], "the others go on");
    let rows = parked(&service).await;
    assert_eq!((rows.len(), &rows[0]["reason"]), (1, &Value::from("too large")));

    // What comes in under the same key has nothing to do with it.
    let (coming, _) = bus.put_cart(1, 5);
    eventually("the event to be done", async || bus.is_done(coming).then_some(())).await;
    assert_eq!((service.total(1).await, parked(&service).await.len()), (6, 1));
    assert_eq!(
        admin(&service, reqwest::Method::POST, "/0/replay").await.0,
        404,
        "there is no such row"
    );

    service.outbox_is_empty().await;
    let (status, answer) = admin(&service, reqwest::Method::POST, "/replay").await;
    assert_eq!((status, &answer["replayed"]), (200, &Value::from(1)));
    service.outbox_is_empty().await;
    eventually("the event to be sent", async || (numbers(&bus) == [2, 5, 1]).then_some(())).await;
    assert!(parked(&service).await.is_empty());
}

async fn an_event_that_comes_twice_is_acted_on_once(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let (first, json) = bus.put_cart(1, 5);
    eventually("the event to be done", async || bus.is_done(first).then_some(())).await;
    let again = bus.put(Some("1"), &json);
    let (other, _) = bus.put_cart(1, 2);
    eventually("the others to be done", async || {
        (bus.is_done(again) && bus.is_done(other)).then_some(())
    })
    .await;
    assert_eq!(service.total(1).await, 7);

    // An event of the original has no id: its place is its id.
    let original = r#"{"eventType":"CartAdded","timestamp":"20210706081234","id":1,"gifticonId":"1","quantity":10}"#;
    let place = bus.put(Some("1"), original);
    eventually("the original's event", async || bus.is_done(place).then_some(())).await;
    assert_eq!(service.total(1).await, 17);
}

async fn the_same_event_twice_in_one_batch_is_acted_on_once(db: TestDb) {
    let bus = Scripted::default();
    let json = cart_added(Uuid::new_v4(), 1, 5);
    for _ in 0..3 {
        bus.put(Some("1"), &json);
    }
    let (last, _) = bus.put_cart(1, 1);
    let service = Service::start(&db, &bus).await;
    eventually("all to be done", async || bus.is_done(last).then_some(())).await;
    assert_eq!(service.total(1).await, 6);
}

async fn an_event_that_fails_is_parked_with_its_key_and_others_go_on(db: TestDb) {
    let bus = Scripted::default();
    bus.put_cart(1, 1);
    bus.put_cart(1, -5); // refused
    bus.put_cart(2, 13); // panics
    bus.put_cart(3, 14); // fails in the database
    bus.put_cart(1, 10);
    let (last, _) = bus.put_cart(4, 4);
    let service = Service::start(&db, &bus).await;
    eventually("all to be done", async || bus.is_done(last).then_some(())).await;
    assert_eq!((service.total(1).await, service.total(4).await), (1, 4));
    let rows = parked(&service).await;
    let keys: Vec<&str> = rows.iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["1", "2", "3", "1"], "{rows:?}");
    assert!(rows[0]["reason"].as_str().unwrap().contains("negative"), "{}", rows[0]);
    assert!(rows[3]["reason"].as_str().unwrap().contains("waits behind"), "{}", rows[3]);

    // Given up, the first no longer stops its key.
    let id = rows[0]["id"].as_i64().unwrap();
    assert_eq!(
        admin(&service, reqwest::Method::DELETE, &format!("/{id}")).await.0,
        400,
        "without a reason"
    );
    let gone = format!("/{id}?reason=negative");
    assert_eq!(admin(&service, reqwest::Method::DELETE, &gone).await.0, 204);
    assert_eq!(admin(&service, reqwest::Method::DELETE, &gone).await.0, 404, "it is gone already");
    let waiting = rows[3]["id"].as_i64().unwrap();
    let (_, answer) = admin(&service, reqwest::Method::POST, &format!("/{waiting}/replay")).await;
    assert_eq!(answer["replayed"], 1);
    assert_eq!(service.total(1).await, 11);
    let (after, _) = bus.put_cart(1, 100);
    eventually("the next of the key", async || bus.is_done(after).then_some(())).await;
    assert_eq!(service.total(1).await, 111);
}

async fn a_message_that_is_no_event_is_parked_and_can_be_given_up(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    bus.put(Some("9"), b"\xff\xfe\x00 not JSON");
    bus.put(None, r#"{"id": 1}"#);
    bus.put(Some("5"), r#"{"eventType":"CouponPrinted"}"#); // unknown: skipped
    let (last, _) = bus.put_cart(5, 5);
    eventually("all to be done", async || bus.is_done(last).then_some(())).await;
    let rows = parked(&service).await;
    assert_eq!(rows.len(), 2);
    assert!(rows[0]["reason"].as_str().unwrap().contains("not a JSON object"), "{}", rows[0]);
    assert!(rows[1]["reason"].as_str().unwrap().contains("no eventType"), "{}", rows[1]);
    assert_eq!(service.total(5).await, 5);
    let (_, answer) = admin(&service, reqwest::Method::POST, "/replay").await;
    assert_eq!(answer["replayed"], 0, "it still is no event");
    assert_eq!(parked(&service).await.len(), 2);
}

/// A tombstone, what is no event, and a damaged event that no cart depends on, under the key of a live cart.
async fn what_cannot_have_an_effect_holds_no_key_back(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    bus.put_at(1_000, Some("1"), None);
    bus.put_cart(1, 1);
    for strange in [
        "",
        "not JSON",
        "[1]",
        r#"{"id":1}"#,
        r#"{"eventType":null}"#,
        r#"{"eventType":7}"#,
        r#"{"eventType":"CouponPrinted","eventId":"no UUID"}"#,
        r#"{"eventType":"QuantityModified","id":"x"}"#,
    ] {
        bus.put(Some("1"), strange);
    }
    let (last, _) = bus.put_cart(1, 10);
    eventually("all to be done", async || bus.is_done(last).then_some(())).await;
    assert_eq!(service.total(1).await, 11);
    let rows = parked(&service).await;
    assert_eq!(rows.len(), 7, "neither a tombstone nor an unknown type is parked: {rows:?}");
    assert!(metrics(&service).await.contains("inbox_tombstones_total 1"));

    // Nor does any of them when it is replayed and still cannot be read.
    bus.put_cart(1, -1);
    let (waits, _) = bus.put_cart(1, 100);
    eventually("both to be parked", async || bus.is_done(waits).then_some(())).await;
    let refused = &parked(&service).await[7];
    let gone = format!("/{}?reason=negative", refused["id"]);
    assert_eq!(admin(&service, reqwest::Method::DELETE, &gone).await.0, 204);
    let (_, answer) = admin(&service, reqwest::Method::POST, "/replay").await;
    assert_eq!((&answer["replayed"], service.total(1).await), (&Value::from(1), 111));
}

async fn an_event_that_cannot_be_read_holds_its_key_back(db: TestDb) {
    for (number, damaged) in [
        r#"{"eventType":"CartAdded","id":{}}"#,
        r#"{"eventType":"CartAdded","eventId":"no UUID","id":1,"gifticonId":1,"quantity":1}"#,
        r#"{"eventType":"CartRemoved"}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let bus = Scripted::default();
        let service = Service::start(&db, &bus).await;
        let cart = i64::try_from(number).unwrap() + 1;
        bus.put(Some(&cart.to_string()), damaged);
        let (last, _) = bus.put_cart(cart, 10);
        eventually("all to be done", async || bus.is_done(last).then_some(())).await;
        assert_eq!(service.total(cart).await, 0);
        let rows = parked(&service).await;
        let waiting = rows.last().unwrap();
        assert!(waiting["reason"].as_str().unwrap().contains("waits behind"), "{rows:?}");
        assert_eq!(waiting["holdsKey"], true);
        service.running.stop(Duration::from_secs(5)).await;
    }
}

/// A topic that was deleted and made anew counts its offsets from 0 again.
async fn what_has_no_id_is_told_by_its_content_as_well(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let cart = |id: i64, quantity: i64| {
        format!(r#"{{"eventType":"CartAdded","id":{id},"gifticonId":1,"quantity":{quantity}}}"#)
    };
    let key = Some("1");
    bus.put_at(5, key, Some(cart(1, 1).as_bytes()));
    bus.put_at(5, key, Some(cart(1, 1).as_bytes())); // a copy
    bus.put_at(5, key, Some(cart(1, 20).as_bytes())); // another event at the same place
    bus.put_at(6, Some("2"), Some(b"no event"));
    bus.put_at(6, Some("2"), Some(b"no event")); // a copy
    bus.put_at(6, Some("2"), Some(b"another that is no event"));
    let (last, _) = bus.put_cart(3, 3);
    eventually("all to be done", async || bus.is_done(last).then_some(())).await;
    assert_eq!(service.total(1).await, 21);
    let rows = parked(&service).await;
    let payloads: Vec<&str> = rows.iter().map(|row| row["payload"].as_str().unwrap()).collect();
    assert_eq!(payloads, ["no event", "another that is no event"]);
}

/// Producers may give two events one id: neither hides the other, nor does a copy hide why it was parked.
async fn every_event_that_is_said_to_be_parked_can_be_seen(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let id = Uuid::new_v4();
    for (key, quantity) in [(1, -1), (2, -2), (1, -1)] {
        bus.put(Some(&key.to_string()), cart_added(id, key, quantity));
    }
    let (last, _) = bus.put_cart(3, 3);
    eventually("all to be done", async || bus.is_done(last).then_some(())).await;
    let rows = parked(&service).await;
    let keys: Vec<&str> = rows.iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["1", "2"], "{rows:?}");
    assert!(
        rows.iter().all(|row| row["reason"].as_str().unwrap().contains("negative")),
        "{rows:?}"
    );
}

async fn a_replay_that_fails_again_keeps_the_order(db: TestDb) {
    let bus = Scripted::default();
    bus.put_cart(1, -1);
    bus.put_cart(1, 2);
    let (last, _) = bus.put_cart(1, 3);
    let service = Service::start(&db, &bus).await;
    eventually("all to be done", async || bus.is_done(last).then_some(())).await;
    let before = parked(&service).await;
    assert_eq!(before.len(), 3);
    let (_, answer) = admin(&service, reqwest::Method::POST, "/replay").await;
    assert_eq!(answer["replayed"], 0);
    let ids =
        |rows: &[Value]| rows.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(ids(&parked(&service).await), ids(&before));
    assert_eq!(service.total(1).await, 0);
}

async fn more_is_replayed_than_is_read_at_once(db: TestDb) {
    let bus = Scripted::default();
    bus.put_cart(1, -5); // refused
    (1..450).for_each(|_| drop(bus.put_cart(1, 1)));
    let (last, _) = bus.put_cart(1, 1);
    let service = Service::start(&db, &bus).await;
    eventually("all to be parked", async || bus.is_done(last).then_some(())).await;
    let rows = parked(&service).await;
    let gone = format!("/{}?reason=negative", rows[0]["id"]);
    assert_eq!(admin(&service, reqwest::Method::DELETE, &gone).await.0, 204);
    let (_, answer) = admin(&service, reqwest::Method::POST, "/replay").await;
    assert_eq!((&answer["replayed"], service.total(1).await), (&Value::from(450), 450));
    assert_eq!(service.count("parked").await, 0);
}

async fn a_key_that_a_database_cannot_keep_stops_nobody(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    bus.put(Some("a\0b"), "no JSON \0");
    bus.put(Some("c\0d"), r#"{"eventType":"CartAdded","eventId":"\u0000"}"#);
    let (last, _) = bus.put_cart(5, 5);
    eventually("all to be done", async || bus.is_done(last).then_some(())).await;
    assert_eq!((service.total(5).await, parked(&service).await.len()), (5, 2));
}

async fn random_bytes_are_parked_or_skipped(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let shapes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        ".{0,60}".prop_map(String::into_bytes),
        "[{\\[\"a-z0-9:,\\]}]{0,60}".prop_map(String::into_bytes),
        ("CartAdded|PaymentApproved|X", any::<i64>(), any::<f64>()).prop_map(|(kind, id, quantity)| {
            format!(r#"{{"eventType":"{kind}","id":{id},"gifticonId":"{id}","quantity":{quantity}}}"#).into_bytes()
        }),
    ];
    for number in 0..300 {
        let bytes = shapes.new_tree(&mut runner).unwrap().current();
        bus.put(Some(&format!("noise {}", number % 10)), bytes);
    }
    let (last, _) = bus.put_cart(1, 1);
    eventually("all to be done", async || bus.is_done(last).then_some(())).await;
    assert_eq!(service.total(1).await, 1);
    assert!(service.count("parked").await > 100);
}

async fn two_replicas_send_each_event_in_order(db: TestDb) {
    if db.url.sqlite_path().is_some() {
        return; // a SQLite file has one process
    }
    let bus = Scripted::default();
    let (one, two) = (Service::start(&db, &bus).await, Service::start(&db, &bus).await);
    // The row is there before both want it: one that is not cannot be locked.
    one.writer.execute(Add { id: 1, number: 1 }).await.unwrap();
    for round in 0..10 {
        let adds = |from| (from..from + 50).map(|number| (Add { id: 1, number }, None));
        let (a, b) = tokio::join!(
            one.writer.execute_all(adds(round * 100 + 1_000)),
            two.writer.execute_all(adds(round * 100 + 1_050))
        );
        assert!(a.into_iter().chain(b).all(|answer| answer.is_ok()));
    }
    one.outbox_is_empty().await;
    // What a total was after each event grows, since the events of one key are in order.
    let mut ids = std::collections::BTreeSet::new();
    let totals: Vec<i64> = bus
        .sent()
        .iter()
        .map(|message| serde_json::from_str::<Value>(&message.payload).unwrap())
        .filter(|event| ids.insert(event["eventId"].to_string()))
        .map(|event| event["availableQuantity"].as_i64().unwrap())
        .collect();
    assert_eq!(totals.len(), 1_001);
    assert!(totals.is_sorted(), "out of order: {totals:?}");
}

/// Postgres keeps a plan when it has made it a few times, and knows nothing of what the table became since.
async fn a_look_up_that_was_planned_for_a_small_table_stays_one(db: TestDb) {
    let db = db.open(&common::schema()).await;
    if db.dialect() == Dialect::Sqlite {
        return; // it plans without looking at the size
    }
    let mut tx = db.begin().await.unwrap();
    for statement in [
        "insert into inbox (event_id, minute) values ('a', 1)",
        "analyze inbox",
        "prepare look_up(text) as select count(*) from inbox where event_id = \
             any(array(select json_array_elements_text($1::json)))",
    ] {
        sqlx::raw_sql(statement).execute(&mut *tx).await.unwrap();
    }
    for _ in 0..10 {
        sqlx::raw_sql("execute look_up('[\"a\"]')").execute(&mut *tx).await.unwrap();
    }
    let plan =
        sqlx::raw_sql("explain execute look_up('[\"a\"]')").fetch_all(&mut *tx).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
    assert!(!plan.concat().contains("Seq Scan"), "{plan:#?}");
}
