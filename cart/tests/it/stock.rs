//! Reservations that are requested together share a call to gifticon, and each has its own answer.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{post, put};
use axum::{Json, Router};
use cart::domain::Rejection;
use cart::stock::{HttpStock, ReserveError, Reserved};
use chassis::base::metrics::Metrics;
use chassis::base::span::Tracer;
use chassis::http;
use chassis::http::breaker::Breaker;
use chassis::testing::{eventually, peer};
use common_events::{GifticonId, Owner, ReservationId};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// The calls that the stand-in for gifticon got: how many reservations each was for.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<usize>>>);

impl Calls {
    fn add(&self, reservations: usize) -> usize {
        let mut calls = self.0.lock().unwrap();
        calls.push(reservations);
        calls.len()
    }

    fn all(&self) -> Vec<usize> {
        self.0.lock().unwrap().clone()
    }
}

/// The quantity of a reservation that gets no answer when it is alone.
const HANGS: i64 = 6;

/// For whom a reservation of `quantity` is.
fn owner(quantity: i64) -> Owner {
    Owner::of_subject("https://id.example", &quantity.to_string())
}

/// What gifticon answers. The quantity says what a reservation is for: 1 is reserved, of 2 there is no gifticon, of 3 only
/// two are left, 4 was released before, and 5 fails.
fn answer(item: &Value) -> Value {
    let quantity = item["quantity"].as_i64().unwrap();
    assert_eq!(item["owner"], owner(quantity).as_str());
    match quantity {
        1 => json!({ "status": 201, "name": "Americano", "price": 5_000 }),
        2 => json!({ "status": 404 }),
        3 => json!({ "status": 409, "availableQuantity": 2 }),
        4 => json!({ "status": 409 }),
        _ => json!({ "status": 503 }),
    }
}

async fn reserve_each(State(calls): State<Calls>, Json(body): Json<Value>) -> Json<Vec<Value>> {
    let items = body["reservations"].as_array().unwrap();
    calls.add(items.len());
    Json(items.iter().map(answer).collect())
}

async fn reserve_one(
    State(calls): State<Calls>,
    http::Uuid(_): http::Uuid,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    calls.add(1);
    if body["quantity"] == HANGS {
        return pending().await;
    }
    let answer = answer(&body);
    let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
    (StatusCode::from_u16(status).unwrap(), Json(answer))
}

/// The first call gets no answer, the others are made.
async fn first_is_lost(state: State<Calls>, body: Json<Value>) -> Json<Vec<Value>> {
    let answers = reserve_each(state.clone(), body).await;
    if state.0.all().len() == 1 { pending().await } else { answers }
}

/// The connection of the first call breaks.
async fn first_breaks(state: State<Calls>, body: Json<Value>) -> Json<Vec<Value>> {
    let answers = reserve_each(state.clone(), body).await;
    assert_ne!(state.0.all().len(), 1, "the connection breaks with its task");
    answers
}

type Outcome = Result<Result<Reserved, Rejection>, ReserveError>;

/// The connection of the first call breaks, and then there is no such call.
async fn first_breaks_and_then_there_is_none(
    state: State<Calls>,
    body: Json<Value>,
) -> (StatusCode, Json<Vec<Value>>) {
    (StatusCode::NOT_FOUND, first_breaks(state, body).await)
}

struct Stock {
    stock: HttpStock,
    calls: Calls,
}

impl Stock {
    fn with(routes: Router<Calls>) -> Self {
        let calls = Calls::default();
        let url = peer(routes.with_state(calls.clone()));
        let breaker = Breaker::new("gifticon", Duration::from_millis(500), &Metrics::default());
        let stock = HttpStock::new(http::client::new().unwrap(), url, breaker, Tracer::default());
        Self { stock, calls }
    }

    async fn reserve(&self, quantity: i64) -> Outcome {
        let id = ReservationId(Uuid::now_v7());
        self.stock.reserve(id, GifticonId(1), quantity, owner(quantity), || true).await
    }

    /// Requests reservations of these quantities at the same time.
    async fn reserve_all(&self, quantities: &[i64]) -> Vec<Outcome> {
        join_all(quantities.iter().map(|quantity| self.reserve(*quantity))).await
    }
}

fn reserved() -> Reserved {
    Reserved { name: "Americano".into(), price: 5_000 }
}

#[tokio::test]
async fn each_has_its_own_answer_from_one_call() {
    let stock = Stock::with(Router::new().route("/reservations", post(reserve_each)));
    let answers = stock.reserve_all(&[1, 2, 3, 4, 5, 1]).await;
    let expected = [
        Ok(Ok(reserved())),
        Ok(Err(Rejection::UnknownGifticon)),
        Ok(Err(Rejection::InsufficientStock { available: 2 })),
        Err(ReserveError::Unknown),
        Err(ReserveError::Unknown),
        Ok(Ok(reserved())),
    ];
    assert_eq!(answers, expected);
    assert_eq!(stock.calls.all(), [6]);
}

#[tokio::test]
async fn a_call_is_for_so_many_at_most() {
    let stock = Stock::with(Router::new().route("/reservations", post(reserve_each)));
    let answers = stock.reserve_all(&[1; 130]).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Ok(reserved()))));
    let mut calls = stock.calls.all();
    calls.sort_unstable();
    assert_eq!(calls, [2, 64, 64]);
}

#[tokio::test]
async fn one_alone_is_made_as_the_contract_says() {
    let stock = Stock::with(Router::new().route("/reservations/{id}", put(reserve_one)));
    assert_eq!(stock.reserve(1).await, Ok(Ok(reserved())));
    assert_eq!(stock.reserve(2).await, Ok(Err(Rejection::UnknownGifticon)));
    assert_eq!(stock.reserve(5).await, Err(ReserveError::Unknown));
}

#[tokio::test]
async fn a_gifticon_that_does_not_know_the_call_is_called_for_each() {
    let stock = Stock::with(Router::new().route("/reservations/{id}", put(reserve_one)));
    let answers = stock.reserve_all(&[1, 3, 5]).await;
    let left = Ok(Err(Rejection::InsufficientStock { available: 2 }));
    assert_eq!(answers, [Ok(Ok(reserved())), left, Err(ReserveError::Unknown)]);
    assert_eq!(stock.calls.all(), [1, 1, 1]);
}

#[tokio::test]
async fn a_late_call_is_made_again_for_all_who_wait_and_only_a_success_counts() {
    let stock = Stock::with(Router::new().route("/reservations", post(first_is_lost)));
    let answers = stock.reserve_all(&[1, 3]).await;
    assert_eq!(answers, [Ok(Ok(reserved())), Err(ReserveError::Unknown)]);
    assert_eq!(stock.calls.all(), [2, 2]);
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_once_more_and_only_a_success_counts() {
    let stock = Stock::with(Router::new().route("/reservations", post(first_breaks)));
    let answers = stock.reserve_all(&[1, 3]).await;
    assert_eq!(answers, [Ok(Ok(reserved())), Err(ReserveError::Unknown)]);
    assert_eq!(stock.calls.all(), [2, 2]);
}

#[tokio::test]
async fn a_call_that_may_have_been_done_is_not_made_again_for_each() {
    let routes = Router::new()
        .route("/reservations", post(first_breaks_and_then_there_is_none))
        .route("/reservations/{id}", put(reserve_one));
    let stock = Stock::with(routes);
    let answers = stock.reserve_all(&[1, 3]).await;
    assert_eq!(answers, [Err(ReserveError::Unknown), Err(ReserveError::Unknown)]);
    assert_eq!(stock.calls.all(), [2, 2]);
}

#[tokio::test]
async fn one_that_gets_no_answer_alone_holds_no_other_up() {
    let stock = Stock::with(Router::new().route("/reservations/{id}", put(reserve_one)));
    let answers = stock.reserve_all(&[1, HANGS, 1]).await;
    assert_eq!(answers, [Ok(Ok(reserved())), Err(ReserveError::Unknown), Ok(Ok(reserved()))]);
}

#[tokio::test]
async fn a_call_of_which_most_fails_is_a_failure() {
    let stock = Stock::with(Router::new().route("/reservations", post(reserve_each)));
    for _ in 0..5 {
        assert!(stock.stock.can_be_called());
        assert_eq!(stock.reserve_all(&[5, 1, 5]).await[1], Ok(Ok(reserved())));
    }
    assert!(!stock.stock.can_be_called(), "the circuit is open");
}

#[tokio::test]
async fn a_probe_is_one_reservation() {
    let routes = Router::new()
        .route("/reservations", post(reserve_each))
        .route("/reservations/{id}", put(reserve_one));
    let stock = Stock::with(routes);
    for _ in 0..5 {
        assert_eq!(stock.reserve(5).await, Err(ReserveError::Unknown));
    }
    eventually("the circuit to be half open", async || stock.stock.can_be_called().then_some(()))
        .await;
    let before = stock.calls.all().len();
    let answers = stock.reserve_all(&[HANGS; 200]).await;
    let unsent = answers.iter().filter(|answer| **answer == Err(ReserveError::Unsent)).count();
    assert_eq!(unsent, 197);
    assert_eq!(stock.calls.all()[before..], [1, 1, 1]);
}
