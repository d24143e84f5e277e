//! The state that the task that writes the log shares with the readers.

use crate::bus::embedded::tail::Tail;
use crate::bus::interface::{Delivery, Message, TopicPosition};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
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
    /// The offset of the oldest message in the file.
    oldest: AtomicI64,
    /// How many of the newest messages stay in the file at least.
    kept: AtomicI64,
    /// The number of running replays.
    replays: AtomicUsize,
    /// The number of appends.
    appends: watch::Sender<u64>,
}

impl Shared {
    /// Returns the state of a file: the offsets of its oldest and of its next message, and the positions of the groups.
    pub(super) fn new(oldest: i64, next: i64, positions: Positions) -> Self {
        Self {
            tail: Mutex::new(Tail::new(next)),
            positions: Mutex::new(positions),
            readers: Mutex::default(),
            oldest: AtomicI64::new(oldest),
            kept: AtomicI64::new(i64::MAX),
            replays: AtomicUsize::new(0),
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

    /// Returns the offset of the oldest message in the file.
    pub(super) fn oldest(&self) -> i64 {
        self.oldest.load(Ordering::Relaxed)
    }

    pub(super) fn set_oldest(&self, oldest: i64) {
        self.oldest.store(oldest, Ordering::Relaxed);
    }

    /// Sets how many of the newest messages stay in the file at least.
    pub(super) fn keep(&self, kept: i64) {
        self.kept.store(kept, Ordering::Relaxed);
    }

    /// Begins a replay. Until it is dropped, no message leaves the file.
    pub(super) fn begin_replay(self: &Arc<Self>) -> ReplayGuard {
        self.replays.fetch_add(1, Ordering::Relaxed);
        ReplayGuard(Arc::clone(self))
    }

    /// Returns the offset before which messages may leave the file: they are older than those that are kept, every group has
    /// read them, and no replay runs. `written` are the positions in the file: after a crash the groups go on from these.
    pub(super) fn expendable_before(&self, written: &Positions) -> Option<i64> {
        let kept = self.kept.load(Ordering::Relaxed);
        let before = written.values().copied().min()?.min(self.next().saturating_sub(kept));
        let readers_have_positions = self.readers().iter().all(|group| written.contains_key(group));
        let is_replayed = self.replays.load(Ordering::Relaxed) > 0;
        (before > self.oldest() && readers_have_positions && !is_replayed).then_some(before)
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

/// A running replay.
pub(super) struct ReplayGuard(Arc<Shared>);

impl Drop for ReplayGuard {
    fn drop(&mut self) {
        self.0.replays.fetch_sub(1, Ordering::Relaxed);
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
        payload: Some(message.payload.into_bytes().into()),
        headers: message.headers,
        timestamp,
    }
}
