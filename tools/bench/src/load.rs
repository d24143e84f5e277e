//! Load generators: a closed loop for capacity, an open loop for latency.

use crate::wire::{Answer, Wire};
use chaos::Dice;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// Returns the next request of a connection.
pub(crate) type Requests = Arc<dyn Fn(&mut Dice) -> Vec<u8> + Send + Sync>;

/// The outcomes of a load.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Answers with 2xx.
    pub(crate) good: u64,
    /// Answers with 404, 409 and 503.
    pub(crate) refused: u64,
    /// All other outcomes. Only a rival may have them.
    pub(crate) failed: u64,
    pub(crate) took: Duration,
    /// Latencies in microseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Measured {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid");
        Self { good: 0, refused: 0, failed: 0, took: Duration::ZERO, latency }
    }

    pub(crate) fn note(&mut self, status: u16, took: Duration) {
        match status {
            200..300 => self.good += 1,
            404 | 409 | 503 => self.refused += 1,
            _ => self.failed += 1,
        }
        self.latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    fn add(&mut self, other: &Self) {
        self.good += other.good;
        self.refused += other.refused;
        self.failed += other.failed;
        self.latency.add(&other.latency).expect("the bounds are the same");
    }

    /// Returns the good answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.good as f64 / self.took.as_secs_f64()
    }

    /// Returns a quantile of the latencies in milliseconds.
    pub(crate) fn within(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1_000.0
    }
}

/// Runs `connections` customers, who send their next request when the last one is answered.
pub(crate) async fn closed(
    addr: SocketAddr,
    connections: u64,
    time: Duration,
    requests: Requests,
) -> Measured {
    let began = Instant::now();
    let until = began + time;
    let mut customers = JoinSet::new();
    for seed in 0..connections {
        let requests = Arc::clone(&requests);
        customers.spawn(async move {
            let (mut measured, mut dice) = (Measured::new(), Dice::new(seed));
            let mut wire = None;
            while Instant::now() < until {
                let asked = Instant::now();
                let status = status(&mut wire, addr, &requests(&mut dice)).await;
                measured.note(status, asked.elapsed());
            }
            measured
        });
    }
    gather(customers, began).await
}

/// Sends requests at `rate` a second, whatever happens to earlier ones. A latency counts from when its request was due, so the
/// wait for a slow request is included. The connections of the first requests are there before: in a shop that runs, few
/// requests are the first on their connection, and in a measurement of 4 s their connects would be its p99.
pub(crate) async fn open(
    addr: SocketAddr,
    rate: f64,
    time: Duration,
    requests: Requests,
) -> Measured {
    // Enough connections for one to be free when a request is due, also during a pause of the shop: requests must wait in the
    // shop, which may refuse them, and not here.
    let connections = 512.max((rate / 2.0) as u64);
    // A server closes a connection on which nothing comes for 15 s.
    let early = (rate * 5.0) as u64;
    let mut wires = Vec::new();
    for number in 0..connections {
        wires.push(if number < early { Wire::to(addr).await.ok() } else { None });
    }
    let (began, total) = (Instant::now(), (rate * time.as_secs_f64()) as u64);
    let next = Arc::new(AtomicU64::new(0));
    let mut customers = JoinSet::new();
    for (seed, mut wire) in (0..connections).zip(wires) {
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        customers.spawn(async move {
            let (mut measured, mut dice) = (Measured::new(), Dice::new(seed));
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return measured;
                }
                let due = began + Duration::from_secs_f64(number as f64 / rate);
                sleep_until(due.into()).await;
                let status = status(&mut wire, addr, &requests(&mut dice)).await;
                measured.note(status, due.elapsed());
            }
        });
    }
    gather(customers, began).await
}

/// Sends a request and returns the status of the answer, or 0 if none came.
async fn status(wire: &mut Option<Wire>, addr: SocketAddr, request: &[u8]) -> u16 {
    ask(wire, addr, request).await.map_or(0, |answer| answer.status)
}

/// Sends a request and returns the answer, if one came. Connects first if there is no connection.
pub(crate) async fn ask(
    wire: &mut Option<Wire>,
    addr: SocketAddr,
    request: &[u8],
) -> Option<Answer> {
    if wire.is_none() {
        *wire = Wire::to(addr).await.ok();
    }
    let answer = wire.as_mut()?.ask(request).await.ok();
    if answer.as_ref().is_none_or(|answer| answer.closes) {
        *wire = None;
    }
    answer
}

/// Adds up the outcomes of all customers.
async fn gather(mut customers: JoinSet<Measured>, began: Instant) -> Measured {
    let mut all = Measured::new();
    while let Some(measured) = customers.join_next().await {
        all.add(&measured.expect("a customer does not panic"));
    }
    all.took = began.elapsed();
    all
}
