//! Reservations straight at gifticon, as cart makes them: one by one, and many in one call.

use crate::load::{self, Requests};
use crate::measure::{ClosedLoop, in_turns, medians, row};
use crate::report::{Report, Row};
use crate::shop::Shop;
use crate::wire::request;
use crate::workloads::STOCK;
use anyhow::ensure;
use chaos::progress::during;
use common_events::number::RESERVATIONS_MAX;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Connections that call for many: with as many reservations in each call, fewer than wait for the writer at most.
const CALLERS: u64 = 4;

/// Measures single calls, and then calls for [`RESERVATIONS_MAX`] each.
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
    for row in in_turns(&[single], repeat, time).await? {
        report.add(row, None);
    }
    let mut runs = Vec::new();
    for _ in 0..repeat {
        runs.push(
            during("reservations, many in one call", Some(time * 5 / 4), many(&shop, time)).await?,
        );
    }
    report.add(medians(&runs)?, None);
    Ok(())
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
