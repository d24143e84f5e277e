//! The bus where there is no Kafka: one SQLite file, durable across kill -9, in one process.
//!
//! A message is in the file, flushed, before its sender hears of it. Groups divide the partitions
//! among their members in this process; where a group is in each partition is in the file too, and
//! is written with the next messages or after a moment, since an offset that is lost costs no more
//! than a redelivery.

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
use async_trait::async_trait;
use groups::{Groups, Member};
use log::Log;
use partition::PARTITIONS;
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
    /// Opens the file, or makes it. A second process that opens it is refused.
    pub async fn open(file: &Path) -> anyhow::Result<Self> {
        let log = Log::open(file).await?;
        Ok(Self { log: Arc::new(log), groups: Arc::default() })
    }

    /// Forgets where groups are that are none of `groups`: nobody reads as a member of them any more.
    pub fn keep_groups(&self, groups: &[&str]) {
        self.log.keep_groups(groups);
    }

    /// Writes what is not written yet and closes the file.
    pub async fn close(&self) {
        self.log.close().await;
    }

    /// All messages, oldest first. For tests and audits.
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
        Ok(Box::new(Reader { log, member, next: HashMap::new(), from: 0 }))
    }

    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>> {
        let log = Arc::clone(&self.log);
        Ok(Box::new(Replay { end: log.end(), log, from: 0 }))
    }
}

/// Reads the log again up to the offset `end`. Offsets count the messages of all partitions.
struct Replay {
    log: Arc<Log>,
    from: i64,
    end: i64,
}

#[async_trait]
impl TopicReplay for Replay {
    async fn next(&mut self, most: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>> {
        if self.from >= self.end {
            return Ok(None);
        }
        let end = self.end;
        let (taken, from) = self.log.read(self.from, most, |place| place.offset < end).await?;
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

struct Reader {
    log: Arc<Log>,
    member: Member,
    /// The next message to read of each partition that this member has, in this assignment.
    next: HashMap<i32, i64>,
    /// Nothing before it is left to read.
    from: i64,
}

impl Reader {
    /// Takes over where the group is in partitions that came to this member, and forgets those that went.
    fn take_assignment(&mut self) {
        if self.member.changed() {
            let next = |partition| (partition, self.log.next_of(self.member.group(), partition));
            self.next = self.member.partitions(PARTITIONS).into_iter().map(next).collect();
            self.from = self.next.values().copied().min().unwrap_or_default();
        }
    }

    async fn read(&mut self, most: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        if self.next.is_empty() {
            return Ok(vec![]);
        }
        let next = &self.next;
        let wanted = |place: TopicPosition| {
            next.get(&place.partition).is_some_and(|next| place.offset >= *next)
        };
        let (taken, from) = self.log.read(self.from, most, wanted).await?;
        self.from = from;
        Ok(taken)
    }
}

#[async_trait]
impl Subscription for Reader {
    async fn poll(&mut self, most: usize) -> anyhow::Result<Vec<Arc<Delivery>>> {
        loop {
            // Watch before looking, so that what comes in between is not missed.
            let (appended, mut regrouped) = (self.log.appended(), self.member.watch());
            self.take_assignment();
            let taken = self.read(most).await?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            tokio::select! {
                () = appended => {}
                _ = regrouped.changed() => {}
            }
        }
    }

    async fn done(&mut self, deliveries: &[TopicPosition]) -> anyhow::Result<()> {
        if self.member.moved() {
            return Ok(()); // another member may have these partitions now; it does them again
        }
        let mut ends: HashMap<i32, i64> = HashMap::new();
        for place in deliveries {
            let end = ends.entry(place.partition).or_default();
            *end = (*end).max(place.offset + 1);
        }
        self.log.commit(self.member.group(), &ends);
        Ok(())
    }

    fn topic(&self) -> &'static str {
        "embedded"
    }

    /// The lag is that of the whole group: all its members are in this process.
    fn monitor(&self) -> Monitor {
        let (log, group) = (Arc::clone(&self.log), self.member.group().to_owned());
        Box::new(move || Health { lag: Some(log.lag(&group)), ..Health::default() })
    }

    async fn leave(self: Box<Self>) {
        // Dropping the member hands its partitions on; what was done must be known by then.
        let _ = self.log.flush().await;
    }
}
