//! More requests than a service works on at once: they wait for their turn, and are refused when their patience is over.

mod common;

use axum::Router;
use axum::routing::any;
use chassis::Running;
use chassis::base::patience::PATIENCE;
use chassis::testing::{eventually, peer};
use common::{gateway, mirror, seen};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A service that works on requests and answers none until the test lets it.
struct Held {
    door: Arc<Semaphore>,
    inside: Arc<AtomicUsize>,
    gateway: Running,
    client: Client,
}

impl Held {
    async fn start() -> Self {
        rlimit::increase_nofile_limit(4_096).unwrap(); // both ends of each hop are in this process
        let (door, inside) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (held, counted) = (Arc::clone(&door), Arc::clone(&inside));
        let slow = any(async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(held.acquire().await);
            "done"
        });
        let upstream = peer(Router::new().fallback_service(slow));
        Self { door, inside, gateway: gateway(&upstream, &[]).await, client: Client::default() }
    }

    /// Requests at once, each with how long it took.
    fn ask(&self, count: usize) -> JoinSet<(reqwest::Response, Duration)> {
        let mut asked = JoinSet::new();
        let began = Instant::now();
        for _ in 0..count {
            let request = self.client.get(format!("{}/carts", self.gateway.url())).send();
            asked.spawn(async move { (request.await.unwrap(), began.elapsed()) });
        }
        asked
    }

    async fn works_on(&self, count: usize) {
        eventually("the service to work on them", async || {
            (self.inside.load(Ordering::Relaxed) == count).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_burst_waits_for_its_turn_and_nobody_is_refused() {
    let held = Held::start().await;
    let burst = held.ask(600);
    held.works_on(256).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // as a disk or a scheduler pauses
    assert_eq!(held.inside.load(Ordering::Relaxed), 256, "no more are worked on at once");
    held.door.add_permits(600);
    let mut done = 0;
    for (answer, took) in burst.join_all().await {
        // A machine that needs longer for all of them may refuse those who waited for it, and nobody else.
        let is_done = answer.status() == StatusCode::OK;
        assert!(is_done || took >= PATIENCE, "{} after {took:?}", answer.status());
        done += usize::from(is_done);
    }
    assert!(done >= 256, "{done} of 600 were done");
}

#[tokio::test]
async fn who_waits_in_vain_is_refused_when_the_patience_is_over_and_health_is_not() {
    let held = Held::start().await;
    let mut running = held.ask(256);
    held.works_on(256).await;

    let (client, url) = (&held.client, held.gateway.url());
    let began = Instant::now();
    let refused = client.post(format!("{url}/carts")).body("{}").send().await.unwrap();
    let waited = began.elapsed();
    assert!(waited >= PATIENCE, "it was refused after {waited:?}");
    assert!(waited < PATIENCE * 2, "it was refused after {waited:?} only");
    assert_eq!(
        (refused.status(), &refused.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/unavailable");
    for path in ["/actuator/health", "/actuator/health/readiness", "/actuator/health/liveness"] {
        let status = client.get(format!("{url}{path}")).send().await.unwrap().status();
        assert_eq!(status, StatusCode::OK, "{path}");
    }
    let metrics = format!("{}/metrics", held.gateway.management_url().unwrap());
    let metrics = client.get(metrics).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("http_requests_shed_total{at=\"queue\"} 1\n"), "{metrics}");
    // What stands in front of one service does not stand in front of the others.
    let other = client.get(format!("{url}/gifticons")).send();
    running.spawn(async move { (other.await.unwrap(), Duration::ZERO) });
    held.works_on(257).await;

    held.door.add_permits(257);
    while let Some(answer) = running.join_next().await {
        assert_eq!(answer.unwrap().0.status(), StatusCode::OK, "what was begun is finished");
    }
    let again = client.get(format!("{url}/carts")).send();
    held.door.add_permits(1);
    assert_eq!(again.await.unwrap().status(), StatusCode::OK, "and there is room again");
}

/// A client cannot say how long it may wait; the service hears what is left of the patience.
#[tokio::test]
async fn what_is_left_of_the_patience_is_passed_on() {
    let gateway = gateway(&mirror().await, &[]).await;
    let request = Client::default().get(format!("{}/carts", gateway.url()));
    let answer = request.header("x-budget-ms", "60000").send().await.unwrap();
    let mirrored: Value = answer.json().await.unwrap();
    let budgets = seen(&mirrored, "x-budget-ms");
    let [budget] = budgets[..] else { panic!("{budgets:?}") };
    assert!((100..=1_000).contains(&budget.parse::<u64>().unwrap()), "{budget}");
}
