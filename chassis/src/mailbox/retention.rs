//! Which rows a service deletes by their age, and how a piece of them is deleted.
//!
//! Age is counted in minutes that the service has run, not by the wall clock: see `running_time.rs`.

use crate::storage::{Dialect, Tx};
use sqlx::{AssertSqlSafe, query};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long a piece should take, of the writer's time. Requests that come meanwhile wait for that long.
const PIECE_TIME: Duration = Duration::from_millis(10);
/// Bounds of the rows in a piece.
const PIECE_MIN: i64 = 100;
const PIECE_MAX: i64 = 20_000;
/// The lease on counting running time and deleting rows.
pub(crate) const RETENTION: &str = "retention";

/// Rows of `table` that are deleted once the service has run for `after` since they were written. The table has a
/// column `minute` with an index, which [`crate::storage::rows::insert_stamped`] fills.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRule {
    /// Name of the table.
    pub table: &'static str,
    /// Its primary key, a text.
    pub key: &'static str,
    /// Running time after which a row is of no use.
    pub after: Duration,
}

/// Marks of handled events. Duplicates arrive within seconds, or within days if a consumer group is reset. An older
/// duplicate does no harm: every command is idempotent.
pub(crate) const INBOX: RetentionRule =
    RetentionRule { table: "inbox", key: "event_id", after: Duration::from_hours(14 * 24) };

/// The last batches of writers that are gone. A running writer renews its row in time.
pub(crate) const WRITERS: RetentionRule =
    RetentionRule { table: "batches", key: "writer", after: Duration::from_hours(24) };

/// How many rows to delete at once: adapts to what the database does in [`PIECE_TIME`].
#[derive(Clone, Debug)]
pub(crate) struct PieceSize(Arc<AtomicI64>);

impl PieceSize {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(PIECE_MIN)))
    }

    fn rows(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A piece of `rows` took that long.
    fn adapt(&self, rows: i64, took: Duration) {
        let size = self.rows();
        let next = if took > PIECE_TIME {
            size / 2
        } else if took < PIECE_TIME / 2 && rows == size {
            size * 2
        } else {
            size
        };
        self.0.store(next.clamp(PIECE_MIN, PIECE_MAX), Ordering::Relaxed);
    }
}

/// Deletes a piece of the rows from before the minute `before`, and returns how many they were.
pub(crate) async fn expire(
    tx: &mut Tx<'_>,
    rule: RetentionRule,
    before: i64,
    size: &PieceSize,
) -> anyhow::Result<i64> {
    tx.flush().await?; // what others wrote in this transaction does not count
    let began = Instant::now();
    let sql = AssertSqlSafe(expire_sql(tx.dialect(), rule));
    let delete = query(sql).bind(before).bind(size.rows()).execute(&mut **tx);
    let rows = i64::try_from(delete.await?.rows_affected())?;
    size.adapt(rows, began.elapsed());
    Ok(rows)
}

/// Returns the statement that deletes the oldest of the rows before minute `$1`, no more than `$2`.
fn expire_sql(dialect: Dialect, RetentionRule { table, key, .. }: RetentionRule) -> String {
    let oldest = |name| {
        // `+ 0`, or SQLite would prepare the statement anew for every value of the limit.
        format!("select {name} from {table} where minute < $1 order by minute limit $2 + 0")
    };
    match dialect {
        Dialect::Sqlite => format!("delete from {table} where {key} in ({})", oldest(key)),
        // By place: to delete by name, it may read all of the table and join the two.
        Dialect::Postgres => {
            format!("delete from {table} where ctid = any(array({}))", oldest("ctid"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_takes_about_as_long_as_it_may() {
        let size = PieceSize::new();
        for _ in 0..20 {
            size.adapt(size.rows(), PIECE_TIME / 10);
        }
        assert_eq!(size.rows(), PIECE_MAX);
        size.adapt(7, PIECE_TIME / 10);
        assert_eq!(size.rows(), PIECE_MAX, "the last piece says nothing");
        size.adapt(size.rows(), PIECE_TIME * 2);
        assert_eq!(size.rows(), PIECE_MAX / 2);
        for _ in 0..20 {
            size.adapt(size.rows(), Duration::from_secs(1));
        }
        assert_eq!(size.rows(), PIECE_MIN);
    }
}
