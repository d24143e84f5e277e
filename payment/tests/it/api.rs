//! The payment service over HTTP and events, with a provider that does what the test says.

use async_trait::async_trait;
use chassis::Running;
use chassis::base::export;
use chassis::bus::{Bus, Message};
use chassis::testing::{Collector, TestDb, TestLog, eventually};
use common_events::CartId;
use payment::domain::Verdict;
use payment::provider::{Builtin, Provider};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

struct Payment {
    client: Client,
    running: Running,
    log: TestLog,
    _db: TestDb,
}

impl Payment {
    async fn start(provider: impl Provider) -> Self {
        let (log, db) = (TestLog::open().await, TestDb::sqlite());
        let bus = Arc::new(log.log.clone());
        let running = payment::start_with(db.host(), Arc::new(provider), bus).await.unwrap();
        Self { client: Client::builder().no_proxy().build().unwrap(), running, log, _db: db }
    }

    async fn hear(&self, event_type: &str, cart: i64, amount: i64) {
        self.hear_under(cart, &event(event_type, cart, amount)).await;
    }

    async fn hear_under(&self, key: i64, event: &Value) {
        self.hear_with(key, event, vec![]).await;
    }

    async fn hear_with(&self, key: i64, event: &Value, headers: Vec<(String, String)>) {
        let message = Message { key: key.to_string(), payload: event.to_string(), headers };
        let publisher = self.log.log.publisher().await.unwrap();
        publisher.publish(&[message]).await.remove(0).unwrap();
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(format!("{}{path}", self.running.url())).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Waits until the payment of a cart is as wanted, and answers it.
    async fn becomes(&self, cart: i64, wanted: &str) -> Value {
        eventually(&format!("the payment of cart {cart} to be {wanted}"), async || {
            let (_, found) =
                self.get(&format!("/payments/search/findByCartId?cartId={cart}")).await;
            (found["status"] == wanted).then_some(found)
        })
        .await
    }

    async fn told(&self, cart: i64) -> Vec<String> {
        let told = self.log.told().await;
        let of_cart = told.iter().filter(|event| event["cartId"] == cart);
        of_cart.map(|event| event["eventType"].as_str().unwrap().to_owned()).collect()
    }
}

fn event(event_type: &str, cart: i64, amount: i64) -> Value {
    json!({
        "eventType": event_type, "timestamp": "20261124000000", "eventId": Uuid::new_v4(),
        "id": cart, "gifticonId": 1, "quantity": 1, "amount": amount, "status": event_type,
    })
}

#[tokio::test]
async fn a_payment_is_approved_or_declined_by_its_limit() {
    let payment = Payment::start(Builtin { limit: Some(10_000) }).await;
    payment.hear("CartAdded", 1, 10_000).await;
    payment.hear("CartAdded", 2, 10_001).await;
    let approved = payment.becomes(1, "PaymentApproved").await;
    assert_eq!(approved["amount"], 10_000);
    let declined = payment.becomes(2, "PaymentDeclined").await;
    assert_eq!(declined["reason"], "10001 won is over the limit of 10000 won");
    let (status, by_id) = payment.get(&format!("/payments/{}", declined["id"])).await;
    assert_eq!((status, &by_id["cartId"]), (200, &json!(2)));
    // `id` is the original's name for the cart id here.
    assert_eq!(payment.get("/payments/search/findByCartId?id=2").await.1["id"], declined["id"]);
    eventually("the decline to be told", async || {
        (payment.told(2).await == ["PaymentDeclined"]).then_some(())
    })
    .await;

    // The cart goes because of it: there is nothing to give back.
    payment.hear("CartRemoved", 2, 0).await;
    payment.hear("CartRemoved", 1, 0).await;
    payment.becomes(1, "PaymentCanceled").await;
    payment.becomes(2, "PaymentDeclined").await;
    let wanted = ["PaymentApproved", "PaymentCancelled"];
    eventually("the cancel to be told", async || (payment.told(1).await == wanted).then_some(()))
        .await;
    assert_eq!(payment.told(2).await, ["PaymentDeclined"]);
}

#[tokio::test]
async fn a_cart_that_comes_twice_is_paid_once() {
    let payment = Payment::start(Builtin { limit: None }).await;
    for _ in 0..3 {
        payment.hear("CartAdded", 1, 100).await; // each with an id of its own: the rules must see it
    }
    payment.hear("CartAdded", 2, 100).await;
    payment.becomes(1, "PaymentApproved").await;
    payment.becomes(2, "PaymentApproved").await;
    let (_, page) = payment.get("/payments").await;
    assert_eq!(page["page"]["totalElements"], 2);
    eventually("both to be told", async || {
        (payment.told(1).await == ["PaymentApproved"]
            && payment.told(2).await == ["PaymentApproved"])
        .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_overtakes_its_cart_ends_with_the_payment_cancelled() {
    let payment = Payment::start(Builtin { limit: None }).await;
    payment.hear("CartRemoved", 1, 0).await;
    payment.hear("CartAdded", 1, 700).await;
    let cancelled = payment.becomes(1, "PaymentCanceled").await;
    assert_eq!(cancelled["amount"], 700);
}

/// Fails the first times it is asked, and remembers what it was asked.
#[derive(Default)]
struct Shaky {
    asked: AtomicUsize,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Shaky {
    fn ask(&self, what: &str, cart_id: CartId) -> anyhow::Result<()> {
        self.calls.lock().unwrap().push(format!("{what} {cart_id}"));
        anyhow::ensure!(self.asked.fetch_add(1, Ordering::Relaxed) > 1, "the provider is away");
        Ok(())
    }
}

#[async_trait]
impl Provider for Shaky {
    async fn approve(&self, cart_id: CartId, _: i64) -> anyhow::Result<Verdict> {
        self.ask("approve", cart_id).map(|()| Verdict::Approved)
    }

    async fn cancel(&self, cart_id: CartId) -> anyhow::Result<()> {
        self.ask("cancel", cart_id)
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_again() {
    let shaky = Shaky::default();
    let calls = Arc::clone(&shaky.calls);
    let payment = Payment::start(shaky).await;
    payment.hear("CartAdded", 1, 100).await;
    payment.becomes(1, "PaymentApproved").await;
    payment.hear("CartRemoved", 1, 0).await;
    payment.becomes(1, "PaymentCanceled").await;
    let calls = calls.lock().unwrap().clone();
    assert_eq!(calls, ["approve 1", "approve 1", "approve 1", "cancel 1"]);
}

#[tokio::test]
async fn a_call_of_the_provider_is_in_the_trace_of_its_purchase_and_a_cancel_begins_one() {
    const PURCHASE: &str = "0af7651916cd43dd8448eb211c80319c";
    let collector = Collector::start();
    export::begin("payment", collector.settings()).unwrap();
    let payment = Payment::start(Shaky::default()).await;
    let trace = ("traceparent".into(), format!("00-{PURCHASE}-b7ad6b7169203331-01"));
    payment.hear_with(1, &event("CartAdded", 1, 100), vec![trace]).await;
    payment.becomes(1, "PaymentApproved").await;
    payment.hear("CartRemoved", 1, 0).await;
    payment.becomes(1, "PaymentCanceled").await;
    let publishes = |event_type: &str| {
        let spans = collector.spans().into_iter();
        let mut published = spans.filter(|span| span.name == "embedded publish");
        published.find(|span| span.attributes["gifticon.event_type"] == event_type)
    };
    let cancelled =
        eventually("the cancel to be told", async || publishes("PaymentCancelled")).await;
    assert_eq!(publishes("PaymentApproved").unwrap().trace, PURCHASE);
    let spans = collector.spans();
    let calls = |name| spans.iter().filter(move |span| span.name == name);
    assert!(calls("provider approve").all(|call| call.trace == PURCHASE));
    assert_eq!(calls("provider approve").filter(|call| call.failed).count(), 2);
    assert_eq!(calls("provider approve").count(), 3);
    let cancel = calls("provider cancel").next().unwrap();
    assert_eq!((&cancel.trace, cancel.parent.as_str()), (&cancelled.trace, ""));
    assert_eq!(cancel.links, [PURCHASE]);
}

#[tokio::test]
async fn an_event_that_comes_again_is_acted_on_once_also_when_its_cart_is_gone() {
    let payment = Payment::start(Builtin { limit: Some(100) }).await;
    let (added, removed) = (event("CartAdded", 1, 100), event("CartRemoved", 1, 0));
    for event in [&added, &added] {
        payment.hear_under(1, event).await;
    }
    payment.becomes(1, "PaymentApproved").await;
    for event in [&removed, &removed, &added] {
        payment.hear_under(1, event).await;
    }
    payment.becomes(1, "PaymentCanceled").await;
    // Under the same key, so that all before it was heard when this is decided.
    payment.hear_under(1, &event("CartAdded", 2, 101)).await;
    payment.becomes(2, "PaymentDeclined").await;
    payment.becomes(1, "PaymentCanceled").await;
    let wanted = ["PaymentApproved", "PaymentCancelled"];
    eventually("what became of it to be told", async || {
        (payment.told(1).await == wanted && payment.told(2).await == ["PaymentDeclined"])
            .then_some(())
    })
    .await;
    assert_eq!(payment.get("/payments").await.1["page"]["totalElements"], 2);
}

/// Never answers, and counts how often it is asked.
#[derive(Default)]
struct Away {
    asked: Arc<AtomicUsize>,
}

impl Away {
    fn ask<T>(&self) -> anyhow::Result<T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        anyhow::bail!("the provider is away")
    }
}

#[async_trait]
impl Provider for Away {
    async fn approve(&self, _: CartId, _: i64) -> anyhow::Result<Verdict> {
        self.ask()
    }

    async fn cancel(&self, _: CartId) -> anyhow::Result<()> {
        self.ask()
    }
}

#[tokio::test]
async fn a_payment_is_read_when_it_is_decided_and_written_by_nobody() {
    let away = Away::default();
    let asked = Arc::clone(&away.asked);
    let payment = Payment::start(away).await;
    payment.hear("CartAdded", 1, 100).await;
    // The provider is asked about what is committed: the event was handled then.
    eventually("the provider to be asked", async || {
        (asked.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    for (path, status) in [
        ("/payments", 200),
        ("/payments/search", 200),
        ("/payments/search/findByCartId?cartId=1", 404),
        ("/payments/search/findByCartId?cartId=x", 400),
        ("/payments/search/findByCartId", 400),
        ("/payments/1", 404),
        ("/payments/x", 404),
    ] {
        assert_eq!(payment.get(path).await.0, status, "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for path in ["/payments", "/payments/1"] {
            let url = format!("{}{path}", payment.running.url());
            let answer = payment.client.request(method.clone(), url).send().await.unwrap();
            assert_eq!(answer.status(), 405, "{method} {path}");
            assert!(answer.headers().contains_key("allow"), "{method} {path}");
        }
    }
}
