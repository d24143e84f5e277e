//! Consumer and inbox as a service uses them, on each database.

use crate::common::{Scripted, Service, cart_added};
use chassis::testing::{TestDb, eventually};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use uuid::Uuid;

chassis::on_each_database!(
    an_event_that_comes_twice_is_acted_on_once,
    the_same_event_twice_in_one_batch_is_acted_on_once,
    events_without_an_id_are_told_apart_by_place_and_content,
    a_key_that_a_database_cannot_store_stops_no_event,
    random_bytes_are_parked_or_skipped,
);

async fn an_event_that_comes_twice_is_acted_on_once(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let (first, json) = bus.put_cart(1, 5);
    bus.until_done(first).await;
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
    bus.until_done(place).await;
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
    bus.until_done(last).await;
    assert_eq!(service.total(1).await, 6);
}

/// A topic that was deleted and made anew counts its offsets from 0 again.
async fn events_without_an_id_are_told_apart_by_place_and_content(db: TestDb) {
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
    bus.until_done(last).await;
    assert_eq!(service.total(1).await, 21);
    let rows = service.parked().await;
    let payloads: Vec<&str> = rows.iter().map(|row| row["payload"].as_str().unwrap()).collect();
    assert_eq!(payloads, ["no event", "another that is no event"]);
}

async fn a_key_that_a_database_cannot_store_stops_no_event(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    bus.put(Some("a\0b"), "no JSON \0");
    bus.put(Some("c\0d"), r#"{"eventType":"CartAdded","eventId":"\u0000"}"#);
    let (last, _) = bus.put_cart(5, 5);
    bus.until_done(last).await;
    assert_eq!((service.total(5).await, service.parked().await.len()), (5, 2));
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
    bus.until_done(last).await;
    assert_eq!(service.total(1).await, 1);
    assert!(service.count("parked").await > 100);
}
