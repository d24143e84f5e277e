//! The database of a service: SQLite or Postgres, with the same SQL for both.
//!
//! Columns are `text` and `bigint` (timestamps are epoch milliseconds), and placeholders are `$1`. The differences between the
//! two databases are handled in this folder only.

mod connection;
mod create_like;
mod db;
mod dialect;
mod executor;
mod fault;
mod file;
pub mod ids;
mod pool;
mod pooler;
mod reads;
mod refusal;
mod row_values;
pub mod rows;
mod running_time;
mod schema;
mod sqlite_error;
mod sqlite_writer;
mod statement;
mod table;
mod target;
mod tx;

pub use create_like::{create_like, indexes_not_copied};
pub use db::{Db, log_failure};
pub use dialect::Dialect;
pub use fault::causes;
pub(crate) use fault::{is_at_fault, may_be_committed, vanished};
pub use reads::{Read, ReadRows, Reads};
pub(crate) use running_time::{MINUTE, count_minute};
pub use schema::Schema;
pub use statement::Statement;
pub use table::{Table, joined, length};
pub use tx::Tx;
