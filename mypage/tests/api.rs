//! The mypage service over HTTP and events.

use chassis::Running;
use chassis::bus::{Bus, Message};
use chassis::testing::{EndlessReplay, TestDb, TestLog, eventually};
use mypage::MypageConfig;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection, Executor};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

struct Mypage {
    client: Client,
    running: Running,
    log: TestLog,
    db: TestDb,
}

impl Mypage {
    async fn start() -> Self {
        let (log, db) = (TestLog::open().await, TestDb::sqlite());
        let running = serve(&db, &log).await;
        Self { client: Client::builder().no_proxy().build().unwrap(), running, log, db }
    }

    /// As after a restart of the process.
    async fn restart(mut self) -> Self {
        self.running.stop(Duration::from_secs(5)).await;
        self.running = serve(&self.db, &self.log).await;
        self
    }

    async fn hear_text(&self, key: i64, payload: String) {
        let message = Message { key: key.to_string(), payload, headers: vec![] };
        let publisher = self.log.log.publisher().await.unwrap();
        publisher.publish(&[message]).await.remove(0).unwrap();
    }

    async fn hear(&self, key: i64, event: &Value) {
        self.hear_text(key, event.to_string()).await;
    }

    async fn ask(&self, method: Method, path: &str) -> (u16, Value) {
        let managed = path.starts_with("/admin").then(|| self.running.management_url());
        let base = managed.flatten().unwrap_or_else(|| self.running.url());
        let answer = self.client.request(method, format!("{base}{path}")).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path).await
    }

    /// Waits until the page of a cart has the status `wanted`, and answers it.
    async fn becomes(&self, cart: i64, wanted: &str) -> Value {
        eventually(&format!("cart {cart} to be {wanted}"), async || {
            let (_, page) = self.get(&format!("/mypages/search/findByCartId?cartId={cart}")).await;
            (page["status"] == wanted).then_some(page)
        })
        .await
    }

    /// The steps of a page as `eventType at`.
    async fn history(&self, page: &Value) -> Vec<String> {
        let (status, steps) = self.get(&format!("/mypages/{}/history", page["id"])).await;
        assert_eq!(status, 200, "{steps}");
        let step = |step: &Value| {
            format!("{} {}", step["eventType"].as_str().unwrap(), step["at"].as_str().unwrap())
        };
        steps.as_array().unwrap().iter().map(step).collect()
    }

    async fn parked(&self) -> Vec<Value> {
        let (status, parked) = self.get("/admin/parked").await;
        assert_eq!(status, 200, "{parked}");
        parked.as_array().unwrap().clone()
    }

    async fn has_parked(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} parked events"), async || {
            let parked = self.parked().await;
            (parked.len() == count).then_some(parked)
        })
        .await
    }
}

async fn serve(db: &TestDb, log: &TestLog) -> Running {
    let config = MypageConfig { host: db.host() };
    mypage::start(config, Arc::new(log.log.clone())).await.unwrap()
}

/// An event of a cart, that happened at a second of one minute.
fn event(event_type: &str, cart: i64, second: u8) -> Value {
    let mut event = json!({
        "eventType": event_type, "timestamp": "20261124000000", "eventId": Uuid::new_v4(),
        "occurredAt": at(second), "status": event_type,
    });
    let fields = match event_type {
        "CartAdded" => json!({
            "id": cart, "gifticonId": 7, "quantity": 2, "reservationId": Uuid::new_v4(),
            "name": "아메리카노", "price": 5000, "amount": 10_000,
        }),
        "CartRemoved" => json!({ "id": cart, "gifticonId": 7, "quantity": 2 }),
        _ => json!({ "id": cart + 100, "cartId": cart, "amount": 10_000 }),
    };
    event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    event
}

fn at(second: u8) -> String {
    format!("2026-11-24T00:00:{second:02}.000Z")
}

#[tokio::test]
async fn a_page_tells_the_whole_story_of_a_cart() {
    let mypage = Mypage::start().await;
    mypage.hear(1, &event("CartAdded", 1, 1)).await;
    let added = mypage.becomes(1, "CartAdded").await;
    let url = mypage.running.url();
    let wanted = json!({
        "id": 1, "cartId": 1, "gifticonId": 7, "name": "아메리카노", "price": 5000, "quantity": 2,
        "amount": 10_000, "paymentId": null, "status": "CartAdded", "createdAt": at(1),
        "updatedAt": at(1), "_links": {
            "self": { "href": format!("{url}/mypages/1") },
            "mypage": { "href": format!("{url}/mypages/1") },
            "history": { "href": format!("{url}/mypages/1/history") },
        },
    });
    assert_eq!(added, wanted);

    for (event_type, status, second) in [
        ("PaymentApproved", "PaymentApproved", 2),
        ("CartRemoved", "CartRemoved", 3),
        ("PaymentCancelled", "PaymentCanceled", 4),
    ] {
        mypage.hear(1, &event(event_type, 1, second)).await;
        let page = mypage.becomes(1, status).await;
        assert_eq!((&page["paymentId"], &page["updatedAt"]), (&json!(101), &json!(at(second))));
        assert_eq!((&page["name"], &page["createdAt"]), (&json!("아메리카노"), &json!(at(1))));
    }
    let page = mypage.get("/mypages/1").await;
    assert_eq!(page.0, 200);
    let (_, steps) = mypage.get("/mypages/1/history").await;
    assert_eq!(
        steps,
        json!([
            { "eventType": "CartAdded", "status": "CartAdded", "at": at(1) },
            { "eventType": "PaymentApproved", "status": "PaymentApproved", "at": at(2) },
            { "eventType": "CartRemoved", "status": "CartRemoved", "at": at(3) },
            { "eventType": "PaymentCancelled", "status": "PaymentCanceled", "at": at(4) },
        ])
    );
}

#[tokio::test]
async fn a_decline_ends_as_a_decline_although_its_cart_goes_after_it() {
    let mypage = Mypage::start().await;
    for (event_type, second) in [("CartAdded", 1), ("PaymentDeclined", 2), ("CartRemoved", 3)] {
        mypage.hear(1, &event(event_type, 1, second)).await;
    }
    let page = eventually("all three steps", async || {
        let (_, page) = mypage.get("/mypages/search/findByCartId?cartId=1").await;
        (page["updatedAt"] == at(3)).then_some(page)
    })
    .await;
    assert_eq!(page["status"], "PaymentDeclined");
    let steps = [("CartAdded", 1), ("PaymentDeclined", 2), ("CartRemoved", 3)];
    assert_eq!(mypage.history(&page).await, steps.map(|(step, s)| format!("{step} {}", at(s))));
}

#[tokio::test]
async fn what_comes_again_or_in_another_order_is_one_row_all_the_same() {
    let mypage = Mypage::start().await;
    let (added, approved) = (event("CartAdded", 1, 5), event("PaymentApproved", 1, 4));
    // The payment first, also by its clock; each several times, and once more under another id.
    for told in [&approved, &approved, &added, &added, &event("CartAdded", 1, 5)] {
        mypage.hear(1, told).await;
    }
    mypage.hear(2, &event("CartAdded", 2, 6)).await;
    mypage.becomes(2, "CartAdded").await;
    let page = eventually("the cart's own event", async || {
        let (_, page) = mypage.get("/mypages/search/findByCartId?cartId=1").await;
        (page["name"] == "아메리카노").then_some(page)
    })
    .await;
    assert_eq!((&page["status"], &page["paymentId"]), (&json!("PaymentApproved"), &json!(101)));
    let wanted = [format!("CartAdded {}", at(5)), format!("PaymentApproved {}", at(4))];
    assert_eq!(mypage.history(&page).await, wanted, "a cart begins with its addition");

    let mypage = mypage.restart().await;
    mypage.hear(1, &added).await;
    mypage.hear(3, &event("CartAdded", 3, 7)).await;
    mypage.becomes(3, "CartAdded").await;
    let (_, list) = mypage.get("/mypages?sort=cartId").await;
    let carts: Vec<_> = list["_embedded"]["mypages"].as_array().unwrap().iter().collect();
    let carts: Vec<_> = carts.into_iter().map(|page| page["cartId"].clone()).collect();
    assert_eq!(carts, [1, 2, 3]);
    assert_eq!(list["page"]["totalElements"], 3);
}

#[tokio::test]
async fn pages_are_found_and_listed_and_never_written() {
    let mypage = Mypage::start().await;
    for cart in 1..=5 {
        mypage.hear(cart, &event("CartAdded", cart, 1)).await;
    }
    for cart in 1..=5 {
        mypage.becomes(cart, "CartAdded").await;
    }
    for found in ["cartId=3", "CartId=3"] {
        let (status, page) = mypage.get(&format!("/mypages/search/findByCartId?{found}")).await;
        assert_eq!((status, &page["cartId"]), (200, &json!(3)));
    }
    for (path, status) in [
        ("/mypages/search/findByCartId?cartId=99", 404),
        ("/mypages/search/findByCartId?cartId=x", 400),
        ("/mypages/search/findByCartId", 400),
        ("/mypages/99", 404),
        ("/mypages/99/history", 404),
        ("/mypages?sort=nonsense", 400),
    ] {
        assert_eq!(mypage.get(path).await.0, status, "{path}");
    }
    let (mut path, mut carts) = (Some("/mypages?size=2".to_owned()), Vec::new());
    while let Some(next) = path {
        let (_, list) = mypage.get(&next).await;
        let pages = list["_embedded"]["mypages"].as_array().unwrap();
        carts.extend(pages.iter().map(|page| page["cartId"].as_i64().unwrap()));
        let href = list["_links"]["next"]["href"].as_str();
        path = href.map(|href| href.strip_prefix(&mypage.running.url()).unwrap().to_owned());
    }
    carts.sort_unstable(); // events of different carts come in any order
    assert_eq!(carts, [1, 2, 3, 4, 5]);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for path in ["/mypages", "/mypages/1"] {
            assert_eq!(mypage.ask(method.clone(), path).await.0, 405, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_originals_events_are_read_and_strange_ones_passed_over() {
    let mypage = Mypage::start().await;
    // No eventId, no occurredAt, and a gifticonId that is a string.
    let original = json!({
        "eventType": "CartAdded", "timestamp": "20261124123456", "id": 1, "gifticonId": "7",
        "quantity": "3", "status": "CartAdded",
    });
    mypage.hear(1, &original).await;
    mypage.hear(1, &original).await; // another place in the topic, so another event
    mypage.hear(1, &json!({ "eventType": "CartAdmired", "id": "of no consequence" })).await;
    let paid = json!({
        "eventType": "PaymentApproved", "timestamp": "20261124123457", "id": 4, "cartId": 1,
        "amount": null, "status": "PaymentApproved", "unheardOf": [1],
    });
    mypage.hear(1, &paid).await;
    let page = mypage.becomes(1, "PaymentApproved").await;
    assert_eq!((&page["gifticonId"], &page["quantity"]), (&json!(7), &json!(3)));
    assert_eq!((&page["name"], &page["amount"]), (&Value::Null, &Value::Null));
    assert_eq!(mypage.history(&page).await.len(), 2);
    assert_eq!(mypage.get("/mypages").await.1["page"]["totalElements"], 1);
    assert!(mypage.parked().await.is_empty());
}

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
    assert_eq!((status, replayed), (200, json!({ "replayed": 0 })));
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
    assert_eq!((status, replayed), (200, json!({ "replayed": 3 })));
    let left = mypage.has_parked(1).await;
    assert_eq!(left[0]["key"], "3");
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
#[tokio::test]
async fn a_rebuild_outlives_a_fault_that_passes_and_ends_with_one_that_does_not() {
    let postgres = TestDb::postgres().await.map(|db| (db, Duration::from_secs(4)));
    for (db, fault) in [(TestDb::sqlite(), Duration::from_millis(300))].into_iter().chain(postgres)
    {
        let log = TestLog::open().await;
        let client = Client::builder().no_proxy().build().unwrap();
        let mypage = Mypage { client, running: serve(&db, &log).await, log, db };
        mypage.hear(1, &event("CartAdded", 1, 1)).await;
        mypage.becomes(1, "CartAdded").await;
        let mut connection = AnyConnection::connect(mypage.db.url.as_str()).await.unwrap();
        let is_sqlite = connection.backend_name() == "SQLite";
        connection.execute("alter table rebuild rename to away").await.unwrap();
        let mends = async {
            tokio::time::sleep(fault).await;
            connection.execute("alter table away rename to rebuild").await.unwrap();
        };
        let (rebuilt, ()) = tokio::join!(mypage.ask(Method::POST, "/admin/rebuild"), mends);
        assert_eq!(rebuilt, (200, json!({ "events": 1 })));
        if is_sqlite {
            connection.execute("alter table rebuild rename to away").await.unwrap();
            assert_eq!(mypage.ask(Method::POST, "/admin/rebuild").await.0, 503);
            connection.execute("alter table away rename to rebuild").await.unwrap();
        }
        mypage.becomes(1, "CartAdded").await;
        mypage.running.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_service_that_stops_does_not_wait_for_a_rebuild() {
    let (log, db) = (TestLog::open().await, TestDb::sqlite());
    let config = MypageConfig { host: db.host() };
    let running = mypage::start(config, Arc::new(EndlessReplay(log.log.clone()))).await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/admin/rebuild", running.management_url().unwrap());
    let ask = client.post(&url).send();
    let stop = async {
        let rebuild_runs = async || {
            let answer = client.post(&url).send().await.unwrap();
            (answer.status() == 409).then_some(())
        };
        eventually("the rebuild to run", rebuild_runs).await;
        let began = std::time::Instant::now();
        running.stop(Duration::from_secs(20)).await;
        began.elapsed()
    };
    let (answer, took) = tokio::join!(ask, stop);
    assert_eq!(answer.unwrap().status(), 503);
    assert!(took < Duration::from_secs(10), "it took {took:?}"); // 2 s of it: new connections are still taken
}
