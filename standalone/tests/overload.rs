//! Overload is measured by the time that requests wait: a burst or a pause refuses no request, and a request that waits for
//! too long is refused when its patience is over.

mod common;

use chassis::base::limits::PATIENCE;
use common::process::Process;
use common::{Shop, ShopClient, audit};
use gateway::services::names;
use reqwest::StatusCode;
use sqlx::{AnyConnection, Connection, Executor, Row};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Delay of a refusal on a busy machine.
const REFUSAL_DELAY_MAX: Duration = Duration::from_millis(1_500);

/// The status of each request, and how long it took.
type Answers = Vec<(StatusCode, Duration)>;

/// Adds `count` carts at the same time.
fn burst(web: &ShopClient, count: usize) -> JoinSet<(StatusCode, Duration)> {
    rlimit::increase_nofile_limit(16_384).unwrap(); // this process may have both ends of each connection
    let (began, mut customers) = (Instant::now(), JoinSet::new());
    for _ in 0..count {
        let web = web.clone();
        customers.spawn(async move {
            let (status, _) = web.add(1, 1, None).await.unwrap();
            (status, began.elapsed())
        });
    }
    customers
}

/// Checks that no request was refused before its patience was over. A slow machine may refuse requests later.
fn assert_none_is_refused_early(answers: &Answers) {
    let done = answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
    println!("{done} of {} carts were made, within {slowest:?}", answers.len());
    assert!(done > 0, "not one cart was made");
    for (status, took) in answers {
        let refused = *status == StatusCode::SERVICE_UNAVAILABLE;
        assert!(*status == StatusCode::CREATED || refused, "{status}");
        assert!(!refused || *took >= PATIENCE, "refused after {took:?}");
    }
}

/// Locks the database of a service, so that its writer waits.
async fn lock(dir: &Path, service: &str) -> AnyConnection {
    let mut connection = open(dir, service).await;
    connection.execute("begin immediate").await.unwrap();
    connection
}

/// Connects to the database of a service.
async fn open(dir: &Path, service: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let file = dir.join(service).with_extension("db");
    let mut connection =
        AnyConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    connection.execute("pragma busy_timeout = 5000").await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_refuses_nobody_whose_turn_comes_in_time() {
    let shop = Shop::start().await;
    shop.web.register(1, 1_000_000, 5_000).await;
    for count in [400, 1_000] {
        assert_none_is_refused_early(&burst(&shop.web, count).join_all().await);
    }
    audit::settled(shop.stop().await.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_a_disk_refuses_nobody() {
    let shop = Shop::start().await;
    shop.web.register(1, 1_000_000, 5_000).await;
    for service in names() {
        let mut locked = lock(shop.dir.path(), service).await;
        let customers = burst(&shop.web, 400);
        sleep(Duration::from_millis(200)).await;
        locked.execute("rollback").await.unwrap();
        assert_none_is_refused_early(&customers.join_all().await);
    }
    audit::settled(shop.stop().await.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_the_process_refuses_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Process::start(dir.path(), &[]);
    shop.web.register(1, 1_000_000, 5_000).await;
    let web = shop.web.clone();
    let customers = shop.pause(Duration::from_millis(200), move || burst(&web, 400)).await;
    assert_none_is_refused_early(&customers.join_all().await);
    assert!(shop.terminate().await.success());
    audit::settled(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_stuck_refuses_after_the_patience_and_leaves_nothing() {
    let shop = Shop::start().await;
    shop.web.register(1, 1_000_000, 5_000).await;
    let mut locked = lock(shop.dir.path(), "cart").await;
    let mut customers = JoinSet::new();
    for _ in 0..24 {
        let web = shop.web.clone();
        customers.spawn(async move {
            let began = Instant::now();
            let (status, _) = web.add(1, 1, None).await.unwrap();
            (status, began.elapsed())
        });
        sleep(Duration::from_millis(50)).await;
    }
    for (status, took) in customers.join_all().await {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(took >= PATIENCE, "refused after {took:?}");
        assert!(took < PATIENCE + REFUSAL_DELAY_MAX, "refused after {took:?} only");
    }
    locked.execute("rollback").await.unwrap();
    let cart = &shop.management["cart"];
    let metrics = cart.client.get(format!("{}/metrics", cart.base)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("http_requests_shed_total{at=\"writer\"} 24\n"), "{metrics}");
    let (status, cart) = shop.web.add(1, 1, None).await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "the service recovers at once");
    assert_eq!(cart["id"], 1, "refused requests wrote nothing");
    let left = "select (select count(*) from carts) + (select count(*) from intents)";
    let rows: i64 = sqlx::query(left).fetch_one(&mut locked).await.unwrap().get(0);
    assert_eq!(rows, 1);
    drop(locked);
    audit::settled(shop.stop().await.path()).await;
}
