//! How well a subscription reads its topic.

use std::collections::BTreeMap;

/// Returns the health of a subscription whenever it is called, without waiting.
pub type Monitor = Box<dyn Fn() -> Health + Send + Sync>;

/// How well a subscription reads its topic, as far as it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Messages between what the group has done and the ends of this member's partitions. None where that is unknown:
    /// nothing was fetched yet, the broker is away, or a partition cannot be fetched.
    pub lag: Option<i64>,
    /// Partitions of this member that have messages which it cannot read.
    pub stopped: i64,
    /// Errors of the client since the subscription began.
    pub errors: BTreeMap<ReadError, u64>,
}

/// A kind of error that keeps a consumer from reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadError {
    /// A codec or a format of messages that this client cannot read.
    Unsupported,
    /// A batch that is damaged.
    Corrupt,
    /// A batch larger than the client may fetch.
    TooLarge,
    /// The topic or a partition is not there.
    UnknownTopic,
    /// The position is not in the partition any more; reading goes on at its oldest message.
    OffsetOutOfRange,
    /// The user may not read the topic, or not be in the group.
    Authorization,
    /// TLS or SASL failed.
    Authentication,
    /// The broker is away or slow, or another one is asked from now on.
    Connection,
    /// The group put this member out.
    Group,
    /// Any other.
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

    /// The value of the label `kind` in the metrics.
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
