//! The interface that Kafka and the embedded log share.

use crate::base::trace::{TRACEPARENT, Trace};
use crate::bus::health::Monitor;
use crate::bus::payload::Payload;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A topic with partitions and consumer groups. Messages with the same key are in one partition, in order.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Returns a publisher for the topic.
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>>;

    /// Joins a consumer group, which divides the partitions among its members and resumes where it was. A new group begins
    /// with the oldest message.
    ///
    /// # Errors
    /// The client cannot be made. The embedded log has one partition, so it refuses a second member.
    async fn subscribe(&self, group: &str) -> anyhow::Result<Box<dyn Subscription>>;

    /// Returns what spans say of where messages go.
    fn destination(&self) -> Destination;

    /// Begins to read the topic again, from the oldest message to the current end of each partition, outside of any group.
    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>>;

    /// Begins to follow the topic outside of any group: from the last `recent` messages on, about, which are those of all
    /// partitions together.
    async fn tail(&self, recent: i64) -> anyhow::Result<Box<dyn TopicTail>>;
}

/// Follows a topic, and has no end.
#[async_trait]
pub trait TopicTail: Send + 'static {
    /// Returns the offset at which each partition began to be read.
    fn start(&self) -> &BTreeMap<i32, i64>;

    /// Returns at most `limit` messages, those of a partition in order. Waits for the first, and adds those that are
    /// available.
    ///
    /// # Errors
    /// The topic cannot be read. Begin anew.
    async fn next(&mut self, limit: usize) -> anyhow::Result<Vec<Arc<Delivery>>>;
}

/// A topic, as spans name it.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The system, such as `kafka`.
    pub system: &'static str,
    /// The topic.
    pub topic: Arc<str>,
}

/// Reads a topic again, each partition up to the high watermark that it had when the replay began. That is an offset and not
/// a message: the last records may be markers of transactions, or be deleted meanwhile.
#[async_trait]
pub trait TopicReplay: Send + 'static {
    /// Returns at most `limit` messages, those of a partition in order, or `None` at the end. The list may be empty before
    /// the end.
    ///
    /// # Errors
    /// A partition cannot be read.
    async fn next(&mut self, limit: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>>;

    /// Returns how many messages were read, and how many there are to read in all, by their offsets: gaps count too.
    fn progress(&self) -> (u64, u64);
}

/// Sends messages to a topic.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Sends `messages` in order. Returns a result for each once it is durable or has failed.
    ///
    /// A message whose result is an error may be in the topic all the same. Messages with the same key are in the topic in
    /// the given order, whatever fails.
    async fn publish(&self, messages: &[Message]) -> Vec<Result<(), PublishError>>;
}

/// The error for a message that is not known to be in the topic.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker will refuse the message each time, for example because it is too large.
    #[error("the broker refuses the message: {0}")]
    Refused(String),
    /// The outcome is unknown. Send the message again.
    #[error("the broker did not answer: {0}")]
    Unknown(String),
}

/// A member of a consumer group.
#[async_trait]
pub trait Subscription: Send + 'static {
    /// Returns at most `limit` messages. Waits for the first, and adds those that are available.
    async fn poll(&mut self, limit: usize) -> anyhow::Result<Vec<Arc<Delivery>>>;

    /// Commits the offsets of these messages and of all before them, whose effects are durable. A message that was polled
    /// and not committed is delivered again, to this member or another one, after a restart at the latest.
    async fn commit(&mut self, positions: &[TopicPosition]) -> anyhow::Result<()>;

    /// Returns the name of the topic. Together with a position it identifies a message.
    fn topic(&self) -> &str;

    /// Returns a function that returns the health of this subscription.
    fn monitor(&self) -> Monitor;

    /// Leaves the group, so that the other members take over at once.
    async fn leave(self: Box<Self>);
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Messages with the same key stay in order.
    pub key: String,
    /// JSON.
    pub payload: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The position of the message in the topic.
    pub position: TopicPosition,
    /// The key, if the sender set one.
    pub key: Option<String>,
    /// What the sender wrote, which need not be JSON. `None` for a null value (a tombstone), which is different from an empty one.
    pub payload: Option<Payload>,
    /// Names and values of the headers whose value is UTF-8.
    pub headers: Vec<(String, String)>,
    /// When the topic took the message, in milliseconds since 1970.
    pub timestamp: i64,
}

impl Delivery {
    /// Returns the value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// Returns the trace that the message belongs to, if the sender named one.
    pub(crate) fn trace(&self) -> Option<Trace> {
        self.header(TRACEPARENT.as_str()).and_then(Trace::parse)
    }
}

/// The position of a message in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPosition {
    /// The partition, from 0.
    pub partition: i32,
    /// The offset in the partition, from 0. Increases, with gaps.
    pub offset: i64,
}

impl std::fmt::Display for TopicPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}
