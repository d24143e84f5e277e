//! The tables that keep events: outbox, inbox and dead letters, and the rows that keep house beside them.

pub(crate) mod housekeeping;
pub(crate) mod inbox;
pub(crate) mod message;
pub(crate) mod outbox;
pub(crate) mod parked;
pub mod retention;
