//! Kafka, or Postgres, away for a while.

use super::{Row, row};
use anyhow::ensure;
use chaos::servers::SERVICES;
use chaos::shop::Shop;
use chaos::{Web, inside};
use reqwest::{Method, StatusCode};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long a service may take to say that it cannot.
const SAYS_NO: Duration = Duration::from_secs(6);
/// How long services may take to be back when Postgres is.
const BACK: Duration = Duration::from_secs(30);

/// Kafka goes away for `time`: not one request may fail, also while every replica is restarted; then
/// everything that waited is sent in order.
pub(crate) async fn of_kafka(
    shop: &mut Shop,
    time: Duration,
    customers: u64,
) -> anyhow::Result<Vec<Row>> {
    shop.cluster.servers.kill_kafka()?;
    let began = Instant::now();
    let crowd = shop.crowd(customers, "no-kafka", 3);
    for service in SERVICES {
        shop.cluster.terminate(service, 0).await?;
        shop.cluster.start_replica(service, 0)?;
        sleep(Duration::from_millis(500)).await;
    }
    while began.elapsed() < time {
        for service in SERVICES {
            for web in shop.cluster.webs(service) {
                ensure!(web.is_ready().await, "{service} needs Kafka to be ready");
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
    crowd.goes().await;
    let requests = shop.requests_all_answered().await?;
    let waiting = inside::outbox(&shop.cluster.servers, "cart").await?;
    shop.cluster.servers.start_kafka()?;
    let back = Instant::now();
    while inside::outbox(&shop.cluster.servers, "cart").await? > 0 {
        ensure!(back.elapsed() < time.max(BACK), "the outbox does not drain");
        sleep(Duration::from_millis(20)).await;
    }
    let drained = back.elapsed();
    let settled = drained + shop.settles().await?;
    Ok(vec![
        row("Kafka was away for", &format!("{} s", time.as_secs())),
        row("requests meanwhile", &requests),
        row("of them failed", &0),
        row("events of cart that waited", &waiting),
        row("all of them sent after", &format!("{drained:.1?}")),
        row("payments and views of all of them done after", &format!("{settled:.1?}")),
    ])
}

/// Postgres goes away for `time`: every service says 503 with `Retry-After` and is alive, and is back
/// by itself.
pub(crate) async fn of_postgres(
    shop: &mut Shop,
    time: Duration,
    customers: u64,
) -> anyhow::Result<Vec<Row>> {
    let crowd = shop.crowd(customers, "no-postgres", 4);
    sleep(Duration::from_secs(1)).await;
    shop.cluster.servers.kill_postgres()?;
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    while began.elapsed() < time {
        for (service, path) in [
            ("gifticon", "/gifticons"),
            ("cart", "/carts"),
            ("payment", "/payments"),
            ("mypage", "/mypages"),
        ] {
            for web in shop.cluster.webs(service) {
                slowest = slowest.max(refuses(&web, Method::GET, path).await?);
                ensure!(!web.is_healthy().await, "{service} is healthy without its database");
                ensure!(web.is_ready().await, "{service} is not there to say 503");
                let (status, _) = web.ask(Method::GET, "/actuator/health/liveness", None).await?;
                ensure!(status == StatusCode::OK, "{service} is not alive: {status}");
            }
        }
        slowest = slowest.max(refuses(&shop.web, Method::POST, "/carts").await?);
        sleep(Duration::from_millis(200)).await;
    }
    shop.cluster.servers.start_postgres()?;
    let back = Instant::now();
    for service in SERVICES {
        for web in shop.cluster.webs(service) {
            while !web.is_healthy().await {
                ensure!(back.elapsed() < BACK, "{service} does not find its database again");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let ready = back.elapsed();
    sleep(Duration::from_secs(1)).await;
    crowd.goes().await;
    let failed = shop.ledger.failed().len();
    let settled = shop.settles().await?;
    Ok(vec![
        row("Postgres was away for", &format!("{} s", time.as_secs())),
        row("slowest 503 meanwhile", &format!("{slowest:.1?}")),
        row("requests of customers that failed", &failed),
        row("all replicas healthy after", &format!("{ready:.1?}")),
        row("settled after", &format!("{settled:.1?}")),
    ])
}

/// Asks for what needs a database, and says how long the 503 took.
async fn refuses(web: &Web, method: Method, path: &str) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    let request = web.client.request(method.clone(), format!("{}{path}", web.base));
    let body = serde_json::json!({ "gifticonId": 1, "quantity": 1 });
    let answer = timeout(SAYS_NO, request.json(&body).send()).await;
    let answer = answer
        .map_err(|_| anyhow::anyhow!("{method} {path} says nothing without a database"))??;
    let said = (answer.status(), answer.headers().contains_key("retry-after"));
    ensure!(
        said == (StatusCode::SERVICE_UNAVAILABLE, true),
        "{method} {path} at {} answered {said:?} without a database",
        web.base
    );
    Ok(asked.elapsed())
}
