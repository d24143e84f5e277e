//! The bus without Kafka: a SQLite file of one process, durable across kill -9.
//!
//! `publish` returns when the messages are in the file and flushed. The topic has one partition and each group one reader, so
//! the position of a group is one number. It is written with the next messages or after 200 ms: losing it costs a redelivery
//! only.

mod log;
mod shared;
mod tail;
mod write;

use crate::bus::health::{Health, Monitor};
use crate::bus::interface::{
    Bus, Delivery, Destination, Message, PublishError, Publisher, Subscription, TopicPosition,
    TopicReplay, TopicTail,
};
use anyhow::ensure;
use async_trait::async_trait;
use log::Log;
use shared::ReplayGuard;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The name of the topic.
const TOPIC: &str = "embedded";

/// A topic in one SQLite file.
#[derive(Clone)]
pub struct EmbeddedLog(Arc<Log>);

impl EmbeddedLog {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// Another process has the file open, it cannot be used, or a version before 0.2.0 made it.
    pub async fn open(file: &Path) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Log::open(file).await?)))
    }

    /// Deletes the positions of all groups but `groups`.
    pub fn keep_groups(&self, groups: &[&str]) {
        self.0.keep_groups(groups);
    }

    /// Keeps at least the newest `messages`, one at least. Without this call, all stay. Each append deletes some of the older
    /// ones that every group has read. Readers that begin anew begin with the oldest that is left.
    pub fn keep_messages(&self, messages: i64) {
        self.0.keep_messages(messages.max(1)); // the last one tells which offset is next
    }

    /// Writes the positions of the groups and closes the file.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// Returns all messages, oldest first. For tests and audits.
    pub async fn history(&self) -> anyhow::Result<Vec<Arc<Delivery>>> {
        let (mut all, mut replay) = (Vec::new(), self.replay().await?);
        while let Some(read) = replay.next(5_000).await? {
            all.extend(read);
        }
        Ok(all)
    }
}

#[async_trait]
impl Bus for EmbeddedLog {
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>> {
        Ok(Arc::new(self.clone()))
    }

    async fn subscribe(&self, group: &str) -> anyhow::Result<Box<dyn Subscription>> {
        let log = Arc::clone(&self.0);
        ensure!(log.claim(group), "the group {group} has a reader already");
        // From here on the claim is released by the drop of the subscription.
        let mut subscription = EmbeddedSubscription { log, group: group.to_owned(), from: 0 };
        let log = &subscription.log;
        log.flush().await?; // a transaction that deletes messages may be under way, which does not know of this reader
        subscription.from = log.position(group).max(log.oldest());
        Ok(Box::new(subscription))
    }

    fn destination(&self) -> Destination {
        Destination { system: "gifticon_log", topic: TOPIC.into() }
    }

    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>> {
        let log = Arc::clone(&self.0);
        let guard = log.begin_replay().await?;
        let (oldest, end) = (log.oldest(), log.end());
        Ok(Box::new(EmbeddedReplay { log, oldest, from: oldest, end, _guard: guard }))
    }

    async fn tail(&self, recent: i64) -> anyhow::Result<Box<dyn TopicTail>> {
        let log = Arc::clone(&self.0);
        let from = (log.end() - recent).max(log.oldest());
        Ok(Box::new(EmbeddedTail { log, start: [(0, from)].into(), from }))
    }
}

#[async_trait]
impl Publisher for EmbeddedLog {
    async fn publish(&self, messages: &[Message]) -> Vec<Result<(), PublishError>> {
        let appended = self.0.append(messages.to_vec()).await;
        vec![appended.map_err(|error| PublishError::Unknown(error.to_string())); messages.len()]
    }
}

/// Reads the log from offset `from` to `end`.
struct EmbeddedReplay {
    log: Arc<Log>,
    /// The oldest offset when it began: older messages may have been dropped.
    oldest: i64,
    from: i64,
    end: i64,
    _guard: ReplayGuard,
}

#[async_trait]
impl TopicReplay for EmbeddedReplay {
    async fn next(&mut self, limit: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>> {
        if self.from >= self.end {
            return Ok(None);
        }
        let mut read = self.log.read(self.from, limit).await?;
        read.retain(|message| message.position.offset < self.end);
        self.from = read.last().map_or(self.end, |last| last.position.offset + 1);
        Ok(Some(read))
    }

    fn progress(&self) -> (u64, u64) {
        let since_oldest = |offset: i64| (offset - self.oldest).max(0).cast_unsigned();
        (since_oldest(self.from), since_oldest(self.end))
    }
}

/// Follows the log from offset `from` on.
struct EmbeddedTail {
    log: Arc<Log>,
    start: BTreeMap<i32, i64>,
    from: i64,
}

#[async_trait]
impl TopicTail for EmbeddedTail {
    fn start(&self) -> &BTreeMap<i32, i64> {
        &self.start
    }

    async fn next(&mut self, limit: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        let read = self.log.read_next(self.from, limit).await?;
        self.from = read.last().map_or(self.from, |last| last.position.offset + 1);
        Ok(read)
    }
}

/// The reader of a group, from offset `from` on.
struct EmbeddedSubscription {
    log: Arc<Log>,
    group: String,
    from: i64,
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn poll(&mut self, limit: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        let read = self.log.read_next(self.from, limit).await?;
        self.from = read.last().map_or(self.from, |last| last.position.offset + 1);
        Ok(read)
    }

    async fn commit(&mut self, positions: &[TopicPosition]) -> anyhow::Result<()> {
        if let Some(last) = positions.iter().map(|position| position.offset).max() {
            self.log.commit(&self.group, last + 1);
        }
        Ok(())
    }

    fn topic(&self) -> &'static str {
        TOPIC
    }

    fn monitor(&self) -> Monitor {
        let (log, group) = (Arc::clone(&self.log), self.group.clone());
        Box::new(move || Health { lag: Some(log.lag(&group)), ..Health::default() })
    }

    async fn leave(self: Box<Self>) {
        let _ = self.log.flush().await; // the next reader may be that of another process
    }
}

impl Drop for EmbeddedSubscription {
    fn drop(&mut self) {
        self.log.release(&self.group);
    }
}
