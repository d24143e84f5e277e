//! The tables of events: outbox, inbox and dead letters, the audit log, and the housekeeping of these tables.

pub(crate) mod audit;
mod audit_log;
pub(crate) mod dead_letters;
pub(crate) mod housekeeping;
pub(crate) mod inbox;
pub(crate) mod message;
pub(crate) mod outbox;
pub mod retention;

pub use audit_log::AuditLog;
