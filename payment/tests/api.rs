//! The payment service over HTTP and events, with a provider that does what the test says.

use async_trait::async_trait;
use chassis::Running;
use chassis::bus::{Bus, Message};
use chassis::testing::{TestDb, TestLog, eventually};
use common_events::CartId;
use payment::domain::Verdict;
use payment::provider::{Builtin, Provider};
use reqwest::Client;
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
        let payload = json!({
            "eventType": event_type, "timestamp": "20261124000000", "eventId": Uuid::new_v4(),
            "id": cart, "gifticonId": 1, "quantity": 1, "amount": amount, "status": event_type,
        });
        let message =
            Message { key: cart.to_string(), payload: payload.to_string(), headers: vec![] };
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
