//! Open loops of `POST /carts`: at given rates, at shares of the capacity, and at the highest rate that is held.

use crate::hold::Held;
use crate::load;
use crate::measure::{ClosedLoop, PROCESS_PAUSE, drains, in_turns, open, open_with_pause};
use crate::report::Report;
use crate::shop::Shop;
use crate::workloads::{hot, stock_up};
use anyhow::Context;
use std::time::Duration;

/// How long the closed loop runs that the rates of an open loop are shares of.
const CAPACITY_TIME: Duration = Duration::from_secs(5);
/// How long an open loop runs before it is measured.
const WARM_UP_TIME: Duration = Duration::from_secs(1);
/// Shares of the capacity.
const SHARES: [f64; 3] = [0.25, 0.5, 0.75];
/// The share whose p99 has a goal.
const GOAL_SHARE: f64 = 0.5;

/// Measures open loops at these rates of the empty pipeline and of the shop, in turns.
pub(crate) async fn given(
    real: bool,
    rates: &[f64],
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (pipeline, shop) = (Shop::floor("pipeline", 3)?, Shop::start(real).await?);
    stock_up(&shop).await?;
    for &rate in rates {
        let mut floor = None;
        for (shop, name) in
            [(&pipeline, "floor: the pipeline with no database"), (&shop, "POST /carts")]
        {
            load::open(shop.addr("gateway"), rate, WARM_UP_TIME, hot()).await;
            let name = format!("{name} at {rate:.0} a second");
            let row = open(shop, "gateway", &name, rate, time, hot()).await?;
            report.add(row.clone(), floor.as_ref());
            floor = Some(row);
            drains(shop).await?;
        }
    }
    Ok(())
}

/// Measures the open loops at shares of the capacity, and nothing else.
pub(crate) async fn open_loops_only(
    real: bool,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let shop = Shop::start(real).await?;
    let capacity = capacity(&shop, report).await?;
    at_shares(&shop, capacity, time, report).await
}

/// Searches the highest rate that the shop holds for `time`; where `neighbour`, beside one too.
pub(crate) async fn highest_held(
    real: bool,
    neighbour: bool,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let shop = Shop::start(real).await?;
    let capacity = capacity(&shop, report).await?;
    let held = Held { shop: &shop, name: "POST /carts".into(), requests: hot(), capacity };
    held.run(time, false, report).await?;
    if neighbour {
        held.run(time, true, report).await?;
    }
    Ok(())
}

/// Registers all gifticons, and returns the rate of a closed loop.
async fn capacity(shop: &Shop, report: &mut Report) -> anyhow::Result<f64> {
    stock_up(shop).await?;
    let carts = ClosedLoop::at(shop, "gateway", "POST /carts, one gifticon", hot());
    let rows = in_turns(&[carts], 1, CAPACITY_TIME).await?;
    let row = rows.into_iter().next().context("a loop has a row")?;
    let capacity = row.rate;
    report.add(row, None);
    Ok(capacity)
}

/// Measures open loops at shares of `capacity`, requests a second: each alone, and with a pause of the shop in it.
pub(crate) async fn at_shares(
    shop: &Shop,
    capacity: f64,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    for share in SHARES {
        let rate = capacity * share;
        let name = format!("POST /carts at {:.0} % of capacity, open loop", share * 100.0);
        let row = open(shop, "gateway", &name, rate, time, hot()).await?;
        report.curve.push((rate, row.p50_ms, row.p99_ms));
        let goal = row.flushes.filter(|_| share == GOAL_SHARE).map(|flushes| flushes.goal());
        let p99 = row.p99_ms;
        report.add(row, None);
        if let Some(goal) = goal {
            let verdict = if p99 <= goal { "met" } else { "missed" };
            report.fact(
                "p99 at 50 % of capacity; its goal, 10 ms + 3 x p99.9 of a flush",
                format!("{p99:.1} ms; {goal:.1} ms, {verdict}"),
            );
        }
        drains(shop).await?;
        let name = format!("the same with a pause of {} ms in it", PROCESS_PAUSE.as_millis());
        report.add(open_with_pause(shop, &name, rate, time, hot()).await?, None);
        drains(shop).await?;
    }
    Ok(())
}
