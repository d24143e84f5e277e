//! Outbox and relay as a service uses them, on each database.

use crate::common::{Add, Scripted, Service};
use chassis::bus::PublishError;
use chassis::testing::{TestDb, eventually};
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;

chassis::on_each_database!(
    what_happened_is_told_in_order_and_leaves_the_outbox,
    an_unknown_outcome_is_sent_again_with_all_that_follows,
    the_size_of_the_outbox_is_a_metric,
    an_event_that_the_broker_refuses_is_parked_and_can_be_sent_again,
);

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
    let unknown = || Err(PublishError::Unknown("for this test".into()));
    bus.answer_next([Ok(()), unknown(), Ok(())]);
    let service = Service::start(&db, &bus).await;
    for number in 1..=3 {
        service.writer.execute(Add { id: 1, number }).await.unwrap(); // one transaction each
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
    assert_eq!(copies(1), 1, "an acknowledged event is sent once: {sent:?}");
    assert_eq!(copies(2), 2, "sent again: {sent:?}");
}

async fn the_size_of_the_outbox_is_a_metric(db: TestDb) {
    let bus = Scripted::default();
    bus.answer_next((0..1_000).map(|_| Err(PublishError::Unknown("the broker is away".into()))));
    let service = Service::start(&db, &bus).await;
    for answer in
        service.writer.execute_all((1..=3).map(|number| (Add { id: 1, number }, None))).await
    {
        answer.unwrap();
    }
    eventually("three events in the gauge", async || {
        let text = service.metrics().await;
        text.lines().any(|line| line == "outbox_events 3").then_some(())
    })
    .await;
}

async fn an_event_that_the_broker_refuses_is_parked_and_can_be_sent_again(db: TestDb) {
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
    let rows = service.parked().await;
    assert_eq!((rows.len(), &rows[0]["reason"]), (1, &Value::from("too large")));

    // Incoming events of the same key do not wait behind it.
    let (coming, _) = bus.put_cart(1, 5);
    bus.until_done(coming).await;
    assert_eq!((service.total(1).await, service.parked().await.len()), (6, 1));
    assert_eq!(service.admin(Method::POST, "/0/replay").await.0, 404, "there is no such row");

    service.outbox_is_empty().await;
    let (status, answer) = service.admin(Method::POST, "/replay").await;
    assert_eq!((status, &answer["replayed"]), (200, &Value::from(1)));
    service.outbox_is_empty().await;
    eventually("the event to be sent", async || (numbers(&bus) == [2, 5, 1]).then_some(())).await;
    assert!(service.parked().await.is_empty());
}

/// Only on Postgres: a SQLite file has one process.
#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn two_replicas_send_each_event_in_order() {
    let db = TestDb::postgres().await;
    let bus = Scripted::default();
    let (one, two) = (Service::start(&db, &bus).await, Service::start(&db, &bus).await);
    // Insert the row first: a missing row cannot be locked by both.
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
    // The total after each event grows if the events of the key are in order.
    let mut ids = BTreeSet::new();
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
