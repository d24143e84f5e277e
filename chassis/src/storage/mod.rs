//! The databases: SQLite and Postgres behind one text of SQL.
//!
//! Columns are `text` and `bigint` (instants are epoch milliseconds), placeholders are `$1`, and
//! whatever differs is in this folder.

mod connection;
mod db;
mod dialect;
mod fault;
mod file;
mod id_sequence;
mod pool;
mod pooler;
mod refusal;
pub mod rows;
mod running_time;
mod schema;
mod table;
mod target;
mod tx;

pub use db::{Db, log_failure};
pub use dialect::Dialect;
pub use fault::causes;
pub(crate) use fault::{is_at_fault, may_be_committed, vanished};
pub use id_sequence::IdSequence;
pub(crate) use pool::Connection;
pub use pool::READ_TIMEOUT;
pub(crate) use running_time::{MINUTE, count_minute};
pub use schema::Schema;
pub use table::{Table, joined};
pub use tx::{Statement, Tx};
