//! The plumbing under every service: it knows events as envelopes and never what they say.
//!
//! What happens to a request that changes something, in one page:
//!
//! 1. [`http`] reads it within bounds and refuses what it cannot read with a [`problem`].
//! 2. The service's use case hands a command to its one [`writer`], which takes all commands that
//!    wait, decides them in memory, and in one transaction writes the new state and the events that
//!    tell of it into the outbox. Then it answers.
//! 3. The relay sends the outbox to the [`bus`] in order and deletes what the broker has. A crash in
//!    between sends an event twice.
//! 4. The [`consumer`] of another service reads events, asks its policy what follows, and hands the
//!    commands to that service's writer, which marks the event in the inbox in the same transaction:
//!    what comes twice is done once. Then the offset moves.
//! 5. What cannot be acted on is [`parked`] in sight of an operator, with all that follows it under
//!    its key; everything else goes on.

mod admin;
mod counter;
mod history;
mod inbox;
mod lease;
mod mailbox;
mod outage;
mod outbox;
mod outbox_age;
mod pace;
mod relay;
mod running_time;
mod tasks;

pub mod breaker;
pub mod bus;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod db;
pub mod hal;
pub mod http;
pub mod lang;
pub mod launch;
pub mod listing;
pub mod metrics;
pub mod parked;
pub mod patience;
pub mod peer;
pub mod problem;
pub mod queue;
pub mod retention;
pub mod rows;
pub mod service;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod writer;

pub use counter::Counter;
pub use history::History;
pub use lease::Lease;
pub use pace::Backoff;
pub use service::{Chassis, Running, Unusable};
