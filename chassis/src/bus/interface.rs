//! What services know of a bus.

use crate::bus::health::Monitor;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A topic with partitions, order by key, and groups that resume where they were.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// A place to send to.
    async fn publisher(&self) -> anyhow::Result<Arc<dyn Publisher>>;

    /// Joins a group, which divides the partitions among its members. A group that is new begins
    /// with the oldest message.
    async fn subscribe(&self, group: &str) -> anyhow::Result<Box<dyn Subscription>>;

    /// Begins to read the topic again, from its oldest message to where each partition ends now, as a member of no group.
    async fn replay(&self) -> anyhow::Result<Box<dyn TopicReplay>>;
}

/// Reads a topic again. Each partition ends at the position that was its high watermark when this began, or at its end
/// where it is shorter by now. A position, not a message, is the end: the last records may be markers of transactions, or be deleted.
#[async_trait]
pub trait TopicReplay: Send + 'static {
    /// Returns up to `most` messages, those of a partition in order, or none at the end. May return an empty list before.
    /// Fails where a partition cannot be read.
    async fn next(&mut self, most: usize) -> anyhow::Result<Option<Vec<Arc<Delivery>>>>;
}

/// Sends messages.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Sends `messages` in order, and answers for each once it is durable on the other side.
    ///
    /// A message that failed may have arrived all the same. Messages of one key arrive in the order
    /// given here, whatever fails.
    async fn publish(&self, messages: &[Message]) -> Vec<Result<(), PublishError>>;
}

/// Why a message was not sent, as far as is known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// It will be refused however often it is sent: too large, for one.
    #[error("the broker refuses the message: {0}")]
    Refused(String),
    /// Whether it arrived is unknown. Send it again.
    #[error("the broker did not answer: {0}")]
    Unknown(String),
}

/// Receives messages as a member of a group.
#[async_trait]
pub trait Subscription: Send + 'static {
    /// Up to `most` messages: waits for the first, and takes the others that are there already.
    async fn poll(&mut self, most: usize) -> anyhow::Result<Vec<Arc<Delivery>>>;

    /// Says that the effects of all messages up to and including these are durable. What was polled
    /// and not said to be done comes again, to this member or another, at the latest after a restart.
    async fn done(&mut self, deliveries: &[TopicPosition]) -> anyhow::Result<()>;

    /// The name of the topic, which identifies messages together with their place.
    fn topic(&self) -> &str;

    /// Returns what tells how well this subscription reads.
    fn monitor(&self) -> Monitor;

    /// Leaves the group, so that the others take over at once.
    async fn leave(self: Box<Self>);
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Messages of one key stay in order.
    pub key: String,
    /// JSON.
    pub payload: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it is in the topic.
    pub place: TopicPosition,
    /// Absent where the sender gave none.
    pub key: Option<String>,
    /// What the sender wrote, which need not be JSON. None for a null value (a tombstone), which is not the same as an
    /// empty one.
    pub payload: Option<Vec<u8>>,
    /// Names and values, those that are text.
    pub headers: Vec<(String, String)>,
    /// When the topic took it, in milliseconds since 1970.
    pub at: i64,
}

impl Delivery {
    /// The value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// A place in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPosition {
    /// Which partition.
    pub partition: i32,
    /// Which message in it. Counts up, with gaps allowed.
    pub offset: i64,
}

impl std::fmt::Display for TopicPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}
