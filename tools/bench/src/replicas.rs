//! Measures several replicas of each service beside one, on Kafka and Postgres.

use crate::measure::{ClosedLoop, in_turns};
use crate::report::Report;
use crate::shop::Shop;
use crate::workloads::{hot, stock_up};
use std::time::Duration;

/// Measures `POST /carts` of one gifticon with one replica and with `count`, in turns. Both have the proxies that distribute
/// connections.
pub(crate) async fn run(
    count: usize,
    repeat: usize,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (one, many) = (Shop::replicated(1).await?, Shop::replicated(count).await?);
    for shop in [&one, &many] {
        stock_up(shop).await?;
    }
    let name = |replicas: &str| format!("POST /carts, one gifticon, {replicas} of each service");
    let loops = [
        ClosedLoop::at(&one, "gateway", &name("1 replica"), hot()),
        ClosedLoop::at(&many, "gateway", &name(&format!("{count} replicas")), hot()),
    ];
    let rows = in_turns(&loops, repeat, time).await?;
    report.add(rows[0].clone(), None);
    report.add(rows[1].clone(), Some(&rows[0]));
    Ok(())
}
