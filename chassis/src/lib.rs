//! The plumbing under every service: it knows events as envelopes and never what they say.
//!
//! What happens to a request that changes something, in one page:
//!
//! 1. [`http`] reads it within bounds and refuses what it cannot read with a [`base::problem`].
//! 2. The service's use case hands a command to its one [`writer`], which takes all commands that
//!    wait, decides them in memory, and in one transaction writes the new state and the events that
//!    tell of it into the outbox. Then it answers.
//! 3. The relay sends the outbox to the [`bus`] in order and deletes what the broker has. A crash in
//!    between sends an event twice.
//! 4. The [consumer](workers::consumer) of another service reads events, asks its policy what follows, and hands the
//!    commands to that service's writer, which marks the event in the inbox in the same transaction:
//!    what comes twice is done once. Then the offset moves.
//! 5. What cannot be acted on is parked in sight of an operator, with all that follows it under
//!    its key; everything else goes on.

pub mod base;
pub mod bus;
pub mod http;
pub mod listing;
pub mod mailbox;
pub mod model;
pub mod service;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
pub mod workers;
pub mod writer;

pub use service::{Chassis, Running};
