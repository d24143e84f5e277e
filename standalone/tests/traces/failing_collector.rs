//! A collector that refuses, hangs or fails.

use crate::{add, shop, traceparent};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use chassis::base::limits::SHUTDOWN_GRACE;
use chassis::testing::{Collector, peer};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_collector_that_fails_costs_nothing_else() {
    let refuses = "http://127.0.0.1:9".to_owned();
    let hangs = async || std::future::pending::<()>().await;
    let hangs = peer(Router::new().route("/v1/traces", post(hangs)));
    let fails = async || StatusCode::INTERNAL_SERVER_ERROR;
    let fails = peer(Router::new().route("/v1/traces", post(fails)));
    let (other_dir, collector) = (tempfile::tempdir().unwrap(), Collector::start());
    let other = shop(other_dir.path(), &collector.url, &[]);
    other.web.register(1, 100, 5_000).await;
    for url in [refuses, hangs, fails] {
        let dir = tempfile::tempdir().unwrap();
        let shop = shop(dir.path(), &url, &[]);
        shop.web.register(1, 100, 5_000).await;
        // In turns with a shop whose collector works: a busy machine is as slow to both.
        let (mut times, mut other_times) = (Vec::new(), Vec::new());
        for _ in 0..15 {
            for (shop, times) in [(&shop, &mut times), (&other, &mut other_times)] {
                let began = Instant::now();
                let cart = add(shop, 1, &traceparent("01")).await;
                times.push(began.elapsed());
                shop.shows(cart, "PaymentApproved").await;
            }
        }
        let [time, other_time] = [&mut times, &mut other_times].map(|times| {
            times.sort();
            times[times.len() / 2]
        });
        // Who waits for a collector that hangs waits for 10 s.
        let most = 5 * other_time + Duration::from_millis(500);
        assert!(time < most, "{url}: {times:?}, and without a fault {other_times:?}");
        let began = Instant::now();
        assert!(shop.terminate().await.success(), "{url}");
        let took = began.elapsed();
        assert!(took < SHUTDOWN_GRACE, "{url}: the drain took {took:?}");
    }
    assert!(other.terminate().await.success());
    assert!(!collector.spans().is_empty(), "that collector worked");
}
