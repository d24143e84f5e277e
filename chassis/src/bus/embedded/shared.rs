//! What the task that writes the log shares with its readers.

use crate::bus::embedded::partition::partition;
use crate::bus::embedded::tail::Tail;
use crate::bus::interface::{Delivery, Message, TopicPosition};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A consumer group in a partition.
pub(super) type GroupPartition = (String, i32);
pub(super) type Positions = HashMap<GroupPartition, i64>;

/// What the writing task and the readers share.
pub(super) struct Shared {
    /// The last offset of each partition, -1 for none.
    ends: Vec<AtomicI64>,
    tail: Mutex<Tail>,
    /// Where each group is, also what is not written yet.
    positions: Mutex<Positions>,
    changed: watch::Sender<u64>,
}

impl Shared {
    /// Starts where the file ends: `ends` is the last offset of each partition.
    pub(super) fn new(ends: Vec<i64>, positions: Positions) -> Self {
        let next = ends.iter().max().map_or(0, |end| end + 1);
        Self {
            ends: ends.into_iter().map(AtomicI64::new).collect(),
            tail: Mutex::new(Tail::new(next)),
            positions: Mutex::new(positions),
            changed: watch::Sender::new(0),
        }
    }

    /// Resolves at the next append after this call.
    pub(super) fn appended(&self) -> impl Future<Output = ()> + use<> {
        let mut changed = self.changed.subscribe();
        async move {
            let _ = changed.changed().await;
        }
    }

    pub(super) fn end(&self, partition: i32) -> &AtomicI64 {
        &self.ends[usize::try_from(partition).unwrap_or_default()]
    }

    pub(super) fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn positions(&self) -> MutexGuard<'_, Positions> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The offset of the message that comes next.
    pub(super) fn next(&self) -> i64 {
        self.tail().next()
    }

    /// Shows readers messages that are in the file now, from the next offset on.
    pub(super) fn show(&self, messages: Vec<Message>, at: i64) {
        let mut tail = self.tail();
        for message in messages {
            let delivery = delivery(message, tail.next(), at);
            self.end(delivery.place.partition).store(delivery.place.offset, Ordering::Release);
            tail.push(Arc::new(delivery));
        }
        drop(tail);
        self.changed.send_modify(|count| *count += 1);
    }
}

/// Returns a message as its readers get it.
pub(super) fn delivery(message: Message, offset: i64, at: i64) -> Delivery {
    Delivery {
        place: TopicPosition { partition: partition(&message.key), offset },
        key: Some(message.key),
        payload: Some(message.payload.into_bytes()),
        headers: message.headers,
        at,
    }
}
