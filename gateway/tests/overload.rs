//! More requests than a service handles at once: they wait in a queue, and are refused when their patience is over.

mod common;

use axum::Router;
use axum::routing::any;
use chassis::Running;
use chassis::base::limits::PATIENCE;
use chassis::testing::{eventually, peer};
use common::{gateway, header_values, mirror};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A gateway in front of a service that responds only when the test adds permits.
struct BlockedService {
    permits: Arc<Semaphore>,
    received: Arc<AtomicUsize>,
    gateway: Running,
    client: Client,
}

impl BlockedService {
    async fn start() -> Self {
        rlimit::increase_nofile_limit(4_096).unwrap(); // both ends of each hop are in this process
        let (permits, received) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (acquired, counted) = (Arc::clone(&permits), Arc::clone(&received));
        let slow = any(async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(acquired.acquire().await);
            "done"
        });
        let upstream = peer(Router::new().fallback_service(slow));
        Self {
            permits,
            received,
            gateway: gateway(&upstream, &[]).await,
            client: Client::default(),
        }
    }

    /// Sends `count` requests at once. Returns each response with the time that it took.
    fn send(&self, count: usize) -> JoinSet<(reqwest::Response, Duration)> {
        let mut requests = JoinSet::new();
        let began = Instant::now();
        for _ in 0..count {
            let request = self.client.get(format!("{}/carts", self.gateway.url())).send();
            requests.spawn(async move { (request.await.unwrap(), began.elapsed()) });
        }
        requests
    }

    /// Waits until the service has received `count` requests.
    async fn has_received(&self, count: usize) {
        eventually("the service to receive the requests", async || {
            (self.received.load(Ordering::Relaxed) == count).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_burst_waits_in_the_queue_and_nothing_is_refused() {
    let service = BlockedService::start().await;
    let burst = service.send(600);
    service.has_received(256).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // like a pause of a disk or a scheduler
    assert_eq!(service.received.load(Ordering::Relaxed), 256, "no more are in progress at once");
    service.permits.add_permits(600);
    let mut done = 0;
    for (answer, took) in burst.join_all().await {
        // A slow machine may refuse requests that waited for the whole patience, and no others.
        let is_done = answer.status() == StatusCode::OK;
        assert!(is_done || took >= PATIENCE, "{} after {took:?}", answer.status());
        done += usize::from(is_done);
    }
    assert!(done >= 256, "{done} of 600 were done");
}

#[tokio::test]
async fn a_request_is_refused_when_its_patience_is_over_and_health_is_not() {
    let service = BlockedService::start().await;
    let mut running = service.send(256);
    service.has_received(256).await;

    let (client, url) = (&service.client, service.gateway.url());
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
    let metrics = format!("{}/metrics", service.gateway.management_url().unwrap());
    let metrics = client.get(metrics).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("http_requests_shed_total{at=\"queue\"} 1\n"), "{metrics}");
    // A full queue of one service does not delay the requests of another.
    let other = client.get(format!("{url}/gifticons")).send();
    running.spawn(async move { (other.await.unwrap(), Duration::ZERO) });
    service.has_received(257).await;

    service.permits.add_permits(257);
    while let Some(answer) = running.join_next().await {
        assert_eq!(answer.unwrap().0.status(), StatusCode::OK, "requests in progress are finished");
    }
    let again = client.get(format!("{url}/carts")).send();
    service.permits.add_permits(1);
    assert_eq!(again.await.unwrap().status(), StatusCode::OK, "the service takes requests again");
}

/// A client cannot lengthen its patience: the service gets the rest of it.
#[tokio::test]
async fn the_remaining_patience_is_forwarded() {
    let gateway = gateway(&mirror().await, &[]).await;
    let request = Client::default().get(format!("{}/carts", gateway.url()));
    let answer = request.header("x-budget-ms", "60000").send().await.unwrap();
    let mirrored: Value = answer.json().await.unwrap();
    let values = header_values(&mirrored, "x-budget-ms");
    let [left] = values[..] else { panic!("{values:?}") };
    assert!((100..=1_000).contains(&left.parse::<u64>().unwrap()), "{left}");
}
