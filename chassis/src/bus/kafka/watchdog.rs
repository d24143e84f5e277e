//! Watches a client: whether it works, and how it reads.

use crate::bus::kafka::reading::{self, Reading, is_ours, partitions};
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

/// How long a client may know no broker before it is made anew.
///
/// A broker that its controller has fenced, for which a hiccup of two seconds is enough, is missing in the
/// metadata that it answers; librdkafka (2.10 to 2.12) then drops it, and where it was the only one, stays without
/// any for good: `chaos --only "SIGSTOP of Kafka"` saw that within five cycles.
const FORGOTTEN: Duration = Duration::from_secs(5);
/// How long a client may fail to reach the brokers that it knows. It tries every second by itself, and is the same member
/// of its group when it succeeds. A new one is another member, for which the group first waits until the old one's
/// session ends; and a broker that was killed may have lost the timer for that (Kafka 4.4, see
/// [`crate::bus::kafka::client::KafkaBus::consumer`]).
const AWAY: Duration = Duration::from_mins(2);
/// How long a consumer may look for the coordinator of its group, with a broker there: the same, and was seen as well.
const WITHOUT_COORDINATOR: Duration = Duration::from_secs(8);
/// How long it may take to join, or to find a broker to read a partition of its own from. A rebalance waits for members that
/// are gone until their session ends, after 6 s; to begin again too early is to have it wait once more.
const IDLE: Duration = Duration::from_secs(20);
/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(500);

/// What clients tell of themselves. Shared by a client and those that replace it.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<State>);

#[derive(Default)]
struct State {
    /// Whether it was said that the brokers are away: once, where librdkafka would say it four times a second.
    said: AtomicBool,
    trouble: Mutex<Trouble>,
    reading: Mutex<Reading>,
    /// The client is given its partitions, and joins no group for them.
    no_group: bool,
    tokens: Tokens,
}

#[derive(Default)]
struct Trouble {
    away: Option<(Instant, Away)>,
    adrift: Option<(Instant, Adrift)>,
}

/// Why there is no broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// Those that are known do not answer.
    Unreachable,
    /// None is known but by the address that the client began with.
    Forgotten,
}

/// A consumer that has a broker, and does not read.
struct Adrift {
    why: String,
    /// How long that may be so.
    limit: Duration,
    /// It is not in its group, so that its partitions are not known.
    of_group: bool,
}

impl Watch {
    pub(super) fn new(tokens: Tokens) -> Self {
        Self(Arc::new(State { tokens, ..State::default() }))
    }

    /// For a client that is in no group.
    pub(super) fn of_no_group(tokens: Tokens) -> Self {
        Self(Arc::new(State { no_group: true, tokens, ..State::default() }))
    }

    /// Waits until the client did not work for so long that it must be made anew, and says why. Only
    /// the time while this waits counts: before, nobody may have served the client.
    pub(super) async fn lost(&self) -> String {
        let asked = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let trouble = self.trouble();
            if let Some((since, away)) = trouble.away {
                let (limit, why) = match away {
                    Away::Unreachable => (AWAY, "it reaches no broker"),
                    Away::Forgotten => (FORGOTTEN, "it knows no broker"),
                };
                if since.max(asked).elapsed() >= limit {
                    return why.into();
                }
            }
            if let Some((since, Adrift { why, limit, .. })) = &trouble.adrift
                && (*since).max(asked).elapsed() >= *limit
            {
                return why.clone();
            }
        }
    }

    /// The client was made anew: it has as long again.
    pub(super) fn renewed(&self) {
        *self.trouble() = Trouble::default();
        self.reading().renewed();
    }

    /// Takes an error that a consumer met. Logs and counts it.
    pub(super) fn failed(&self, error: &KafkaError) {
        self.failed_with(error, &error.to_string());
    }

    fn failed_with(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)
            && !self.0.said.swap(true, Ordering::Relaxed)
        {
            warn!(reason, "Kafka went away");
        }
        self.reading().error(reading::kind(error), reason);
    }

    /// How a consumer reads.
    pub(super) fn health(&self) -> Health {
        self.reading().health()
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        lock(&self.0.reading)
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        lock(&self.0.trouble)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Watch {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.tokens.latest()
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.failed_with(&error, reason);
    }

    /// librdkafka's own log, the only word of a position that is not there any more: reading goes on elsewhere.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == "OFFSET" {
            self.reading().error(ReadError::OffsetOutOfRange, line);
        }
        debug!(target: "librdkafka", facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        let mut trouble = self.trouble();
        let up = statistics.brokers.values().any(is_up);
        if up {
            trouble.away = None;
            if self.0.said.swap(false, Ordering::Relaxed) {
                info!("Kafka is back");
            }
        } else {
            let learned = |broker: &Broker| broker.source == "learned";
            let known = statistics.brokers.values().any(learned);
            let away = if known { Away::Unreachable } else { Away::Forgotten };
            let before = trouble.away.filter(|(_, before)| *before == away);
            trouble.away = before.or_else(|| Some((Instant::now(), away)));
        }
        let before = trouble.adrift.take();
        let adrift = if self.0.no_group { None } else { adrift(&statistics) };
        let in_group = adrift.as_ref().is_none_or(|adrift| !adrift.of_group);
        trouble.adrift = adrift.filter(|_| up).map(|now| {
            let same = before.filter(|(_, before)| before.limit == now.limit);
            (same.map_or_else(Instant::now, |(since, _)| since), now)
        });
        drop(trouble);
        self.reading().statistics(&statistics, up && in_group);
    }
}

impl ConsumerContext for Watch {}

fn is_up(broker: &Broker) -> bool {
    broker.state == "UP"
}

/// Why a consumer does not read, if it does not. A producer has no group, and never is adrift.
fn adrift(statistics: &Statistics) -> Option<Adrift> {
    let group = statistics.cgrp.as_ref()?;
    let (state, join) = (group.state.as_str(), group.join_state.as_str());
    if (state, join) != ("up", "steady") {
        let limit = if state == "up" { IDLE } else { WITHOUT_COORDINATOR };
        return Some(Adrift {
            why: format!("its group is {state}, {join}"),
            limit,
            of_group: true,
        });
    }
    let reads = |partition: &Partition| {
        let at = |broker: &Broker| broker.nodeid == partition.broker && is_up(broker);
        partition.fetch_state == "active" && statistics.brokers.values().any(at)
    };
    let (_, Partition { partition, fetch_state, broker, .. }) =
        partitions(statistics).find(|(_, one)| is_ours(one) && !reads(one))?;
    let why = format!("partition {partition} is {fetch_state} at broker {broker}");
    Some(Adrift { why, limit: IDLE, of_group: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{sleep, timeout};

    /// What a client tells of brokers that it knows from its own settings or from a broker.
    fn tell(watch: &Watch, brokers: &[(&str, &str)]) {
        let broker = |&(source, state): &(&str, &str)| {
            let broker = Broker { source: source.into(), state: state.into(), ..Broker::default() };
            (format!("{source} {state}"), broker)
        };
        let brokers = brokers.iter().map(broker).collect();
        watch.stats(Statistics { brokers, ..Statistics::default() });
    }

    const CONFIGURED: (&str, &str) = ("configured", "TRY_CONNECT");

    #[tokio::test(start_paused = true)]
    async fn a_client_that_forgot_its_brokers_is_lost() {
        let watch = Watch::default();
        tell(&watch, &[CONFIGURED]);
        let began = Instant::now();
        assert_eq!(watch.lost().await, "it knows no broker");
        assert!(began.elapsed() >= FORGOTTEN && began.elapsed() < FORGOTTEN + 2 * LOOK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_only_cannot_reach_its_broker_has_longer() {
        let watch = Watch::default();
        tell(&watch, &[CONFIGURED, ("learned", "TRY_CONNECT")]);
        assert!(timeout(AWAY / 2, watch.lost()).await.is_err());
        assert_eq!(watch.lost().await, "it reaches no broker");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_well_again_begins_anew() {
        let watch = Watch::default();
        tell(&watch, &[CONFIGURED]);
        sleep(FORGOTTEN).await;
        tell(&watch, &[CONFIGURED, ("learned", "UP")]);
        assert!(timeout(10 * AWAY, watch.lost()).await.is_err());
        tell(&watch, &[CONFIGURED]);
        assert!(timeout(FORGOTTEN / 2, watch.lost()).await.is_err());
    }
}
