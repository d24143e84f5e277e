//! How workloads are measured.

use crate::flush::DiskProbe;
use crate::load::{self, Measured, Requests};
use crate::nginx::Nginx;
use crate::report::Row;
use crate::shop::{Kind, Shop};
use anyhow::{Context, ensure};
use chaos::progress::during;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Customers of a closed loop.
pub(crate) const CONNECTIONS: u32 = 100;
/// Pause of all processes in the middle of an open loop, like a pause of a scheduler or a disk.
pub(crate) const PROCESS_PAUSE: Duration = Duration::from_millis(200);
/// Bound for all payments and views to be there.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_mins(5);
/// How long a rival may work on after a load if it does not say how many payments and views there are.
const RIVAL_REST: Duration = Duration::from_secs(1);
/// Bound for a rival to settle. It may have lost events, and then it never does.
const RIVAL_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// A closed loop: 100 customers, who send their next request when the last one is answered.
pub(crate) struct ClosedLoop<'s> {
    pub(crate) name: String,
    pub(crate) shop: &'s Shop,
    /// Where the requests go: a service of the shop, or a proxy before it.
    pub(crate) addr: SocketAddr,
    /// That proxy, whose CPU time counts too.
    pub(crate) nginx: Option<&'s Nginx>,
    pub(crate) requests: Requests,
}

impl<'s> ClosedLoop<'s> {
    /// Returns a closed loop at a service.
    pub(crate) fn at(shop: &'s Shop, service: &str, name: &str, requests: Requests) -> Self {
        Self { name: name.to_owned(), shop, addr: shop.addr(service), nginx: None, requests }
    }

    fn cpu(&self) -> Option<f64> {
        Some(self.shop.cpu()? + self.nginx.map_or(0.0, Nginx::cpu))
    }

    pub(crate) async fn run(&self, time: Duration) -> anyhow::Result<Row> {
        // A first run warms connections, query plans and caches.
        load::closed(self.addr, CONNECTIONS.into(), time / 4, Arc::clone(&self.requests)).await;
        let before = self.cpu();
        let measured =
            load::closed(self.addr, CONNECTIONS.into(), time, Arc::clone(&self.requests)).await;
        let cpu = self.cpu().zip(before).map(|(now, before)| now - before);
        let mut row = row(self.shop, &self.name, &measured, cpu)?;
        row.settled_ms = drains(self.shop).await?.map(|took| took.as_secs_f64() * 1_000.0);
        Ok(row)
    }
}

/// Measures closed loops in turns, `repeat` times each, and returns the medians of each. A machine that is shared changes its
/// speed: in turns, all of them meet the same.
pub(crate) async fn in_turns(
    loops: &[ClosedLoop<'_>],
    repeat: usize,
    time: Duration,
) -> anyhow::Result<Vec<Row>> {
    let mut runs: Vec<Vec<Row>> = loops.iter().map(|_| Vec::new()).collect();
    for turn in 1..=repeat {
        for (one, runs) in loops.iter().zip(&mut runs) {
            let part = match repeat {
                1 => one.name.clone(),
                _ => format!("{}, run {turn} of {repeat}", one.name),
            };
            runs.push(during(part, Some(time / 4 + time), one.run(time)).await?);
        }
    }
    runs.iter().map(|runs| medians(runs)).collect()
}

/// Returns a row with the median of each figure.
pub(crate) fn medians(runs: &[Row]) -> anyhow::Result<Row> {
    let first = runs.first().context("there is a run")?;
    let of = |figure: fn(&Row) -> f64| median(runs.iter().map(figure).collect());
    let of_some = |figure: fn(&Row) -> Option<f64>| {
        let figures: Option<Vec<f64>> = runs.iter().map(figure).collect();
        figures.map(median)
    };
    let rates = || runs.iter().map(|row| row.rate);
    let spread = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
    let settled = runs.iter().filter_map(|row| row.settled_ms).reduce(f64::max);
    Ok(Row {
        name: first.name.clone(),
        rate: of(|row| row.rate),
        p50_ms: of(|row| row.p50_ms),
        p99_ms: of(|row| row.p99_ms),
        refused: runs.iter().map(|row| row.refused).sum(),
        refused_percent: runs.iter().map(|row| row.refused_percent).sum::<f64>()
            / runs.len() as f64,
        failed: runs.iter().map(|row| row.failed).sum(),
        cpu_us: of_some(|row| row.cpu_us),
        cores: of_some(|row| row.cores),
        spread: (runs.len() > 1).then_some(spread),
        settled_ms: settled,
        ..Row::default()
    })
}

/// Returns the median: the middle one, or the mean of the two in the middle.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len().is_multiple_of(2) {
        f64::midpoint(figures[middle - 1], figures[middle])
    } else {
        figures[middle]
    }
}

/// Returns the row of a load, for which the shop took `cpu` seconds of CPU time.
pub(crate) fn row(
    shop: &Shop,
    name: &str,
    measured: &Measured,
    cpu: Option<f64>,
) -> anyhow::Result<Row> {
    ensure!(
        measured.failed == 0 || shop.kind == Kind::Rival,
        "{name}: {} of {} requests failed",
        measured.failed,
        measured.good
    );
    let requests = (measured.good + measured.refused + measured.failed).max(1) as f64;
    Ok(Row {
        name: name.to_owned(),
        rate: measured.rate(),
        p50_ms: measured.within(0.5),
        p99_ms: measured.within(0.99),
        refused: measured.refused,
        refused_percent: 100.0 * measured.refused as f64 / requests,
        failed: measured.failed,
        cpu_us: cpu.map(|cpu| cpu * 1_000_000.0 / requests),
        cores: cpu.map(|cpu| cpu / measured.took.as_secs_f64()),
        ..Row::default()
    })
}

/// Measures an open loop at `rate` a second, with the flush times of the disk meanwhile.
pub(crate) async fn open(
    shop: &Shop,
    service: &str,
    name: &str,
    rate: f64,
    time: Duration,
    requests: Requests,
) -> anyhow::Result<Row> {
    let probe = DiskProbe::start()?;
    let before = shop.cpu();
    let load = load::open(shop.addr(service), rate, time, requests);
    let measured = during(name, Some(time), load).await;
    let cpu = shop.cpu().zip(before).map(|(now, before)| now - before);
    let flushes = Some(probe.stop()?);
    Ok(Row { flushes, ..row(shop, name, &measured, cpu)? })
}

/// An open loop at `rate` a second, in the middle of which all processes of the shop are paused for [`PROCESS_PAUSE`].
pub(crate) async fn open_with_pause(
    shop: &Shop,
    name: &str,
    rate: f64,
    time: Duration,
    requests: Requests,
) -> anyhow::Result<Row> {
    let pause = async {
        sleep(time / 2).await;
        shop.pause(PROCESS_PAUSE).await
    };
    let (row, paused) = tokio::join!(open(shop, "gateway", name, rate, time, requests), pause);
    paused?;
    row
}

/// Returns the number of items of a collection.
pub(crate) async fn total(web: &chaos::ShopClient, path: &str) -> i64 {
    web.get(path).await["page"]["totalElements"].as_i64().unwrap_or_default()
}

/// Waits until every cart has its payment and its view, and returns how long that took. `None` of what has no carts, and of a
/// rival that does not say how many it has.
pub(crate) async fn drains(shop: &Shop) -> anyhow::Result<Option<Duration>> {
    match shop.kind {
        Kind::Part => return Ok(None),
        Kind::Shop => {}
        Kind::Rival => return Ok(rival_drains(shop).await),
    }
    let (began, web) = (Instant::now(), shop.web("gateway"));
    loop {
        let carts = total(&web, "/carts?size=1").await;
        let (payments, views) =
            (total(&web, "/payments?size=1").await, total(&web, "/mypages?size=1").await);
        if payments >= carts && views >= carts {
            return Ok(Some(began.elapsed()));
        }
        ensure!(
            began.elapsed() < DRAIN_TIMEOUT,
            "{carts} carts, {payments} payments, {views} views"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a rival has as many payments and views as carts, if it says how many, or else for [`RIVAL_REST`].
async fn rival_drains(shop: &Shop) -> Option<Duration> {
    let (began, web) = (Instant::now(), shop.web("gateway"));
    let total = async |path| -> Option<i64> {
        let answer = web.ask(axum::http::Method::GET, path, None).await;
        answer.ok()?.1["page"]["totalElements"].as_i64()
    };
    while began.elapsed() < RIVAL_DRAIN_TIMEOUT {
        let (Some(carts), Some(payments), Some(views)) = (
            total("/carts?size=1").await,
            total("/payments?size=1").await,
            total("/mypages?size=1").await,
        ) else {
            sleep(RIVAL_REST).await;
            return None;
        };
        if payments >= carts && views >= carts {
            return Some(began.elapsed());
        }
        sleep(Duration::from_millis(20)).await;
    }
    eprintln!("the rival has not settled in {RIVAL_DRAIN_TIMEOUT:?}");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_the_median_of_its_runs() {
        let run = |rate, p99_ms, cpu| Row {
            name: "carts".into(),
            rate,
            p99_ms,
            refused: 2,
            cpu_us: cpu,
            ..Row::default()
        };
        let runs = [
            run(4_000.0, 90.0, Some(300.0)),
            run(3_000.0, 20.0, Some(500.0)),
            run(5_000.0, 30.0, Some(400.0)),
        ];
        let row = medians(&runs).unwrap();
        assert_eq!((row.rate, row.p99_ms, row.cpu_us), (4_000.0, 30.0, Some(400.0)));
        assert_eq!((row.spread, row.refused), (Some((3_000.0, 5_000.0)), 6));
        let row = medians(&runs[..2]).unwrap();
        assert_eq!((row.rate, row.p99_ms), (3_500.0, 55.0));
        let row = medians(&[run(4_000.0, 90.0, None)]).unwrap();
        assert_eq!((row.cpu_us, row.spread), (None, None));
    }
}
