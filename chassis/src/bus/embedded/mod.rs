//! The bus without Kafka: a SQLite file of one process, durable across kill -9.
//!
//! `publish` returns when the messages are in the file and flushed. Groups divide the partitions among their members in this
//! process. Committed offsets are written with the next messages or after 200 ms: losing one costs a redelivery only.

mod groups;
mod log;
mod partition;
mod shared;
mod tail;
mod write;

use crate::bus::health::{Health, Monitor};
use crate::bus::interface::{
    Bus, Delivery, Message, PublishError, Publisher, Subscription, TopicPosition, TopicReplay,
};
use crate::bus::partitions::{PARTITIONS, offsets_to_commit};
use async_trait::async_trait;
use groups::{Groups, Member};
use log::Log;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A topic in one SQLite file.
#[derive(Clone)]
pub struct EmbeddedLog {
    log: Arc<Log>,
    groups: Arc<Groups>,
}

impl EmbeddedLog {
    /// Opens the file, or creates it. Fails if another process has it open.
    pub async fn open(file: &Path) -> anyhow::Result<Self> {
        let log = Log::open(file).await?;
        Ok(Self { log: Arc::new(log), groups: Arc::default() })
    }

    /// Deletes the positions of all groups but `groups`.
    pub fn keep_groups(&self, groups: &[&str]) {
        self.log.keep_groups(groups);
    }

    /// Writes the positions of the groups and closes the file.
    pub async fn close(&self) {
        self.log.close().await;
    }

    /// Returns all messages, oldest first. For tests and audits.
    pub async fn history(&self) -> anyhow::Result<Vec<Arc<Delivery>>> {
        self.log.all().await
    }
}

#[async_trait]
impl Bus for EmbeddedLog {
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>> {
        Ok(Arc::new(self.clone()))
    }

    async fn subscribe(&self, group: &str) -> anyhow::Result<Box<dyn Subscription>> {
        let member = self.groups.join(group);
        let log = Arc::clone(&self.log);
        Ok(Box::new(EmbeddedSubscription { log, member, next: HashMap::new(), from: 0 }))
    }

    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>> {
        let log = Arc::clone(&self.log);
        Ok(Box::new(EmbeddedReplay { end: log.end(), log, from: 0 }))
    }
}

/// Reads the log from offset `from` to `end`. All partitions share one sequence of offsets.
struct EmbeddedReplay {
    log: Arc<Log>,
    from: i64,
    end: i64,
}

#[async_trait]
impl TopicReplay for EmbeddedReplay {
    async fn next(&mut self, limit: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>> {
        if self.from >= self.end {
            return Ok(None);
        }
        let end = self.end;
        let (taken, from) =
            self.log.read(self.from, limit, |position| position.offset < end).await?;
        self.from = from;
        Ok(Some(taken))
    }
}

#[async_trait]
impl Publisher for EmbeddedLog {
    async fn publish(&self, messages: &[Message]) -> Vec<Result<(), PublishError>> {
        let appended = self.log.append(messages.to_vec()).await;
        vec![appended.map_err(|error| PublishError::Unknown(error.to_string())); messages.len()]
    }
}

/// A member of a group of this process.
struct EmbeddedSubscription {
    log: Arc<Log>,
    member: Member,
    /// The offset of the group in each partition of this member, when the member got the partition.
    next: HashMap<i32, i64>,
    /// The offset to read from next.
    from: i64,
}

impl EmbeddedSubscription {
    /// Takes the partitions of this member after a change of the group, from the positions of the group on.
    fn take_assignment(&mut self) {
        if self.member.take_change() {
            let next = |partition| (partition, self.log.position(self.member.group(), partition));
            self.next = self.member.partitions(PARTITIONS).into_iter().map(next).collect();
            self.from = self.next.values().copied().min().unwrap_or_default();
        }
    }

    /// Returns at most `limit` messages of the partitions of this member.
    async fn read(&mut self, limit: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        if self.next.is_empty() {
            return Ok(vec![]);
        }
        let next = &self.next;
        let is_assigned = |position: TopicPosition| {
            next.get(&position.partition).is_some_and(|next| position.offset >= *next)
        };
        let (taken, from) = self.log.read(self.from, limit, is_assigned).await?;
        self.from = from;
        Ok(taken)
    }
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn poll(&mut self, limit: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        loop {
            // Subscribe to changes before the read, so that none in between is missed.
            let (appended, mut regrouped) = (self.log.appended(), self.member.watch());
            self.take_assignment();
            let taken = self.read(limit).await?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            tokio::select! {
                () = appended => {}
                _ = regrouped.changed() => {}
            }
        }
    }

    async fn commit(&mut self, positions: &[TopicPosition]) -> anyhow::Result<()> {
        if self.member.has_changed() {
            return Ok(()); // another member may have the partitions now, and handles the messages again
        }
        self.log.commit(self.member.group(), &offsets_to_commit(positions));
        Ok(())
    }

    fn topic(&self) -> &'static str {
        "embedded"
    }

    /// Returns the lag of the whole group: all its members are in this process.
    fn monitor(&self) -> Monitor {
        let (log, group) = (Arc::clone(&self.log), self.member.group().to_owned());
        Box::new(move || Health { lag: Some(log.lag(&group)), ..Health::default() })
    }

    async fn leave(self: Box<Self>) {
        // Dropping the member gives its partitions to the others. Its offsets are in the file by then.
        let _ = self.log.flush().await;
    }
}
