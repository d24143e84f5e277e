//! The state that the task that writes the log shares with the readers.

use crate::bus::embedded::tail::Tail;
use crate::bus::interface::{Delivery, Message, TopicPosition};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The next offset of each group.
pub(super) type Positions = HashMap<String, i64>;

/// The state that the writing task and the readers share.
pub(super) struct Shared {
    tail: Mutex<Tail>,
    /// The next offset of each group, including changes that are not in the file yet.
    positions: Mutex<Positions>,
    /// The groups that have a reader.
    readers: Mutex<HashSet<String>>,
    /// The number of appends.
    appends: watch::Sender<u64>,
}

impl Shared {
    /// Returns the state of a file: the offset of its next message, and the positions of the groups.
    pub(super) fn new(next: i64, positions: Positions) -> Self {
        Self {
            tail: Mutex::new(Tail::new(next)),
            positions: Mutex::new(positions),
            readers: Mutex::default(),
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

    pub(super) fn tail(&self) -> MutexGuard<'_, Tail> {
        lock(&self.tail)
    }

    pub(super) fn positions(&self) -> MutexGuard<'_, Positions> {
        lock(&self.positions)
    }

    pub(super) fn readers(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.readers)
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
            tail.push(Arc::new(delivery));
        }
        drop(tail);
        self.appends.send_modify(|count| *count += 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the delivery of a message.
pub(super) fn delivery(message: Message, offset: i64, timestamp: i64) -> Delivery {
    Delivery {
        position: TopicPosition { partition: 0, offset },
        key: Some(message.key),
        payload: Some(message.payload.into_bytes()),
        headers: message.headers,
        timestamp,
    }
}
