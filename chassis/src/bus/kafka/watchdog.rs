//! The context of a client: finds out when the client must be replaced, and keeps the health of a consumer.

use crate::base::limits::{
    KAFKA_NO_BROKER_MAX, KAFKA_NO_COORDINATOR_MAX, KAFKA_NO_PARTITION_MAX, KAFKA_UNREACHABLE_MAX,
};
use crate::bus::kafka::progress::{self, ReadProgress, is_assigned, partitions};
use crate::bus::kafka::tokens::Tokens;
use crate::bus::{Health, ReadError};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::{Broker, Partition, Statistics};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// The interval at which these limits are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The state of a client. A client shares it with those that replace it.
#[derive(Clone, Default)]
pub(super) struct Watchdog(Arc<State>);

#[derive(Default)]
struct State {
    /// True if it was logged that the brokers are away. librdkafka reports that four times a second.
    outage_logged: AtomicBool,
    faults: Mutex<Faults>,
    progress: Mutex<ReadProgress>,
    /// True for a client with assigned partitions, which joins no group.
    no_group: bool,
    tokens: Tokens,
}

/// What is wrong with the client, and since when.
#[derive(Default)]
struct Faults {
    disconnected: Option<(Instant, Disconnected)>,
    not_reading: Option<(Instant, NotReading)>,
}

/// Why a client has no broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disconnected {
    /// The client reaches none of the brokers that it knows.
    Unreachable,
    /// The client knows only the address in its settings.
    NoBrokerKnown,
}

/// Why a consumer with a broker does not read.
struct NotReading {
    reason: String,
    /// How long this may last.
    limit: Duration,
    /// True if the consumer is not in its group, so that its partitions are unknown.
    outside_group: bool,
}

impl Watchdog {
    /// Returns the state of a producer, or of a consumer that joins a group.
    pub(super) fn new(tokens: Tokens) -> Self {
        Self(Arc::new(State { tokens, ..State::default() }))
    }

    /// Returns the state of a consumer that joins no group.
    pub(super) fn without_group(tokens: Tokens) -> Self {
        Self(Arc::new(State { no_group: true, tokens, ..State::default() }))
    }

    /// Waits until the client must be replaced, and returns the reason. Only the time since this call counts: before it,
    /// possibly nobody polled the client.
    pub(super) async fn client_failure(&self) -> String {
        let began = Instant::now();
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let faults = self.faults();
            if let Some((since, disconnected)) = faults.disconnected {
                let (limit, reason) = match disconnected {
                    Disconnected::Unreachable => (KAFKA_UNREACHABLE_MAX, "it reaches no broker"),
                    Disconnected::NoBrokerKnown => (KAFKA_NO_BROKER_MAX, "it knows no broker"),
                };
                if since.max(began).elapsed() >= limit {
                    return reason.into();
                }
            }
            if let Some((since, NotReading { reason, limit, .. })) = &faults.not_reading
                && (*since).max(began).elapsed() >= *limit
            {
                return reason.clone();
            }
        }
    }

    /// Resets the state for a new client.
    pub(super) fn client_replaced(&self) {
        *self.faults() = Faults::default();
        self.progress().client_replaced();
    }

    /// Logs and counts an error of a consumer.
    pub(super) fn record_error(&self, error: &KafkaError) {
        self.record_error_with(error, &error.to_string());
    }

    fn record_error_with(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)
            && !self.0.outage_logged.swap(true, Ordering::Relaxed)
        {
            warn!(reason, "Kafka went away");
        }
        self.progress().record_error(progress::error_kind(error), reason);
    }

    /// Returns the health of a consumer.
    pub(super) fn health(&self) -> Health {
        self.progress().health()
    }

    fn progress(&self) -> MutexGuard<'_, ReadProgress> {
        lock(&self.0.progress)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.0.faults)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Watchdog {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.tokens.latest()
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.record_error_with(&error, reason);
    }

    /// Reads the log of librdkafka: it is the only sign of an offset that is not in the partition any more.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == "OFFSET" {
            self.progress().record_error(ReadError::OffsetOutOfRange, line);
        }
        debug!(target: "librdkafka", facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        let mut faults = self.faults();
        let connected = statistics.brokers.values().any(is_up);
        if connected {
            faults.disconnected = None;
            if self.0.outage_logged.swap(false, Ordering::Relaxed) {
                info!("Kafka is back");
            }
        } else {
            let is_learned = |broker: &Broker| broker.source == "learned";
            let disconnected = if statistics.brokers.values().any(is_learned) {
                Disconnected::Unreachable
            } else {
                Disconnected::NoBrokerKnown
            };
            let same = faults.disconnected.filter(|(_, before)| *before == disconnected);
            faults.disconnected = same.or_else(|| Some((Instant::now(), disconnected)));
        }
        let before = faults.not_reading.take();
        let not_reading = if self.0.no_group { None } else { not_reading(&statistics) };
        let in_group = not_reading.as_ref().is_none_or(|fault| !fault.outside_group);
        faults.not_reading = not_reading.filter(|_| connected).map(|fault| {
            let same = before.filter(|(_, before)| before.limit == fault.limit);
            (same.map_or_else(Instant::now, |(since, _)| since), fault)
        });
        drop(faults);
        self.progress().update(&statistics, connected && in_group);
    }
}

impl ConsumerContext for Watchdog {}

fn is_up(broker: &Broker) -> bool {
    broker.state == "UP"
}

/// Returns why a consumer does not read, if it does not. Always `None` for a producer, which has no group.
fn not_reading(statistics: &Statistics) -> Option<NotReading> {
    let group = statistics.cgrp.as_ref()?;
    let (state, join) = (group.state.as_str(), group.join_state.as_str());
    if (state, join) != ("up", "steady") {
        let reason = format!("its group is {state}, {join}");
        let limit = if state == "up" { KAFKA_NO_PARTITION_MAX } else { KAFKA_NO_COORDINATOR_MAX };
        return Some(NotReading { reason, limit, outside_group: true });
    }
    let is_fetched = |partition: &Partition| {
        let is_leader = |broker: &Broker| broker.nodeid == partition.broker && is_up(broker);
        partition.fetch_state == "active" && statistics.brokers.values().any(is_leader)
    };
    let (_, Partition { partition, fetch_state, broker, .. }) = partitions(statistics)
        .find(|(_, partition)| is_assigned(partition) && !is_fetched(partition))?;
    let reason = format!("partition {partition} is {fetch_state} at broker {broker}");
    Some(NotReading { reason, limit: KAFKA_NO_PARTITION_MAX, outside_group: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{sleep, timeout};

    const CONFIGURED: (&str, &str) = ("configured", "TRY_CONNECT");

    /// Reports statistics with brokers, each with its source and its state.
    fn report(watchdog: &Watchdog, brokers: &[(&str, &str)]) {
        let broker = |&(source, state): &(&str, &str)| {
            let broker = Broker { source: source.into(), state: state.into(), ..Broker::default() };
            (format!("{source} {state}"), broker)
        };
        let brokers = brokers.iter().map(broker).collect();
        watchdog.stats(Statistics { brokers, ..Statistics::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_forgot_its_brokers_is_replaced() {
        let watchdog = Watchdog::default();
        report(&watchdog, &[CONFIGURED]);
        let began = Instant::now();
        assert_eq!(watchdog.client_failure().await, "it knows no broker");
        let took = began.elapsed();
        assert!((KAFKA_NO_BROKER_MAX..KAFKA_NO_BROKER_MAX + 2 * CHECK_INTERVAL).contains(&took));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_cannot_reach_its_broker_is_replaced_later() {
        let watchdog = Watchdog::default();
        report(&watchdog, &[CONFIGURED, ("learned", "TRY_CONNECT")]);
        assert!(timeout(KAFKA_UNREACHABLE_MAX / 2, watchdog.client_failure()).await.is_err());
        assert_eq!(watchdog.client_failure().await, "it reaches no broker");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_recovers_gets_the_whole_time_again() {
        let watchdog = Watchdog::default();
        report(&watchdog, &[CONFIGURED]);
        sleep(KAFKA_NO_BROKER_MAX).await;
        report(&watchdog, &[CONFIGURED, ("learned", "UP")]);
        assert!(timeout(10 * KAFKA_UNREACHABLE_MAX, watchdog.client_failure()).await.is_err());
        report(&watchdog, &[CONFIGURED]);
        assert!(timeout(KAFKA_NO_BROKER_MAX / 2, watchdog.client_failure()).await.is_err());
    }
}
