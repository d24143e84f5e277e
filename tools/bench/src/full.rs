//! Measures writes on full tables beside the same on empty ones.

use crate::fill;
use crate::measure::{ClosedLoop, drains, in_turns, open};
use crate::report::Report;
use crate::shop::Shop;
use crate::storage::Storage;
use crate::workloads::{hot, register};
use std::time::Duration;

/// Offered rate of the open loops, as a share of the lower closed-loop rate.
const OPEN_SHARE: f64 = 0.5;

/// Measures `POST /carts` on tables with `rows` rows and on empty ones, in turns: a closed loop, and an open loop at the same
/// rate for both.
pub(crate) async fn run(
    real: bool,
    rows: i64,
    repeat: usize,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let storage = Storage::new(real)?;
    fill::carts(&storage, rows).await?;
    let (full, empty) = (Shop::on(storage).await?, Shop::start(real).await?);
    register(&empty, 1..=1).await?;
    let tables = [(&empty, "empty tables".to_owned()), (&full, format!("tables of {rows} rows"))];
    let loops = tables
        .each_ref()
        .map(|(shop, on)| ClosedLoop::at(shop, "gateway", &format!("POST /carts on {on}"), hot()));
    let closed = in_turns(&loops, repeat, time).await?;
    report.add(closed[0].clone(), None);
    report.add(closed[1].clone(), Some(&closed[0]));
    let rate = closed.iter().map(|row| row.rate).fold(f64::MAX, f64::min) * OPEN_SHARE;
    let mut on_empty = None;
    for (shop, on) in tables {
        let name = format!("POST /carts on {on}, at {rate:.0} a second, open loop");
        let row = open(shop, "gateway", &name, rate, time, hot()).await?;
        drains(shop).await?;
        report.add(row.clone(), on_empty.as_ref());
        if let Some(empty) = &on_empty {
            let ratio = format!("{:.2}", row.p99_ms / empty.p99_ms);
            report.fact(&format!("p99 on {on} by that on empty ones"), ratio);
        }
        on_empty = Some(row);
    }
    Ok(())
}
