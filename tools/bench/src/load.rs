//! Load: closed loop for capacity, open loop for latency.

use crate::wire::Wire;
use chaos::Dice;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// Makes the next request of a connection.
pub(crate) type Requests = Arc<dyn Fn(&mut Dice) -> Vec<u8> + Send + Sync>;

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Good answers.
    pub(crate) good: u64,
    /// Gone, sold out, or refused for now.
    pub(crate) refused: u64,
    /// Anything else: there must be none.
    pub(crate) failed: u64,
    pub(crate) took: Duration,
    /// Microseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Measured {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are legal");
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

    /// Good answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.good as f64 / self.took.as_secs_f64()
    }

    /// Milliseconds within which this share of the answers came.
    pub(crate) fn within(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1_000.0
    }
}

/// `connections` customers who ask again as soon as they have their answer.
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
                let status = ask(&mut wire, addr, &requests(&mut dice)).await;
                measured.note(status, asked.elapsed());
            }
            measured
        });
    }
    gather(customers, began).await
}

/// Customers who come at `rate` a second, whatever becomes of those before them. A latency counts from
/// when its request was due: one that waited for a slow one before it is slow too.
pub(crate) async fn open(
    addr: SocketAddr,
    rate: f64,
    time: Duration,
    requests: Requests,
) -> Measured {
    // Enough connections that one is free when a request is due, also when the shop stands still for a moment: what is due
    // then must wait in the shop, which may refuse it, and not here.
    let connections = 512.max((rate / 2.0) as u64);
    let (began, total) = (Instant::now(), (rate * time.as_secs_f64()) as u64);
    let next = Arc::new(AtomicU64::new(0));
    let mut customers = JoinSet::new();
    for seed in 0..connections {
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        customers.spawn(async move {
            let (mut measured, mut dice) = (Measured::new(), Dice::new(seed));
            let mut wire = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return measured;
                }
                let due = began + Duration::from_secs_f64(number as f64 / rate);
                sleep_until(due.into()).await;
                let status = ask(&mut wire, addr, &requests(&mut dice)).await;
                measured.note(status, due.elapsed());
            }
        });
    }
    gather(customers, began).await
}

/// The status of an answer, 0 where none came.
async fn ask(wire: &mut Option<Wire>, addr: SocketAddr, request: &[u8]) -> u16 {
    if wire.is_none() {
        *wire = Wire::to(addr).await.ok();
    }
    let Some(open) = wire else { return 0 };
    match open.ask(request).await {
        Ok(answer) => answer.status,
        Err(_) => {
            *wire = None;
            0
        }
    }
}

async fn gather(mut customers: JoinSet<Measured>, began: Instant) -> Measured {
    let mut all = Measured::new();
    while let Some(measured) = customers.join_next().await {
        all.add(&measured.expect("a customer does not panic"));
    }
    all.took = began.elapsed();
    all
}
