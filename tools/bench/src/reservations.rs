//! Reservations straight at gifticon, as cart makes them: one by one, and many in one call.

use crate::load::{self, Requests};
use crate::measure::{ClosedLoop, DRAIN_TIMEOUT, medians, row};
use crate::report::{Report, Row};
use crate::shop::Shop;
use crate::wire::request;
use crate::workloads::STOCK;
use anyhow::ensure;
use chaos::progress::during;
use common_events::number::RESERVATIONS_MAX;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use uuid::Uuid;

/// Connections that call for many: with as many reservations in each call, fewer than wait for the writer at most.
const CALLERS: u64 = 4;
/// How old the figures of a service may be, and some more.
const FIGURES_AGE_MAX: Duration = Duration::from_secs(3);

/// Measures single calls, and calls for [`RESERVATIONS_MAX`] each, in turns.
pub(crate) async fn run(
    real: bool,
    repeat: usize,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let shop = Shop::start(real).await?;
    shop.web("gateway").register(1, STOCK, 5_000).await;
    let name = "reservations straight at gifticon, one gifticon";
    let single = ClosedLoop::at(&shop, "gifticon", name, single());
    let (mut of_one, mut of_many) = (Vec::new(), Vec::new());
    for _ in 0..repeat {
        relayed(&shop).await?;
        of_one.push(during(name, Some(time * 5 / 4), single.run(time)).await?);
        relayed(&shop).await?;
        let name = "reservations straight at gifticon, many in one call";
        of_many.push(during(name, Some(time * 5 / 4), many(&shop, time)).await?);
    }
    report.add(medians(&of_one)?, None);
    report.add(medians(&of_many)?, None);
    Ok(())
}

/// Waits until the topic has all events of the run before, so that none of them is relayed in the next.
async fn relayed(shop: &Shop) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        sleep(FIGURES_AGE_MAX).await;
        let figures = shop.web("gateway").get("/live/figures").await;
        let mut services = figures["services"].as_array().into_iter().flatten();
        let gifticon = services.find(|one| one["service"] == "gifticon");
        if gifticon.is_some_and(|one| one["outboxEvents"] == 0) {
            return Ok(());
        }
        ensure!(began.elapsed() < DRAIN_TIMEOUT, "the outbox of gifticon does not empty");
    }
}

/// Returns requests for one reservation each.
fn single() -> Requests {
    Arc::new(|_| {
        let path = format!("/reservations/{}", Uuid::now_v7()); // as cart names them
        request("PUT", &path, r#"{"gifticonId":1,"quantity":1}"#)
    })
}

/// Returns requests for [`RESERVATIONS_MAX`] reservations each.
fn calls() -> Requests {
    Arc::new(|_| {
        let item = |_| json!({ "reservationId": Uuid::now_v7(), "gifticonId": 1, "quantity": 1 });
        let items: Vec<_> = (0..RESERVATIONS_MAX).map(item).collect();
        request("POST", "/reservations", &json!({ "reservations": items }).to_string())
    })
}

/// Measures calls for many. The rate and the CPU time are of reservations, the latencies of calls. What counts is what left the
/// stock: a call is answered with 200 also if gifticon makes none of its reservations.
async fn many(shop: &Shop, time: Duration) -> anyhow::Result<Row> {
    let addr = shop.addr("gifticon");
    load::closed(addr, CALLERS, time / 4, calls()).await;
    let (cpu, left) = (shop.cpu(), available(shop).await);
    let measured = load::closed(addr, CALLERS, time, calls()).await;
    let cpu = shop.cpu().zip(cpu).map(|(now, before)| now - before);
    let made = (left - available(shop).await) as f64;
    ensure!(made > 0.0, "gifticon made no reservation");
    let name = format!("reservations straight at gifticon, {RESERVATIONS_MAX} in one call");
    let calls = row(shop, &name, &measured, cpu)?;
    Ok(Row {
        rate: made / measured.took.as_secs_f64(),
        refused: (measured.good * RESERVATIONS_MAX as u64).saturating_sub(made as u64),
        cpu_us: cpu.map(|cpu| cpu * 1_000_000.0 / made),
        ..calls
    })
}

/// Returns how many units of the gifticon are left.
async fn available(shop: &Shop) -> i64 {
    let gifticon = shop.web("gateway").get("/gifticons/1").await;
    gifticon["availableQuantity"].as_i64().unwrap_or_default()
}
