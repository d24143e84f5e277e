//! What a service does without being asked: it sends its outbox, acts on the events of others, and deletes old rows.

pub mod consumer;
pub(crate) mod lease;
pub(crate) mod relay;
pub(crate) mod replays;
pub(crate) mod retention;

pub use lease::Lease;
pub use replays::Replays;
