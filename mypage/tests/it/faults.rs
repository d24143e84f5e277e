//! Damaged events, and rebuilds that meet a fault or a stop.

use crate::common::{Mypage, at, event};
use chassis::base::config::{ClientStreams, StreamsLimit};
use chassis::testing::{Endless, ReplacedReplays, TestDb, TestLog};
use mypage::MypageConfig;
use reqwest::{Client, Method};
use serde_json::json;
use sqlx::{AnyConnection, Connection, Executor};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

chassis::on_each_database!(a_rebuild_outlives_a_fault_that_passes_and_ends_with_one_that_does_not);

#[tokio::test]
async fn a_damaged_event_is_parked_in_sight_and_only_its_key_waits() {
    let mypage = Mypage::start().await;
    let damaged = r#"{"eventType":"CartAdded","id":"one"}"#;
    mypage.hear_text(1, damaged.into()).await;
    mypage.hear(1, &event("CartAdded", 1, 1)).await;
    mypage.hear(1, &event("PaymentApproved", 1, 2)).await;
    mypage.hear_text(3, r#"{"timestamp":"20261124000000"}"#.into()).await;
    mypage.hear(2, &event("CartAdded", 2, 1)).await;
    mypage.becomes(2, "CartAdded").await; // other keys go on

    let parked = mypage.has_parked(4).await;
    let of_one: Vec<_> = parked.iter().filter(|event| event["key"] == "1").collect();
    assert_eq!(of_one[0]["payload"], damaged);
    assert!(of_one[0]["reason"].as_str().unwrap().contains("no CartAdded"), "{}", of_one[0]);
    for (event, event_type) in of_one[1..].iter().zip(["CartAdded", "PaymentApproved"]) {
        assert_eq!(event["reason"], "waits behind another event of its key");
        assert!(event["payload"].as_str().unwrap().contains(event_type), "in order: {event}");
    }
    let of_three = parked.iter().find(|event| event["key"] == "3").unwrap();
    assert!(of_three["reason"].as_str().unwrap().contains("no eventType"), "{of_three}");
    assert_eq!(mypage.get("/mypages/search/findByCartId?cartId=1").await.0, 404);

    // It does not get better by being replayed, nor by a restart, and what waits goes on waiting.
    let path = format!("/admin/parked/{}", of_one[0]["id"]);
    let (status, replayed) = mypage.ask(Method::POST, &format!("{path}/replay")).await;
    assert_eq!((status, replayed), (200, json!({ "replayed": 0, "left": 3 })));
    let mypage = mypage.restart().await;
    mypage.hear(1, &event("CartRemoved", 1, 3)).await;
    mypage.has_parked(5).await;

    // An operator gives it up, and says why.
    for reason in ["", "?reason="] {
        assert_eq!(mypage.ask(Method::DELETE, &format!("{path}{reason}")).await.0, 400);
    }
    let discard = format!("{path}?reason=a%20test%20sent%20it");
    assert_eq!(mypage.ask(Method::DELETE, &discard).await.0, 204);
    assert_eq!(mypage.ask(Method::DELETE, &discard).await.0, 404);
    let (status, replayed) = mypage.ask(Method::POST, "/admin/parked/replay").await;
    assert_eq!((status, replayed), (200, json!({ "replayed": 3, "left": 1 })));
    let left = mypage.has_parked(1).await;
    assert_eq!(left[0]["key"], "3");
    let (_, audit) = mypage.get("/admin/audit").await;
    let actions: Vec<_> = audit.as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["replay", "discard", "replay"], "the newest first, and no refusals");
    let discarded = &audit[1];
    assert_eq!((&discarded["actor"], &discarded["before"]["key"]), (&json!("guest"), &json!("1")));
    assert_eq!(discarded["before"]["payload"], damaged);
    assert_eq!(discarded["after"], json!({ "reason": "a test sent it" }));
    let (_, older) = mypage.get(&format!("/admin/audit?before={}", discarded["id"])).await;
    assert_eq!(older, json!([audit[2]]));
    let page = mypage.becomes(1, "CartRemoved").await;
    let steps = [("CartAdded", 1), ("PaymentApproved", 2), ("CartRemoved", 3)];
    assert_eq!(mypage.history(&page).await, steps.map(|(step, s)| format!("{step} {}", at(s))));

    // The key is free again.
    mypage.hear(1, &event("PaymentCancelled", 1, 4)).await;
    mypage.becomes(1, "PaymentCanceled").await;
    mypage.has_parked(1).await;
}

/// Its writes fail at first, for as long as the table of its token is away. SQLite says that it is the statement which is at
/// fault, so it is tried a few times only; Postgres cannot know, and neither can the rebuild.
async fn a_rebuild_outlives_a_fault_that_passes_and_ends_with_one_that_does_not(db: TestDb) {
    let mypage = Mypage::start_on(db).await;
    mypage.hear(1, &event("CartAdded", 1, 1)).await;
    mypage.becomes(1, "CartAdded").await;
    let mut connection = AnyConnection::connect(mypage.db.url.as_str()).await.unwrap();
    let is_sqlite = connection.backend_name() == "SQLite";
    let fault = Duration::from_millis(if is_sqlite { 300 } else { 4_000 });
    connection.execute("alter table rebuild rename to away").await.unwrap();
    let mends = async {
        tokio::time::sleep(fault).await; // the fault
        connection.execute("alter table away rename to rebuild").await.unwrap();
    };
    let (rebuilt, ()) = tokio::join!(mypage.ask(Method::POST, "/admin/rebuild"), mends);
    assert_eq!((rebuilt.0, &rebuilt.1["events"]), (200, &json!(1)));
    if is_sqlite {
        connection.execute("alter table rebuild rename to away").await.unwrap();
        assert_eq!(mypage.ask(Method::POST, "/admin/rebuild").await.0, 503);
        connection.execute("alter table away rename to rebuild").await.unwrap();
    }
    mypage.becomes(1, "CartAdded").await;
    mypage.running.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_service_that_stops_does_not_wait_for_a_rebuild() {
    let (log, db) = (TestLog::open().await, TestDb::sqlite());
    let config = MypageConfig {
        host: db.host(),
        streams: StreamsLimit::default(),
        client_streams: ClientStreams::default(),
    };
    let bus = ReplacedReplays { log: log.log.clone(), replace: |_| Box::new(Endless) };
    let running = mypage::start(config, Arc::new(bus)).await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/admin/rebuild", running.management_url().unwrap());
    // One of two runs, and refuses the other.
    let mut asked = JoinSet::from_iter([client.post(&url).send(), client.post(&url).send()]);
    let mut answer = async || asked.join_next().await.unwrap().unwrap().unwrap().status();
    assert_eq!(answer().await, 409);
    let progress: serde_json::Value = client.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((&progress["running"], &progress["done"]), (&json!(true), &json!(0)), "{progress}");
    let began = std::time::Instant::now();
    running.stop(Duration::from_secs(20)).await;
    let took = began.elapsed();
    assert_eq!(answer().await, 503);
    assert!(took < Duration::from_secs(10), "it took {took:?}"); // 2 s of it: new connections are still taken
}
