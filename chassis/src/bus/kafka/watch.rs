//! Watches the brokers of a client: whether they are there, and what the client has yet to read.

use rdkafka::client::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a client may be without any broker before it is made anew.
///
/// librdkafka tries again within a second by itself, but not always. A broker that its controller has
/// fenced, for which a hiccup of two seconds is enough, is missing in the metadata that it answers; librdkafka
/// (2.10 to 2.12) then drops it, and where it was the only one, stays without any for good: `chaos --only "SIGSTOP of
/// Kafka"` saw that within five cycles.
const LOST: Duration = Duration::from_secs(5);
/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(500);

/// What clients tell of their brokers. Shared by a client and those that replace it.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<State>);

#[derive(Default)]
struct State {
    /// Whether it was said that they are away: once, where librdkafka would say it four times a second.
    said: AtomicBool,
    away: Mutex<Option<Instant>>,
    lag: AtomicI64,
}

impl Watch {
    /// Waits until there was no broker for so long that the client must be made anew.
    pub(super) async fn lost(&self) {
        while self.away().is_none_or(|since| since.elapsed() < LOST) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The client was made anew: it has as long again.
    pub(super) fn renewed(&self) {
        *self.away() = Some(Instant::now());
    }

    /// Messages that a consumer has yet to read, as of the last statistics.
    pub(super) fn lag(&self) -> i64 {
        self.0.lag.load(Ordering::Relaxed)
    }

    fn away(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Watch {
    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AllBrokersDown)) {
            self.away().get_or_insert_with(Instant::now);
            if !self.0.said.swap(true, Ordering::Relaxed) {
                warn!(reason, "Kafka went away");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            *self.away() = None;
            if self.0.said.swap(false, Ordering::Relaxed) {
                info!("Kafka is back");
            }
        }
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        // Before this member stored an offset, what the group committed counts; -1 is unknown.
        let lag = partitions
            .map(|partition| match partition.consumer_lag_stored {
                -1 => partition.consumer_lag.max(0),
                stored => stored,
            })
            .sum();
        self.0.lag.store(lag, Ordering::Relaxed);
    }
}

impl ConsumerContext for Watch {}
