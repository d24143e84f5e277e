//! The background workers of a service: the relay, the consumer, dead-letter replay, and retention.

pub mod consumer;
pub(crate) mod dead_letter_replay;
pub(crate) mod lease;
mod message_span;
pub(crate) mod relay;
pub(crate) mod replays;
pub(crate) mod retention;

pub use lease::Lease;
pub use replays::Replays;
