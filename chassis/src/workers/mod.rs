//! What a service does without being asked: it sends its outbox, acts on the events of others, and deletes old rows.

pub mod consumer;
pub(crate) mod history;
pub(crate) mod lease;
pub(crate) mod relay;
pub(crate) mod retention;

pub use history::History;
pub use lease::Lease;
