//! The health of a consumer: errors, partitions that stopped, lag.
//!
//! The Rust client reports errors without partition and offset, so these come from the statistics: a partition has
//! stopped where it has messages and its position stays the same.

use crate::bus::{Health, ReadError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::statistics::{Partition, Statistics};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// An error is logged once, and again when it comes back after it was absent for this long.
const ERROR_ABSENT: Duration = Duration::from_mins(1);
/// Statistics come every second where somebody polls. A lag that is older than this is unknown.
const LAG_EXPIRES: Duration = Duration::from_secs(5);
/// A partition with unread messages that does not move in so many statistics in a row has stopped.
const STOPPED_AFTER: u32 = 2;
/// The same where the client holds messages that nobody took yet: those of this partition may be among them.
const STOPPED_AFTER_QUEUED: u32 = 15;

/// Statistics that come sooner after others waited for somebody to poll, and say nothing of whether a partition moves.
const STATISTICS_APART: Duration = Duration::from_millis(500);

/// The reading of one subscription.
#[derive(Debug, Default)]
pub(super) struct Reading {
    lag: Option<(Instant, i64)>,
    errors: BTreeMap<ReadError, u64>,
    last_seen: HashMap<ReadError, Instant>,
    /// The latest error that says why a partition may have stopped.
    latest: Option<(ReadError, String)>,
    /// Partitions that had messages which the client had not fetched at the last statistics.
    unread: HashMap<i32, Unread>,
    /// When those statistics came.
    at: Option<Instant>,
    /// Whether this member had partitions then.
    assigned: bool,
    /// The topic was not there or not allowed, and no partition was assigned since.
    denied: bool,
    /// Partitions that stopped, and where.
    stopped: BTreeMap<i32, i64>,
}

/// Where a partition with unread messages is, and how often in a row it was seen there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unread {
    fetched: i64,
    delivered: i64,
    seen: u32,
}

impl Reading {
    /// Counts an error, and logs it unless it was logged and is still there.
    pub(super) fn error(&mut self, kind: ReadError, error: &str) {
        *self.errors.entry(kind).or_default() += 1;
        let last = self.last_seen.insert(kind, Instant::now());
        if last.is_some_and(|last| last.elapsed() < ERROR_ABSENT) {
            debug!(kind = kind.label(), error, "the Kafka client reports an error again");
        } else if kind == ReadError::Connection {
            debug!(error, "no connection to Kafka"); // `Watch` warns when all brokers are away
        } else {
            warn!(kind = kind.label(), error, "the Kafka client reports an error");
        }
        self.denied |= matches!(kind, ReadError::UnknownTopic | ReadError::Authorization);
        if kind != ReadError::Connection {
            self.latest = Some((kind, error.to_owned()));
        }
    }

    /// Takes what the client tells every second. `reads` is false where it has no broker or is not in its group.
    pub(super) fn statistics(&mut self, statistics: &Statistics, reads: bool) {
        let (mut lag, mut known, mut ours) = (Some(0), false, 0);
        let mut unread = HashMap::new();
        let before = self.at.replace(Instant::now());
        let look = u32::from(before.is_none_or(|at| at.elapsed() >= STATISTICS_APART));
        for (topic, partition) in partitions(statistics) {
            known |= partition.leader >= 0;
            if !is_ours(partition) {
                continue;
            }
            ours += 1;
            lag = lag.zip(lag_of(partition)).map(|(sum, lag)| sum + lag);
            let (number, fetched) = (partition.partition, partition.next_offset);
            let mut stopped = false;
            if partition.ls_offset > fetched && fetched >= 0 {
                let before = self.unread.get(&number).copied();
                let now = Unread { fetched, delivered: partition.app_offset, seen: 1 };
                let seen = before.filter(|before| Unread { seen: 1, ..*before } == now);
                let seen = seen.map_or(1, |before| before.seen + look);
                unread.insert(number, Unread { seen, ..now });
                let least =
                    if partition.fetchq_cnt == 0 { STOPPED_AFTER } else { STOPPED_AFTER_QUEUED };
                let known = self.stopped.get(&number) == Some(&fetched);
                stopped = known || reads && seen >= least;
            }
            self.note(topic, number, fetched, stopped);
        }
        self.stopped.retain(|partition, _| unread.contains_key(partition));
        self.unread = unread;
        let assigned = ours > 0;
        self.denied &= self.assigned || !assigned; // until partitions are assigned anew
        self.assigned = assigned;
        // A partition is fetched some time after it is assigned: its committed offset is asked for first.
        let all = statistics.cgrp.as_ref().is_none_or(|group| group.assignment_size == ours);
        let known = known && all && (assigned || !self.denied);
        self.lag = lag.filter(|_| reads && known).map(|lag| (Instant::now(), lag));
    }

    /// Notes whether a partition has stopped, and logs a change.
    fn note(&mut self, topic: &str, partition: i32, offset: i64, stopped: bool) {
        if stopped && self.stopped.insert(partition, offset) != Some(offset) {
            let (kind, error) = match &self.latest {
                Some((kind, error)) => (kind.label(), error.as_str()),
                None => ("unknown", "the client reports no error"),
            };
            warn!(
                topic,
                partition,
                offset,
                kind,
                error,
                "a partition cannot be read; it stopped at this offset"
            );
        } else if !stopped && self.stopped.remove(&partition).is_some() {
            info!(topic, partition, offset, "a partition is read again");
        }
    }

    /// A new client begins: what was known of the old one's partitions is not true of it.
    pub(super) fn renewed(&mut self) {
        self.lag = None;
        self.unread.clear();
    }

    pub(super) fn health(&self) -> Health {
        let fresh = |&(at, lag): &(Instant, i64)| (at.elapsed() < LAG_EXPIRES).then_some(lag);
        Health {
            lag: self.lag.as_ref().and_then(fresh),
            stopped: i64::try_from(self.stopped.len()).unwrap_or(i64::MAX),
            errors: self.errors.clone(),
        }
    }
}

/// Messages of a partition behind the position of the group. None where the client does not know them.
fn lag_of(partition: &Partition) -> Option<i64> {
    let Partition { hi_offset, next_offset, .. } = *partition;
    let fetches = next_offset >= 0 && next_offset <= hi_offset; // the watermark is -1 where a fetch failed
    if !fetches || partition.fetch_state != "active" {
        return None;
    }
    let done = match partition.stored_offset {
        stored if stored >= 0 => stored,
        _ => partition.committed_offset,
    };
    // A new group begins at the oldest message, and so does one whose offset is not in the partition any more.
    let in_range = (0..=hi_offset).contains(&done);
    let position = if in_range { done } else { partition.lo_offset.max(0) };
    Some((hi_offset - position).max(0))
}

/// Whether this member is to read it.
pub(super) fn is_ours(partition: &Partition) -> bool {
    !matches!(partition.fetch_state.as_str(), "none" | "stopped")
}

/// Every partition with the name of its topic, but for the one that stands for those that are not known yet.
pub(super) fn partitions(statistics: &Statistics) -> impl Iterator<Item = (&str, &Partition)> {
    statistics.topics.values().flat_map(|topic| {
        let partitions = topic.partitions.values().filter(|partition| partition.partition >= 0);
        partitions.map(|partition| (topic.topic.as_str(), partition))
    })
}

/// The kind of an error of the client.
pub(super) fn kind(error: &KafkaError) -> ReadError {
    let Some(code) = error.rdkafka_error_code() else { return ReadError::Other };
    match code {
        Code::NotImplemented | Code::UnsupportedCompressionType => ReadError::Unsupported,
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => ReadError::Corrupt,
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => ReadError::TooLarge,
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId => ReadError::UnknownTopic,
        Code::OffsetOutOfRange | Code::AutoOffsetReset => ReadError::OffsetOutOfRange,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => ReadError::Authorization,
        Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => {
            ReadError::Authentication
        }
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator => ReadError::Connection,
        Code::PollExceeded
        | Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::RebalanceInProgress
        | Code::FencedInstanceId => ReadError::Group,
        _ => ReadError::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::statistics::Topic;

    /// Statistics of a partition that is read, at its end, with everything done.
    fn at_end() -> Partition {
        Partition {
            fetch_state: "active".into(),
            leader: 1,
            lo_offset: 0,
            next_offset: 10,
            app_offset: 10,
            stored_offset: 10,
            committed_offset: 10,
            hi_offset: 10,
            ls_offset: 10,
            ..Partition::default()
        }
    }

    fn statistics(partition: Partition) -> Statistics {
        let topic =
            Topic { topic: "t".into(), partitions: [(0, partition)].into(), ..Topic::default() };
        Statistics { topics: [("t".to_owned(), topic)].into(), ..Statistics::default() }
    }

    fn lag(partition: Partition) -> Option<i64> {
        let mut reading = Reading::default();
        reading.statistics(&statistics(partition), true);
        reading.health().lag
    }

    const UNKNOWN: i64 = -1001; // librdkafka's own

    #[test]
    fn lag_is_of_the_high_watermark_and_unknown_is_not_none() {
        assert_eq!(Reading::default().health().lag, None, "nothing was fetched");
        assert_eq!(lag(at_end()), Some(0));
        let new = Partition {
            next_offset: 0,
            app_offset: UNKNOWN,
            stored_offset: UNKNOWN,
            committed_offset: UNKNOWN,
            ..at_end()
        };
        assert_eq!(lag(new.clone()), Some(10), "a new group that could not read anything");
        let unread = Partition { hi_offset: -1, ls_offset: -1, ..at_end() };
        assert_eq!(lag(unread), None, "a fetch that was refused tells no watermark");
        let beyond = Partition { next_offset: 70, stored_offset: 70, ..at_end() };
        assert_eq!(lag(beyond), None, "the topic is shorter than the position");
        let reset = Partition { committed_offset: 70, ..new.clone() };
        assert_eq!(lag(reset), Some(10), "the position was lost, and reading begins again");
        let looks = Partition { fetch_state: "offset-query".into(), ..new };
        assert_eq!(lag(looks), None);
        let gone = Partition { fetch_state: "none".into(), leader: -1, ..at_end() };
        assert_eq!(lag(gone), None, "a topic that is not there");
        let of_another = Partition { fetch_state: "none".into(), ..at_end() };
        assert_eq!(lag(of_another), Some(0), "another member reads it");
    }

    #[test]
    fn a_topic_that_was_taken_away_is_not_read_to_its_end() {
        let mut reading = Reading::default();
        reading.statistics(&statistics(at_end()), true);
        reading.error(ReadError::Authorization, "no");
        reading.statistics(&statistics(at_end()), true);
        let none = Partition { fetch_state: "none".into(), ..at_end() };
        reading.statistics(&statistics(none), true);
        assert_eq!(reading.health().lag, None);
        reading.statistics(&statistics(at_end()), true);
        assert_eq!(reading.health().lag, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_stopped_is_counted_until_it_goes_on() {
        let mut reading = Reading::default();
        reading.error(ReadError::Unsupported, "not implemented");
        let stuck = Partition { hi_offset: 20, ls_offset: 20, ..at_end() };
        reading.statistics(&statistics(stuck.clone()), true);
        assert_eq!(reading.health().stopped, 0, "it may have come this moment");
        reading.statistics(&statistics(stuck.clone()), true);
        assert_eq!(reading.health().stopped, 0, "nobody polled, so nothing moved");
        tokio::time::sleep(Duration::from_secs(1)).await;
        reading.statistics(&statistics(stuck.clone()), true);
        assert_eq!((reading.health().stopped, reading.health().lag), (1, Some(10)));
        assert_eq!(reading.health().errors, [(ReadError::Unsupported, 1)].into());
        tokio::time::sleep(LAG_EXPIRES).await;
        assert_eq!(reading.health().lag, None, "nobody polled");
        let on = Partition { next_offset: 12, ..stuck };
        reading.statistics(&statistics(on), true);
        assert_eq!(reading.health().stopped, 0);
    }
}
