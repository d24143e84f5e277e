//! The dead-letter table (`parked`) and its management routes, on each database.

use crate::common::{Scripted, Service, cart_added};
use chassis::testing::{LogLines, TestDb};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

chassis::on_each_database!(
    an_event_that_fails_is_parked_with_its_key_and_others_go_on,
    a_message_that_is_no_event_is_parked_and_stays_after_a_replay,
    a_message_without_effect_holds_no_key_back,
    an_event_that_cannot_be_read_holds_its_key_back,
    two_events_with_one_id_are_both_parked,
    a_replay_that_fails_again_keeps_the_order,
    more_is_replayed_than_is_read_at_once,
);

async fn an_event_that_fails_is_parked_with_its_key_and_others_go_on(db: TestDb) {
    let bus = Scripted::default();
    bus.put_cart(1, 1);
    bus.put_cart(1, -5); // refused
    bus.put_cart(2, 13); // panics
    bus.put_cart(3, 14); // fails in the database
    bus.put_cart(1, 10);
    let (last, _) = bus.put_cart(4, 4);
    let service = Service::start(&db, &bus).await;
    bus.until_done(last).await;
    assert_eq!((service.total(1).await, service.total(4).await), (1, 4));
    let rows = service.parked().await;
    let keys: Vec<&str> = rows.iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["1", "2", "3", "1"], "{rows:?}");
    assert!(rows[0]["reason"].as_str().unwrap().contains("negative"), "{}", rows[0]);
    assert!(rows[3]["reason"].as_str().unwrap().contains("waits behind"), "{}", rows[3]);

    // Given up, the first no longer stops its key.
    let id = rows[0]["id"].as_i64().unwrap();
    assert_eq!(service.admin(Method::DELETE, &format!("/{id}")).await.0, 400, "without a reason");
    let gone = format!("/{id}?reason=negative");
    assert_eq!(service.admin(Method::DELETE, &gone).await.0, 204);
    assert_eq!(service.admin(Method::DELETE, &gone).await.0, 404, "it is gone already");
    let waiting = rows[3]["id"].as_i64().unwrap();
    let (_, answer) = service.admin(Method::POST, &format!("/{waiting}/replay")).await;
    assert_eq!(answer["replayed"], 1);
    assert_eq!(service.total(1).await, 11);
    let (after, _) = bus.put_cart(1, 100);
    bus.until_done(after).await;
    assert_eq!(service.total(1).await, 111);
}

async fn a_message_that_is_no_event_is_parked_and_stays_after_a_replay(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    bus.put(Some("9"), b"\xff\xfe\x00 not JSON");
    bus.put(None, r#"{"id": 1}"#);
    bus.put(Some("5"), r#"{"eventType":"CouponPrinted"}"#); // unknown: skipped
    let (last, _) = bus.put_cart(5, 5);
    bus.until_done(last).await;
    let rows = service.parked().await;
    assert_eq!(rows.len(), 2);
    assert!(rows[0]["reason"].as_str().unwrap().contains("not a JSON object"), "{}", rows[0]);
    assert!(rows[1]["reason"].as_str().unwrap().contains("no eventType"), "{}", rows[1]);
    assert_eq!(service.total(5).await, 5);
    let (_, answer) = service.admin(Method::POST, "/replay").await;
    assert_eq!(answer["replayed"], 0, "it still is no event");
    assert_eq!(answer["left"], rows.len());
    assert_eq!(service.parked().await.len(), 2);
}

/// A tombstone, what is no event, and a damaged event that no cart depends on, under the key of a live cart.
async fn a_message_without_effect_holds_no_key_back(db: TestDb) {
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
    bus.until_done(last).await;
    assert_eq!(service.total(1).await, 11);
    let rows = service.parked().await;
    assert_eq!(rows.len(), 7, "neither a tombstone nor an unknown type is parked: {rows:?}");
    assert!(service.metrics().await.contains("inbox_tombstones_total 1"));

    // Nor does any of them when it is replayed and still cannot be read.
    bus.put_cart(1, -1);
    let (waits, _) = bus.put_cart(1, 100);
    bus.until_done(waits).await;
    let refused = &service.parked().await[7];
    let gone = format!("/{}?reason=negative", refused["id"]);
    assert_eq!(service.admin(Method::DELETE, &gone).await.0, 204);
    let (_, answer) = service.admin(Method::POST, "/replay").await;
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
        bus.until_done(last).await;
        assert_eq!(service.total(cart).await, 0);
        let rows = service.parked().await;
        let waiting = rows.last().unwrap();
        assert!(waiting["reason"].as_str().unwrap().contains("waits behind"), "{rows:?}");
        assert_eq!(waiting["holdsKey"], true);
        service.running.stop(Duration::from_secs(5)).await;
    }
}

/// Producers may give two events one id: neither hides the other, nor does a copy hide why it was parked.
async fn two_events_with_one_id_are_both_parked(db: TestDb) {
    let bus = Scripted::default();
    let service = Service::start(&db, &bus).await;
    let id = Uuid::new_v4();
    for (key, quantity) in [(1, -1), (2, -2), (1, -1)] {
        bus.put(Some(&key.to_string()), cart_added(id, key, quantity));
    }
    let (last, _) = bus.put_cart(3, 3);
    bus.until_done(last).await;
    let rows = service.parked().await;
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
    bus.until_done(last).await;
    let before = service.parked().await;
    assert_eq!(before.len(), 3);
    let (_, answer) = service.admin(Method::POST, "/replay").await;
    assert_eq!(answer["replayed"], 0);
    let ids =
        |rows: &[Value]| rows.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(ids(&service.parked().await), ids(&before));
    assert_eq!(service.total(1).await, 0);
}

async fn more_is_replayed_than_is_read_at_once(db: TestDb) {
    let bus = Scripted::default();
    bus.put_cart(1, -5); // refused
    (1..450).for_each(|_| drop(bus.put_cart(1, 1)));
    let (last, _) = bus.put_cart(1, 1);
    let service = Service::start(&db, &bus).await;
    bus.until_done(last).await;
    let rows = service.parked().await;
    let gone = format!("/{}?reason=negative", rows[0]["id"]);
    assert_eq!(service.admin(Method::DELETE, &gone).await.0, 204);
    let (_, answer) = service.admin(Method::POST, "/replay").await;
    assert_eq!((&answer["replayed"], service.total(1).await), (&Value::from(450), 450));
    assert_eq!(service.count("parked").await, 0);
}

/// The first of the parked events takes so long that a line is due after it. No other test of this program replays so many.
#[tokio::test]
async fn a_replay_logs_how_far_it_is() {
    let (lines, bus) = (LogLines::of_this_program(), Scripted::default());
    bus.put_cart(1, -5); // refused
    bus.put_cart(1, 16);
    (1..19).for_each(|_| drop(bus.put_cart(1, 1)));
    let (last, _) = bus.put_cart(2, 1);
    let db = TestDb::sqlite();
    let service = Service::start(&db, &bus).await;
    bus.until_done(last).await;
    let gone = format!("/{}?reason=negative", service.parked().await[0]["id"]);
    assert_eq!(service.admin(Method::DELETE, &gone).await.0, 204);
    let (_, answer) = service.admin(Method::POST, "/replay").await;
    assert_eq!(answer, json!({ "replayed": 19, "left": 0 }));

    let said = lines.find(|line| {
        line["message"] == "replaying parked events" && line["total"] == 19
            || line["message"] == "replayed parked events" && line["replayed"] == 19
    });
    let done: Vec<&Value> = said.iter().map(|line| &line["done"]).collect();
    assert_eq!(done, [&json!(0), &json!(2), &Value::Null], "{said:#?}");
    assert!(said[1]["per_second"].is_u64() && said[1]["seconds_left"].is_u64(), "{}", said[1]);
    assert_eq!(said[2]["left"], 0);
}
