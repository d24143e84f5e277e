//! Open event streams while carts are made: how soon a change is seen, what it costs, and what it takes of memory.

use crate::measure::{self, drains};
use crate::report::Report;
use crate::shop::Shop;
use crate::workloads::{hot, stock_up};
use anyhow::{Context, ensure};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Carts a second.
const RATE: f64 = 500.0;
/// How long the streams are open before carts are made.
const IDLE_TIME: Duration = Duration::from_secs(6);
/// How long streams are read on after the last cart.
const END_TIME: Duration = Duration::from_secs(3);
/// Streams that connect at once.
const CONNECTING_MAX: usize = 64;
/// Bound for the p99 of the time until a change is seen.
const SEEN_MAX_MS: f64 = 500.0;
/// Carts that a stream may ask for.
const CARTS_MAX: usize = 100;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What all streams saw.
#[derive(Default)]
struct Seen {
    events: AtomicU64,
    approved: AtomicU64,
    resets: AtomicU64,
}

/// What each stream waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Watch {
    /// The carts of one customer
    #[default]
    Own,
    /// The carts of all customers
    All,
    /// What happens in the shop
    Live,
}

/// Measures `POST /carts` without streams, and with `count` of them.
pub(crate) async fn run(
    real: bool,
    count: usize,
    watch: Watch,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let shop = Shop::start(real).await?;
    stock_up(&shop).await?;
    let gateway = shop.addr("gateway");
    let carts = (RATE * time.as_secs_f64()) as usize;
    let row = measure::open(&shop, "gateway", "POST /carts, no stream", RATE, time, hot()).await?;
    report.add(row, None);
    drains(&shop).await?;
    memory(&shop, "no stream", report);

    let seen = Arc::new(Seen::default());
    let (latency, latencies) = mpsc::unbounded_channel();
    let mut streams = JoinSet::new();
    for first in 0..count {
        let path = match watch {
            Watch::Own => format!("/mypages/stream{}", own(carts + first + 1, count, 2 * carts)),
            Watch::All => "/mypages/stream".to_owned(),
            Watch::Live => "/live/stream".to_owned(),
        };
        streams.spawn(stream(gateway, path, Arc::clone(&seen), latency.clone()));
        if first % CONNECTING_MAX == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }
    drop(latency);
    sleep(IDLE_TIME).await;
    memory(&shop, &format!("{count} streams"), report);
    let cpu = shop.cpu();
    sleep(IDLE_TIME).await;
    if let Some((now, before)) = shop.cpu().zip(cpu) {
        let cores = (now - before) / IDLE_TIME.as_secs_f64();
        report.fact(
            &format!("cores for {count} streams in which nothing happens"),
            format!("{cores:.3}"),
        );
    }
    let name = format!("POST /carts, {count} streams");
    let row = measure::open(&shop, "gateway", &name, RATE, time, hot()).await?;
    let made = carts as u64 - row.refused;
    report.add(row, None);
    memory(&shop, &format!("{count} streams, after {RATE} carts a second"), report);
    drains(&shop).await?;
    sleep(END_TIME).await;
    streams.shutdown().await;
    let approved = match watch {
        Watch::Own => Some(made),
        Watch::All => Some(made * count as u64),
        Watch::Live => None, // only some of the purchases are told
    };
    tell(&seen, latencies, approved, report)
}

/// Returns the query for the carts of one customer: every `count`th from `first` to `last`, or `first` alone.
fn own(first: usize, count: usize, last: usize) -> String {
    let ids = (first..=last.max(first)).step_by(count).take(CARTS_MAX);
    let ids: Vec<String> = ids.map(|id| format!("cartId={id}")).collect();
    format!("?{}", ids.join("&"))
}

/// Reads a stream until it is dropped.
async fn stream(
    addr: SocketAddr,
    path: String,
    seen: Arc<Seen>,
    latencies: mpsc::UnboundedSender<u32>,
) -> anyhow::Result<()> {
    let mut connection = TcpStream::connect(addr).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let (mut unread, mut begun) = (Vec::with_capacity(4 * 1024), false);
    loop {
        ensure!(connection.read_buf(&mut unread).await? > 0, "a stream ended");
        let mut done = 0;
        while let Some(length) = unread[done..].iter().position(|byte| *byte == b'\n') {
            let line = &unread[done..done + length];
            done += length + 1;
            if !begun {
                ensure!(line.starts_with(b"HTTP/1.1 200"), "a stream was refused");
                begun = true;
            }
            if line.starts_with(b"event: reset") {
                seen.resets.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(data) = line.strip_prefix(b"data: ")
                && let Some(changed) = changed(data)
            {
                seen.events.fetch_add(1, Ordering::Relaxed);
                if data.windows(17).any(|text| text == b"\"PaymentApproved\"") {
                    seen.approved.fetch_add(1, Ordering::Relaxed);
                }
                let took = (now() + DAY_MS - changed) % DAY_MS;
                let _ = latencies.send(u32::try_from(took)?);
            }
        }
        unread.drain(..done);
    }
}

/// Returns the milliseconds of the day at which a view changed, or something happened.
fn changed(data: &[u8]) -> Option<u64> {
    let after = |name: &[u8]| {
        let at = data.windows(name.len()).position(|text| text == name)?;
        Some(at + name.len())
    };
    let at = after(b"\"updatedAt\":\"").or_else(|| after(b"\"at\":\""))?;
    let time = std::str::from_utf8(data.get(at..at + 23)?).ok()?; // 2026-11-28T02:00:00.021
    let part = |from: usize, to: usize| time.get(from..to)?.parse::<u64>().ok();
    Some(((part(11, 13)? * 60 + part(14, 16)?) * 60 + part(17, 19)?) * 1_000 + part(20, 23)?)
}

/// Returns the milliseconds of this day.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64 % DAY_MS
}

fn memory(shop: &Shop, when: &str, report: &mut Report) {
    for (process, mib) in shop.memory() {
        report.fact(&format!("memory of {process}, {when}"), format!("{mib:.0} MiB"));
    }
}

/// Reports what was seen. `wanted` is how many approved payments the streams should have seen, where each is told.
fn tell(
    seen: &Seen,
    mut latencies: mpsc::UnboundedReceiver<u32>,
    wanted: Option<u64>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut all =
        Histogram::<u64>::new_with_bounds(1, DAY_MS, 3).context("the bounds are valid")?;
    while let Ok(took) = latencies.try_recv() {
        all.saturating_record(u64::from(took).max(1));
    }
    let within = |share: f64| all.value_at_quantile(share) as f64;
    let verdict = if within(0.99) <= SEEN_MAX_MS { "met" } else { "missed" };
    let (events, approved) =
        (seen.events.load(Ordering::Relaxed), seen.approved.load(Ordering::Relaxed));
    report.fact(
        "events seen, and those of approved payments",
        wanted.map_or_else(
            || format!("{events}, {approved}"),
            |wanted| format!("{events}, {approved} of {wanted}"),
        ),
    );
    report.fact("streams that were reset", seen.resets.load(Ordering::Relaxed));
    report.fact(
        "from a change to its event at the client; goal: p99 within 500 ms",
        format!(
            "p50 {} ms, p99 {} ms, longest {} ms, {verdict}",
            within(0.5),
            within(0.99),
            all.max()
        ),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cart_has_one_customer() {
        let (count, carts) = (7, 30);
        let mut ids = Vec::new();
        for first in 0..count {
            let query = own(carts + first + 1, count, 2 * carts);
            let pairs = query.trim_start_matches('?').split('&');
            ids.extend(
                pairs.map(|pair| pair.strip_prefix("cartId=").unwrap().parse::<usize>().unwrap()),
            );
        }
        ids.sort_unstable();
        ids.dedup();
        for id in carts + 1..=2 * carts {
            assert!(ids.contains(&id), "{id}");
        }
    }

    #[test]
    fn the_time_of_a_change_is_read() {
        let data =
            br#"{"createdAt":"2026-11-28T00:00:00.000Z","updatedAt":"2026-11-28T02:03:04.056Z"}"#;
        assert_eq!(changed(data), Some(((2 * 60 + 3) * 60 + 4) * 1_000 + 56));
        assert_eq!(changed(b"{}"), None);
    }
}
