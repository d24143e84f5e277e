//! The health of a subscription.

use std::collections::BTreeMap;

/// A function that returns the current health of a subscription. It does not block.
pub type Monitor = Box<dyn Fn() -> Health + Send + Sync>;

/// The health of a subscription, as far as the client knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Messages after the committed offsets of this member's partitions. `None` if unknown: nothing was fetched yet, the
    /// broker is away, or a partition cannot be fetched.
    pub lag: Option<i64>,
    /// Partitions of this member with messages that it cannot read.
    pub stopped: i64,
    /// Errors of the client since the subscription began, by kind.
    pub errors: BTreeMap<ReadError, u64>,
}

/// A kind of error that keeps a consumer from reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadError {
    /// A compression codec or message format that this client cannot read.
    Unsupported,
    /// A damaged batch.
    Corrupt,
    /// A batch larger than the client may fetch.
    TooLarge,
    /// The topic or a partition does not exist.
    UnknownTopic,
    /// The offset is not in the partition any more. Reading continues at the oldest message.
    OffsetOutOfRange,
    /// The user may not read the topic or join the group.
    Authorization,
    /// TLS or SASL failed.
    Authentication,
    /// The broker is away, slow, or not the leader any more.
    Connection,
    /// The group removed this member.
    Group,
    /// Any other error.
    Other,
}

impl ReadError {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Unsupported,
        Self::Corrupt,
        Self::TooLarge,
        Self::UnknownTopic,
        Self::OffsetOutOfRange,
        Self::Authorization,
        Self::Authentication,
        Self::Connection,
        Self::Group,
        Self::Other,
    ];

    /// Returns the value of the label `kind` in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
            Self::TooLarge => "too_large",
            Self::UnknownTopic => "unknown_topic",
            Self::OffsetOutOfRange => "offset_out_of_range",
            Self::Authorization => "authorization",
            Self::Authentication => "authentication",
            Self::Connection => "connection",
            Self::Group => "group",
            Self::Other => "other",
        }
    }
}
