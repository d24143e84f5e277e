//! The foundation of every service. It handles events as envelopes, whatever their content.
//!
//! The way of a request that changes something:
//!
//! 1. [`http`] reads the request within [limits](base::limits), and refuses an invalid one with a [`base::problem`].
//! 2. The service hands a command to its only [`writer`]. The writer takes all waiting commands, decides them in memory, and
//!    writes the new state and its events, the latter into the outbox, in one transaction. Then it responds.
//! 3. The relay sends the events of the outbox to the [`bus`] in order, and deletes those that the broker has. After a crash in
//!    between, an event is sent twice.
//! 4. The [consumer](workers::consumer) of another service reads events, and its policy returns the commands that follow. The
//!    writer of that service carries them out and marks the events in the inbox, in one transaction, so a repeated event has
//!    no second effect. Then the consumer commits the offsets.
//! 5. An event that cannot be handled is parked in the dead-letter table for an operator, with all later events of its key.
//!    Other events go on.
//!
//! The folders are layers that import one way: `base` and `model`, then `auth` and `storage`, `http` and `bus`, then `listing` and
//! `mailbox`, then `writer`, `workers` and `service`. Beside them is [`openapi`], which no process uses while it runs. `standalone/tests/layers.rs` checks that.

pub mod auth;
pub mod base;
pub mod bus;
pub mod http;
pub mod listing;
pub mod mailbox;
pub mod model;
pub mod openapi;
pub mod service;
pub mod storage;
#[cfg(feature = "test-issuer")]
pub mod test_issuer;
#[cfg(feature = "testing")]
pub mod testing;
pub mod workers;
pub mod writer;

pub use service::{Chassis, Running};
