//! The health of a consumer: errors, partitions that stopped, lag.
//!
//! The Rust client reports errors without partition and offset, so stopped partitions are found in the statistics: a
//! partition has stopped if it has unread messages and its position does not change.

use crate::bus::{Health, ReadError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::statistics::{Partition, Statistics};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// An error is logged at debug level if the same kind occurred less than this long ago.
const ERROR_LOG_INTERVAL: Duration = Duration::from_mins(1);
/// Statistics come every second while somebody polls. An older lag than this counts as unknown.
const LAG_LIFETIME: Duration = Duration::from_secs(5);
/// A partition has stopped if it has unread messages and the same position in this many statistics in a row.
const STOPPED_AFTER: u32 = 2;
/// The same while the client has fetched messages that nobody polled: they may be of this partition.
const STOPPED_AFTER_QUEUED: u32 = 15;
/// Statistics that come sooner than this after the previous ones had waited for a poll: no position could change in between, so
/// they do not count for [`STOPPED_AFTER`].
const STATISTICS_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// How a subscription reads its partitions.
#[derive(Debug, Default)]
pub(super) struct ReadProgress {
    /// The lag and when it was measured.
    lag: Option<(Instant, i64)>,
    errors: BTreeMap<ReadError, u64>,
    last_seen: HashMap<ReadError, Instant>,
    /// The latest error that may be why a partition stopped.
    latest_error: Option<(ReadError, String)>,
    /// Partitions with messages that the client had not fetched at the last statistics.
    unread: HashMap<i32, Unread>,
    /// When the last statistics came.
    updated: Option<Instant>,
    /// True if this member had partitions at the last statistics.
    assigned: bool,
    /// True if the topic was missing or forbidden, and no partition was assigned since.
    denied: bool,
    /// Partitions that have stopped, and their offsets.
    stopped: BTreeMap<i32, i64>,
}

/// The position of a partition with unread messages, and the number of statistics in a row with this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unread {
    fetched: i64,
    delivered: i64,
    count: u32,
}

impl ReadProgress {
    /// Counts and logs an error.
    pub(super) fn record_error(&mut self, kind: ReadError, error: &str) {
        *self.errors.entry(kind).or_default() += 1;
        let last = self.last_seen.insert(kind, Instant::now());
        if last.is_some_and(|last| last.elapsed() < ERROR_LOG_INTERVAL) {
            debug!(kind = kind.label(), error, "the Kafka client reports an error again");
        } else if kind == ReadError::Connection {
            debug!(error, "no connection to Kafka"); // `Watchdog` warns when all brokers are away
        } else {
            warn!(kind = kind.label(), error, "the Kafka client reports an error");
        }
        self.denied |= matches!(kind, ReadError::UnknownTopic | ReadError::Authorization);
        if kind != ReadError::Connection {
            self.latest_error = Some((kind, error.to_owned()));
        }
    }

    /// Takes the statistics of the client. `can_read` is false if it has no broker or is not in its group.
    pub(super) fn update(&mut self, statistics: &Statistics, can_read: bool) {
        let (mut lag, mut topic_known, mut assigned_count) = (Some(0), false, 0);
        let mut unread = HashMap::new();
        let before = self.updated.replace(Instant::now());
        let counts = u32::from(before.is_none_or(|at| at.elapsed() >= STATISTICS_INTERVAL_MIN));
        for (topic, partition) in partitions(statistics) {
            topic_known |= partition.leader >= 0;
            if !is_assigned(partition) {
                continue;
            }
            assigned_count += 1;
            lag = lag.zip(lag_of(partition)).map(|(sum, lag)| sum + lag);
            let (number, fetched) = (partition.partition, partition.next_offset);
            let mut stopped = false;
            if partition.ls_offset > fetched && fetched >= 0 {
                let before = self.unread.get(&number).copied();
                let now = Unread { fetched, delivered: partition.app_offset, count: 1 };
                let same = before.filter(|before| Unread { count: 1, ..*before } == now);
                let count = same.map_or(1, |before| before.count + counts);
                unread.insert(number, Unread { count, ..now });
                let limit =
                    if partition.fetchq_cnt == 0 { STOPPED_AFTER } else { STOPPED_AFTER_QUEUED };
                let known = self.stopped.get(&number) == Some(&fetched);
                stopped = known || can_read && count >= limit;
            }
            self.set_stopped(topic, number, fetched, stopped);
        }
        self.stopped.retain(|partition, _| unread.contains_key(partition));
        self.unread = unread;
        let assigned = assigned_count > 0;
        self.denied &= self.assigned || !assigned; // until partitions are assigned again
        self.assigned = assigned;
        // The client fetches an assigned partition only after it has its committed offset.
        let group = statistics.cgrp.as_ref();
        let all_fetched = group.is_none_or(|group| group.assignment_size == assigned_count);
        let lag_known = can_read && topic_known && all_fetched && (assigned || !self.denied);
        self.lag = lag.filter(|_| lag_known).map(|lag| (Instant::now(), lag));
    }

    /// Sets whether a partition has stopped, and logs a change.
    fn set_stopped(&mut self, topic: &str, partition: i32, offset: i64, stopped: bool) {
        if stopped && self.stopped.insert(partition, offset) != Some(offset) {
            let (kind, error) = match &self.latest_error {
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

    /// Forgets the partitions of the old client.
    pub(super) fn client_replaced(&mut self) {
        self.lag = None;
        self.unread.clear();
    }

    /// Returns the health of the subscription.
    pub(super) fn health(&self) -> Health {
        let current = |&(at, lag): &(Instant, i64)| (at.elapsed() < LAG_LIFETIME).then_some(lag);
        Health {
            lag: self.lag.as_ref().and_then(current),
            stopped: i64::try_from(self.stopped.len()).unwrap_or(i64::MAX),
            errors: self.errors.clone(),
        }
    }
}

/// Returns the lag of the group in a partition, or `None` if the client does not know it.
fn lag_of(partition: &Partition) -> Option<i64> {
    let Partition { hi_offset, next_offset, .. } = *partition;
    let is_fetched = next_offset >= 0 && next_offset <= hi_offset; // after a failed fetch the watermark is -1
    if !is_fetched || partition.fetch_state != "active" {
        return None;
    }
    let committed = match partition.stored_offset {
        stored if stored >= 0 => stored,
        _ => partition.committed_offset,
    };
    // A group without an offset, or with one that is not in the partition any more, begins at the oldest message.
    let in_range = (0..=hi_offset).contains(&committed);
    let position = if in_range { committed } else { partition.lo_offset.max(0) };
    Some((hi_offset - position).max(0))
}

/// Returns true if the partition is assigned to this member.
pub(super) fn is_assigned(partition: &Partition) -> bool {
    !matches!(partition.fetch_state.as_str(), "none" | "stopped")
}

/// Returns every partition with the name of its topic. Leaves out partition -1, which stands for those that are unknown yet.
pub(super) fn partitions(statistics: &Statistics) -> impl Iterator<Item = (&str, &Partition)> {
    statistics.topics.values().flat_map(|topic| {
        let partitions = topic.partitions.values().filter(|partition| partition.partition >= 0);
        partitions.map(|partition| (topic.topic.as_str(), partition))
    })
}

/// Returns the kind of an error of the client.
pub(super) fn error_kind(error: &KafkaError) -> ReadError {
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
mod tests;
