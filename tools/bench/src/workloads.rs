//! Workloads of the shop, and how to measure them.

use crate::load::{self, Measured, Requests};
use crate::report::Row;
use crate::shop::Shop;
use crate::wire::{Wire, request};
use anyhow::ensure;
use chaos::Dice;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use uuid::Uuid;

/// Customers of a closed loop.
pub(crate) const CONNECTIONS: u64 = 100;
/// Gifticons on sale.
const GIFTICONS: i64 = 1_000;
/// Stock of each gifticon: more than any run sells.
const STOCK: i64 = 1_000_000_000;
/// Pause of all processes in the middle of an open loop, like a pause of a scheduler or a disk.
pub(crate) const PROCESS_PAUSE: Duration = Duration::from_millis(200);
/// Bound for all payments and views to be there.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(5);

/// Registers all gifticons.
pub(crate) async fn stock_up(shop: &Shop) -> anyhow::Result<()> {
    let web = shop.web("gateway");
    for id in 1..=GIFTICONS {
        ensure!(web.try_register(id, STOCK, 5_000).await, "gifticon {id} was not registered");
    }
    Ok(())
}

/// Returns requests `POST /carts` of one gifticon.
pub(crate) fn hot() -> Requests {
    let add = request("POST", "/carts", r#"{"gifticonId":1,"quantity":1}"#);
    Arc::new(move |_| add.clone())
}

/// Returns requests `POST /carts` of random gifticons.
pub(crate) fn any() -> Requests {
    Arc::new(|dice| {
        let id = dice.roll(GIFTICONS.unsigned_abs()) + 1;
        request("POST", "/carts", &format!(r#"{{"gifticonId":{id},"quantity":1}}"#))
    })
}

/// Returns 80 % reads, 15 % carts and 5 % cancels, of carts up to `last`.
pub(crate) fn mixed(last: u64) -> Requests {
    Arc::new(move |dice| {
        let cart = dice.roll(last.max(1)) + 1;
        match dice.roll(100) {
            0..20 => request(
                "GET",
                &format!("/gifticons/{}", dice.roll(GIFTICONS.unsigned_abs()) + 1),
                "",
            ),
            20..40 => request("GET", "/gifticons?size=20", ""),
            40..60 => request("GET", &format!("/mypages/search/findByCartId?cartId={cart}"), ""),
            60..80 => request("GET", "/mypages?size=20", ""),
            80..95 => request("POST", "/carts", r#"{"gifticonId":2,"quantity":1}"#),
            _ => request("DELETE", &format!("/carts/{cart}"), ""),
        }
    })
}

/// Returns reservations for gifticon.
pub(crate) fn reserve() -> Requests {
    Arc::new(|_| {
        let path = format!("/reservations/{}", Uuid::now_v7()); // as cart names them
        request("PUT", &path, r#"{"gifticonId":1,"quantity":1}"#)
    })
}

/// Measures a closed loop at a service.
pub(crate) async fn closed(
    shop: &Shop,
    service: &str,
    name: &str,
    time: Duration,
    requests: Requests,
) -> anyhow::Result<Row> {
    closed_at(shop.addr(service), shop, name, time, requests).await
}

/// Measures a closed loop at an address, which may be that of another proxy.
pub(crate) async fn closed_at(
    addr: SocketAddr,
    shop: &Shop,
    name: &str,
    time: Duration,
    requests: Requests,
) -> anyhow::Result<Row> {
    // A first run warms connections, query plans and caches.
    load::closed(addr, CONNECTIONS, time / 4, Arc::clone(&requests)).await;
    let before = shop.cpu();
    let measured = load::closed(addr, CONNECTIONS, time, requests).await;
    row(name, &measured, shop.cpu() - before)
}

fn row(name: &str, measured: &Measured, cpu: f64) -> anyhow::Result<Row> {
    ensure!(
        measured.failed == 0,
        "{name}: {} of {} requests failed",
        measured.failed,
        measured.good
    );
    Ok(Row {
        name: name.to_owned(),
        rate: measured.rate(),
        p50_ms: measured.within(0.5),
        p99_ms: measured.within(0.99),
        cpu_us: cpu * 1_000_000.0 / (measured.good + measured.refused).max(1) as f64,
        refused: measured.refused,
        refused_percent: 100.0 * measured.refused as f64
            / (measured.good + measured.refused).max(1) as f64,
        ratio: None,
    })
}

/// Measures an open loop at `rate` a second.
pub(crate) async fn open(
    shop: &Shop,
    service: &str,
    name: &str,
    rate: f64,
    time: Duration,
    requests: Requests,
) -> anyhow::Result<Row> {
    let before = shop.cpu();
    let measured = load::open(shop.addr(service), rate, time, requests).await;
    row(name, &measured, shop.cpu() - before)
}

/// An open loop at `rate` a second, in the middle of which all processes of the shop are paused for [`PROCESS_PAUSE`].
pub(crate) async fn open_with_pause(
    shop: &Shop,
    name: &str,
    rate: f64,
    time: Duration,
) -> anyhow::Result<Row> {
    let pause = async {
        sleep(time / 2).await;
        shop.pause(PROCESS_PAUSE).await
    };
    let (row, paused) = tokio::join!(open(shop, "gateway", name, rate, time, hot()), pause);
    paused?;
    row
}

/// Returns the number of items of a collection.
pub(crate) async fn total(web: &chaos::ShopClient, path: &str) -> i64 {
    web.get(path).await["page"]["totalElements"].as_i64().unwrap_or_default()
}

/// Waits until every cart has its payment and its view, and returns how long that took.
pub(crate) async fn drains(shop: &Shop) -> anyhow::Result<Duration> {
    let (began, web) = (Instant::now(), shop.web("gateway"));
    loop {
        let carts = total(&web, "/carts?size=1").await;
        let (payments, views) =
            (total(&web, "/payments?size=1").await, total(&web, "/mypages?size=1").await);
        if payments >= carts && views >= carts {
            return Ok(began.elapsed());
        }
        ensure!(
            began.elapsed() < DRAIN_TIMEOUT,
            "{carts} carts, {payments} payments, {views} views"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// Measures the time from `POST /carts` to the approved payment in the view, one cart at a time.
pub(crate) async fn visible(shop: &Shop, carts: u32) -> anyhow::Result<Row> {
    let mut measured = load::Measured::new();
    let (mut wire, began) = (Wire::to(shop.addr("gateway")).await?, Instant::now());
    let mut dice = Dice::new(7);
    for _ in 0..carts {
        let asked = Instant::now();
        let made = wire.ask(&any()(&mut dice)).await?;
        ensure!(made.status == 201, "a cart was answered {}", made.status);
        let made: Value = serde_json::from_slice(&made.body)?;
        let look =
            request("GET", &format!("/mypages/search/findByCartId?cartId={}", made["id"]), "");
        loop {
            let seen = wire.ask(&look).await?;
            if seen.status == 200
                && serde_json::from_slice::<Value>(&seen.body)?["status"] == "PaymentApproved"
            {
                break;
            }
            ensure!(asked.elapsed() < DRAIN_TIMEOUT, "the payment did not show in the view");
            sleep(Duration::from_millis(1)).await;
        }
        measured.note(200, asked.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    measured.took = began.elapsed();
    row("POST to visible in mypage, one at a time", &measured, 0.0)
}
