//! The cart service over HTTP, with a gifticon that does what the test says.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::put;
use axum::{Json, Router};
use cart::{Budget, CartConfig};
use chassis::Running;
use chassis::bus::{Bus, Message};
use chassis::http;
use chassis::testing::{TestDb, TestLog, eventually, peer};
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection};
use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What the stand-in does when it is asked to reserve.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Reserves,
    Answers(u16),
    SellsOut,
    /// Takes the stock and never says so.
    Hangs,
}

#[derive(Clone)]
struct Gifticon(Arc<Mutex<Seen>>);

struct Seen {
    does: Does,
    reserved: Vec<String>,
    released: BTreeSet<String>,
}

impl Gifticon {
    fn new() -> Self {
        let (reserved, released) = (Vec::new(), BTreeSet::new());
        Self(Arc::new(Mutex::new(Seen { does: Does::Reserves, reserved, released })))
    }

    fn does(&self, does: Does) {
        self.0.lock().unwrap().does = does;
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().reserved.len()
    }

    /// Reservations that were asked for and not released.
    fn holds(&self) -> usize {
        let seen = self.0.lock().unwrap();
        seen.reserved.iter().filter(|id| !seen.released.contains(*id)).count()
    }
}

async fn reserve(
    State(gifticon): State<Gifticon>,
    http::Uuid(id): http::Uuid,
) -> (StatusCode, Json<Value>) {
    let does = {
        let mut seen = gifticon.0.lock().unwrap();
        seen.reserved.push(id.to_string());
        seen.does
    };
    match does {
        Does::Reserves => {
            (StatusCode::CREATED, Json(json!({ "name": "Americano", "price": 5000 })))
        }
        Does::SellsOut => (StatusCode::CONFLICT, Json(json!({ "availableQuantity": 3 }))),
        Does::Answers(status) => (StatusCode::from_u16(status).unwrap(), Json(Value::Null)),
        Does::Hangs => pending().await,
    }
}

async fn release(State(gifticon): State<Gifticon>, http::Uuid(id): http::Uuid) -> StatusCode {
    gifticon.0.lock().unwrap().released.insert(id.to_string());
    StatusCode::NO_CONTENT
}

struct Cart {
    client: Client,
    url: String,
    gifticon: Gifticon,
    gifticon_url: String,
    log: TestLog,
    db: TestDb,
    running: Running,
}

impl Cart {
    async fn start() -> Self {
        let (gifticon, log, db) = (Gifticon::new(), TestLog::open().await, TestDb::sqlite());
        let routes = Router::new().route("/reservations/{id}", put(reserve).delete(release));
        let gifticon_url = peer(routes.with_state(gifticon.clone())).await;
        let running = serve(&db, &log, &gifticon_url).await;
        let client = Client::builder().no_proxy().build().unwrap();
        Self { client, url: running.url(), gifticon, gifticon_url, log, db, running }
    }

    /// As after a restart of the process.
    async fn restart(mut self) -> Self {
        self.running.stop(Duration::from_secs(5)).await;
        self.running = serve(&self.db, &self.log, &self.gifticon_url).await;
        self.url = self.running.url();
        self
    }

    fn post(&self, quantity: i64, key: Option<&str>) -> reqwest::RequestBuilder {
        let body = json!({ "gifticonId": "1", "quantity": quantity });
        let request = self.client.post(format!("{}/carts", self.url)).json(&body);
        match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        }
    }

    async fn add(&self, quantity: i64, key: Option<&str>) -> (u16, Value) {
        let answer = self.post(quantity, key).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn delete(&self, id: i64) -> u16 {
        let url = format!("{}/carts/{id}", self.url);
        self.client.delete(url).send().await.unwrap().status().as_u16()
    }

    async fn live(&self) -> i64 {
        let page = self.client.get(format!("{}/carts", self.url)).send().await.unwrap();
        page.json::<Value>().await.unwrap()["page"]["totalElements"].as_i64().unwrap()
    }

    async fn told(&self, event_type: &str) -> Vec<Value> {
        let told = self.log.told().await;
        told.into_iter().filter(|event| event["eventType"] == event_type).collect()
    }

    /// Has an event of payment come.
    async fn hear(&self, event_type: &str, cart: i64) {
        let payload = json!({
            "eventType": event_type, "timestamp": "20261124000000", "eventId": uuid::Uuid::new_v4(),
            "id": 1, "cartId": cart, "amount": 5000, "status": event_type,
        });
        let message =
            Message { key: cart.to_string(), payload: payload.to_string(), headers: vec![] };
        let publisher = self.log.log.publisher().await.unwrap();
        publisher.publish(&[message]).await.remove(0).unwrap();
    }

    async fn has_status(&self, id: i64, wanted: &str) {
        eventually(&format!("cart {id} to be {wanted}"), async || {
            let url = format!("{}/carts/{id}", self.url);
            let cart: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
            (cart["status"] == wanted).then_some(())
        })
        .await;
    }

    /// Waits until gifticon holds `wanted` reservations and no intent is left.
    async fn settles(&self, wanted: usize) {
        let file = self.db.url.sqlite_path().unwrap().to_owned();
        eventually(&format!("{wanted} reservations and no intents"), async || {
            let mut connection = AnyConnection::connect(&format!("sqlite:{file}")).await.unwrap();
            let intents =
                sqlx::query("select 1 from intents").fetch_all(&mut connection).await.unwrap();
            (self.gifticon.holds() == wanted && intents.is_empty()).then_some(())
        })
        .await;
    }
}

async fn serve(db: &TestDb, log: &TestLog, gifticon_url: &str) -> Running {
    let config = CartConfig {
        host: db.host(),
        budget: Budget { gifticon_timeout_ms: 250 },
        gifticon_url: gifticon_url.into(),
    };
    cart::start(config, Arc::new(log.log.clone())).await.unwrap()
}

#[tokio::test]
async fn what_is_added_is_answered_shown_and_told() {
    let cart = Cart::start().await;
    let answer = cart.post(3, None).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["location"], format!("{}/carts/1", cart.url));
    let body: Value = answer.json().await.unwrap();
    assert_eq!((&body["status"], &body["amount"]), (&json!("CartAdded"), &json!(15_000)));
    let told = eventually("the event", async || cart.told("CartAdded").await.pop()).await;
    assert_eq!(
        (&told["id"], &told["quantity"], &told["amount"]),
        (&json!(1), &json!(3), &json!(15_000))
    );
    assert_eq!(told["reservationId"], cart.gifticon.0.lock().unwrap().reserved[0].as_str());
    cart.settles(1).await;
}

#[tokio::test]
async fn a_no_of_gifticon_is_passed_on_and_leaves_nothing() {
    let cart = Cart::start().await;
    for (does, status) in [(Does::Answers(404), 404), (Does::SellsOut, 409)] {
        cart.gifticon.does(does);
        let (answered, problem) = cart.add(5, None).await;
        assert_eq!(answered, status, "{problem}");
        assert!(status == 404 || problem["availableQuantity"] == 3, "{problem}");
    }
    assert_eq!(cart.live().await, 0);
    for _ in 0..10 {
        cart.add(5, None).await;
    }
    cart.gifticon.does(Does::Reserves);
    assert_eq!(cart.add(5, None).await.0, 201, "a no does not open the circuit");
    eventually("the one cart to be told", async || cart.told("CartAdded").await.pop()).await;
    assert_eq!(cart.told("CartAdded").await.len() + cart.told("CartRemoved").await.len(), 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_503_and_is_released() {
    let cart = Cart::start().await;
    for does in [Does::Hangs, Does::Answers(500), Does::Answers(201)] {
        cart.gifticon.does(does);
        let began = Instant::now();
        let answer = cart.post(1, None).header("accept-language", "ko").send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert!(began.elapsed() < Duration::from_secs(2), "a customer waits no longer");
        assert_eq!(answer.headers()["retry-after"], "1");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["detail"], "잠시 후 다시 시도해 주세요");
    }
    cart.settles(0).await;
    assert_eq!(cart.gifticon.asked(), 3);
    assert_eq!(cart.live().await, 0);
}

#[tokio::test]
async fn a_circuit_that_is_open_asks_nobody_and_heals_by_itself() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::Answers(500));
    for _ in 0..5 {
        assert_eq!(cart.add(1, None).await.0, 503);
    }
    let asked = cart.gifticon.asked();
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(cart.add(1, None).await.0, 503);
    }
    assert!(cart.gifticon.asked() == asked || began.elapsed() > Duration::from_secs(1));
    cart.gifticon.does(Does::Reserves);
    eventually("the circuit to close", async || (cart.add(1, None).await.0 == 201).then_some(()))
        .await;
    cart.settles(1).await;
}

#[tokio::test]
async fn a_key_gives_the_same_answer_also_after_a_restart() {
    let cart = Cart::start().await;
    let (status, first) = cart.add(2, Some("k")).await;
    assert_eq!(status, 201);
    assert_eq!(cart.add(2, Some("k")).await, (201, first.clone()));
    cart.gifticon.does(Does::SellsOut);
    let (status, refused) = cart.add(9, Some("no")).await;
    assert_eq!(status, 409);
    cart.gifticon.does(Does::Reserves);
    assert_eq!(cart.add(9, Some("no")).await, (409, refused), "the answer was no, and stays no");

    let cart = cart.restart().await;
    let (status, mut again) = cart.add(2, Some("k")).await;
    again["_links"] = first["_links"].clone(); // the port is another one
    assert_eq!((status, again), (201, first));
    let (status, problem) = cart.add(3, Some("k")).await;
    assert_eq!((status, &problem["type"]), (422, &json!("/problems/idempotency-key-reused")));
    cart.settles(2).await;
    assert_eq!(cart.live().await, 1);
}

#[tokio::test]
async fn ten_requests_with_one_key_at_once_make_one_cart() {
    let cart = Arc::new(Cart::start().await);
    let mut customers = JoinSet::new();
    for _ in 0..10 {
        let cart = Arc::clone(&cart);
        customers.spawn(async move { cart.add(1, Some("k")).await });
    }
    let answers = customers.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].0, 201);
    assert_eq!((cart.gifticon.asked(), cart.live().await), (1, 1));
}

#[tokio::test]
async fn a_key_that_was_answered_503_is_free_for_the_next_try() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::Answers(500));
    assert_eq!(cart.add(1, Some("k")).await.0, 503);
    cart.gifticon.does(Does::Reserves);
    assert_eq!(cart.add(1, Some("k")).await.0, 201);
    cart.settles(1).await;
}

#[tokio::test]
async fn a_customer_who_goes_away_meanwhile_leaves_no_cart() {
    let cart = Cart::start().await;
    cart.gifticon.does(Does::Hangs);
    let gone = cart.post(1, None).timeout(Duration::from_millis(100)).send().await;
    assert!(gone.is_err());
    eventually("gifticon to be asked", async || (cart.gifticon.asked() == 1).then_some(())).await;
    cart.settles(0).await;
    assert_eq!(cart.live().await, 0);
}

#[tokio::test]
async fn an_intent_that_a_crash_left_is_swept() {
    let cart = Cart::start().await;
    let file = cart.db.url.sqlite_path().unwrap().to_owned();
    let id = uuid::Uuid::new_v4().to_string();
    cart.gifticon.0.lock().unwrap().reserved.push(id.clone());
    let mut connection = AnyConnection::connect(&format!("sqlite:{file}")).await.unwrap();
    let left = "insert into intents (reservation_id, gifticon_id, quantity, status, since) \
                values ($1, 1, 1, 'Pending', 0)";
    sqlx::query(left).bind(id.as_str()).execute(&mut connection).await.unwrap();
    cart.settles(0).await;
    assert!(cart.gifticon.0.lock().unwrap().released.contains(&id));
}

#[tokio::test]
async fn payment_decides_what_becomes_of_a_cart() {
    let cart = Cart::start().await;
    for _ in 0..2 {
        assert_eq!(cart.add(1, None).await.0, 201);
    }
    cart.hear("PaymentApproved", 1).await;
    cart.has_status(1, "PaymentApproved").await;
    cart.hear("PaymentDeclined", 2).await;
    let removed = eventually("the removal", async || cart.told("CartRemoved").await.pop()).await;
    assert_eq!(removed["id"], 2);
    assert_eq!(cart.delete(2).await, 404);

    // What is gone stays gone, however late its payment is decided.
    assert_eq!(cart.delete(1).await, 204);
    for late in ["PaymentApproved", "PaymentDeclined", "PaymentCancelled"] {
        cart.hear(late, 1).await;
        cart.hear(late, 2).await;
    }
    cart.hear("PaymentApproved", 99).await; // not a cart of ours
    assert_eq!(cart.add(1, None).await.0, 201);
    cart.hear("PaymentApproved", 3).await;
    cart.has_status(3, "PaymentApproved").await;
    assert_eq!(cart.live().await, 1);
    eventually("both removals", async || (cart.told("CartRemoved").await.len() == 2).then_some(()))
        .await;
}

#[tokio::test]
async fn of_fifty_cancels_at_once_one_cancels() {
    let cart = Arc::new(Cart::start().await);
    cart.add(1, None).await;
    let mut customers = JoinSet::new();
    for _ in 0..50 {
        let cart = Arc::clone(&cart);
        customers.spawn(async move { cart.delete(1).await });
    }
    let mut answers = customers.join_all().await;
    answers.sort_unstable();
    assert_eq!((answers[0], answers[1], answers.len()), (204, 404, 50));
    eventually("the removal", async || (cart.told("CartRemoved").await.len() == 1).then_some(()))
        .await;
    assert_eq!(cart.told("CartRemoved").await.len(), 1);
}
