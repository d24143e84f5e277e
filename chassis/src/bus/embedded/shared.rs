//! The state that the task that writes the log shares with the readers.

use crate::bus::embedded::partition::partition;
use crate::bus::embedded::tail::Tail;
use crate::bus::interface::{Delivery, Message, TopicPosition};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A consumer group in a partition.
pub(super) type GroupPartition = (String, i32);
/// The next offset of each group in each partition.
pub(super) type Positions = HashMap<GroupPartition, i64>;

/// The state that the writing task and the readers share.
pub(super) struct Shared {
    /// The last offset of each partition, -1 if it is empty.
    last_offsets: Vec<AtomicI64>,
    tail: Mutex<Tail>,
    /// The next offset of each group, including changes that are not in the file yet.
    positions: Mutex<Positions>,
    /// The number of appends.
    appends: watch::Sender<u64>,
}

impl Shared {
    /// Returns the state of a file: the last offset of each partition, -1 if it is empty, and the positions of the groups.
    pub(super) fn new(last_offsets: Vec<i64>, positions: Positions) -> Self {
        let next = last_offsets.iter().max().map_or(0, |last| last + 1);
        Self {
            last_offsets: last_offsets.into_iter().map(AtomicI64::new).collect(),
            tail: Mutex::new(Tail::new(next)),
            positions: Mutex::new(positions),
            appends: watch::Sender::new(0),
        }
    }

    /// Resolves at the next append after this call.
    pub(super) fn appended(&self) -> impl Future<Output = ()> + use<> {
        let mut appends = self.appends.subscribe();
        async move {
            let _ = appends.changed().await;
        }
    }

    /// Returns the last offset of a partition, -1 if it is empty.
    pub(super) fn last_offset(&self, partition: i32) -> &AtomicI64 {
        &self.last_offsets[usize::try_from(partition).unwrap_or_default()]
    }

    pub(super) fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn positions(&self) -> MutexGuard<'_, Positions> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the offset of the next message.
    pub(super) fn next(&self) -> i64 {
        self.tail().next()
    }

    /// Gives the readers messages that are in the file now, from the next offset on.
    pub(super) fn publish(&self, messages: Vec<Message>, timestamp: i64) {
        let mut tail = self.tail();
        for message in messages {
            let delivery = delivery(message, tail.next(), timestamp);
            let TopicPosition { partition, offset } = delivery.position;
            self.last_offset(partition).store(offset, Ordering::Release);
            tail.push(Arc::new(delivery));
        }
        drop(tail);
        self.appends.send_modify(|count| *count += 1);
    }
}

/// Returns the delivery of a message.
pub(super) fn delivery(message: Message, offset: i64, timestamp: i64) -> Delivery {
    Delivery {
        position: TopicPosition { partition: partition(&message.key), offset },
        key: Some(message.key),
        payload: Some(message.payload.into_bytes()),
        headers: message.headers,
        timestamp,
    }
}
