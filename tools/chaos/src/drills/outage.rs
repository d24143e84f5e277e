//! Outages of Kafka and of Postgres.

use super::{Row, row};
use anyhow::ensure;
use chaos::progress::Progress;
use chaos::shop::Shop;
use chaos::{ShopClient, audit};
use gateway::services::{SERVICES, names};
use reqwest::{Method, StatusCode};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Bound for a service to refuse a request without its database.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(6);
/// Bound for services to recover when their server is back.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Stops Kafka for `time`, and restarts a replica of each service meanwhile. No request may fail, and the events that
/// waited are sent in order when Kafka is back.
pub(crate) async fn of_kafka(
    shop: &mut Shop,
    time: Duration,
    customers: u64,
) -> anyhow::Result<Vec<Row>> {
    shop.cluster.servers.kill_kafka()?;
    let began = Instant::now();
    let mut progress = Progress::timing("outage of Kafka", time);
    let shoppers = shop.start_customers(customers, "no-kafka", 3);
    for service in names() {
        shop.cluster.terminate(service, 0).await?;
        shop.cluster.start_replica(service, 0)?;
        sleep(Duration::from_millis(500)).await;
    }
    while began.elapsed() < time {
        progress.ticks(Some(time));
        for service in names() {
            for web in shop.cluster.clients(service) {
                ensure!(web.is_ready().await, "{service} is not ready without Kafka");
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
    progress.ticks(Some(time));
    drop(progress);
    shoppers.stop().await;
    let requests = shop.requests_all_answered().await?;
    let waiting = audit::outbox_events(&shop.cluster.servers, "cart").await?;
    shop.cluster.servers.start_kafka()?;
    let back = Instant::now();
    while audit::outbox_events(&shop.cluster.servers, "cart").await? > 0 {
        ensure!(back.elapsed() < time.max(RECOVERY_TIMEOUT), "the outbox of cart does not empty");
        sleep(Duration::from_millis(20)).await;
    }
    let drained = back.elapsed();
    let settled = drained + shop.settle().await?;
    Ok(vec![
        row("outage of Kafka", &format!("{} s", time.as_secs())),
        row("requests meanwhile", &requests),
        row("of them failed", &0),
        row("events of cart that waited", &waiting),
        row("all of them sent after", &format!("{drained:.1?}")),
        row("payments and views of all of them done after", &format!("{settled:.1?}")),
    ])
}

/// Stops Postgres for `time`. Meanwhile every service answers 503 with `Retry-After`, and is alive and ready. It
/// recovers by itself.
pub(crate) async fn of_postgres(
    shop: &mut Shop,
    time: Duration,
    customers: u64,
) -> anyhow::Result<Vec<Row>> {
    let shoppers = shop.start_customers(customers, "no-postgres", 4);
    sleep(Duration::from_secs(1)).await;
    shop.cluster.servers.kill_postgres()?;
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut progress = Progress::timing("outage of Postgres", time);
    while began.elapsed() < time {
        progress.ticks(Some(time));
        for (service, path) in SERVICES.map(|service| (service.name, service.path)) {
            for web in shop.cluster.clients(service) {
                let web = web.by(shop.people.operator());
                slowest = slowest.max(refuses(&web, Method::GET, path).await?);
                ensure!(!web.is_healthy().await, "{service} is healthy without its database");
                ensure!(web.is_ready().await, "{service} is not ready without its database");
                let (status, _) = web.ask(Method::GET, "/actuator/health/liveness", None).await?;
                ensure!(status == StatusCode::OK, "{service} is not alive: {status}");
            }
        }
        slowest = slowest.max(refuses(&shop.customer(0), Method::POST, "/carts").await?);
        sleep(Duration::from_millis(200)).await;
    }
    progress.ticks(Some(time));
    drop(progress);
    shop.cluster.servers.start_postgres()?;
    let back = Instant::now();
    for service in names() {
        for web in shop.cluster.clients(service) {
            while !web.is_healthy().await {
                ensure!(
                    back.elapsed() < RECOVERY_TIMEOUT,
                    "{service} does not recover when Postgres is back"
                );
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let ready = back.elapsed();
    sleep(Duration::from_secs(1)).await;
    shoppers.stop().await;
    let failed = shop.ledger.take_failed().len();
    let settled = shop.settle().await?;
    Ok(vec![
        row("outage of Postgres", &format!("{} s", time.as_secs())),
        row("slowest 503 meanwhile", &format!("{slowest:.1?}")),
        row("requests of customers that failed", &failed),
        row("all replicas healthy after", &format!("{ready:.1?}")),
        row("settled after", &format!("{settled:.1?}")),
    ])
}

/// Sends a request that needs a database, and returns how long the refusal took.
async fn refuses(web: &ShopClient, method: Method, path: &str) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    let request = web.request(method.clone(), &format!("{}{path}", web.base));
    let body = serde_json::json!({ "gifticonId": 1, "quantity": 1 });
    let answer = timeout(REFUSAL_TIMEOUT, request.json(&body).send()).await;
    let answer = answer
        .map_err(|_| anyhow::anyhow!("{method} {path} is not answered without a database"))??;
    let refusal = (answer.status(), answer.headers().contains_key("retry-after"));
    ensure!(
        refusal == (StatusCode::SERVICE_UNAVAILABLE, true),
        "{method} {path} at {} answered {refusal:?} without a database",
        web.base
    );
    Ok(asked.elapsed())
}
