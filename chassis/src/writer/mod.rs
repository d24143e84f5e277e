//! One writer a service: load, decide, save, commit, answer, a batch at a time.
//!
//! All writes of a service, from requests and from events alike, are commands to one task that owns
//! the writing connection. In one transaction it waits for its turn among the replicas, takes what waits by then, marks the
//! events' inbox rows, loads what the commands name, decides in memory in order, saves what changed, appends the events
//! to the outbox and commits once. Only then are callers answered. Two hundred reservations of one
//! gifticon read one row and write one row, and within a process nobody waits for a lock.

mod attempt;
mod handle;
mod job;
mod model;
mod order;
mod queue;
mod spans;
mod task;

pub use handle::Writer;
pub(crate) use handle::writer;
pub use model::{CommandError, ConflictError, WriteModel};
