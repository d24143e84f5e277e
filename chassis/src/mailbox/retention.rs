//! Retention: which rows a service deletes by their age, and how it deletes some of them.
//!
//! Age is counted in minutes that the service has run, and not by the wall clock: see `storage/running_time.rs`.

use crate::base::limits;
use crate::storage::{Dialect, Tx};
use sqlx::{AssertSqlSafe, query};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long deleting one piece should take. Requests that arrive meanwhile wait for it.
const PIECE_TIME_TARGET: Duration = Duration::from_millis(10);
/// Rows in a piece, at least and at most.
const PIECE_ROWS_MIN: i64 = 100;
const PIECE_ROWS_MAX: i64 = 20_000;
/// The name of the lease on counting running time and deleting rows.
pub(crate) const RETENTION_LEASE: &str = "retention";

/// The rule that deletes the rows of `table` once the service has run for `after` since they were written. The table has an
/// indexed column `minute`, which [`crate::storage::rows::insert_stamped`] fills.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRule {
    /// The name of the table.
    pub table: &'static str,
    /// The name of its primary key, a text.
    pub key: &'static str,
    /// The running time after which a row is deleted.
    pub after: Duration,
}

/// The marks of handled events.
pub(crate) const INBOX: RetentionRule =
    RetentionRule { table: "inbox", key: "event_id", after: limits::INBOX_RETENTION };

/// The last batch of each writer. Rows of writers that are gone or idle expire.
pub(crate) const WRITERS: RetentionRule =
    RetentionRule { table: "batches", key: "writer", after: limits::WRITER_ROW_RETENTION };

/// How many rows to delete at once: adapts to what the database deletes in [`PIECE_TIME_TARGET`].
#[derive(Clone, Debug)]
pub(crate) struct PieceSize(Arc<AtomicI64>);

impl PieceSize {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(PIECE_ROWS_MIN)))
    }

    fn rows(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adapts to a piece of `rows` that took `took`.
    fn adapt(&self, rows: i64, took: Duration) {
        let size = self.rows();
        let next = if took > PIECE_TIME_TARGET {
            size / 2
        } else if took < PIECE_TIME_TARGET / 2 && rows == size {
            size * 2
        } else {
            size
        };
        self.0.store(next.clamp(PIECE_ROWS_MIN, PIECE_ROWS_MAX), Ordering::Relaxed);
    }
}

/// Deletes some of the rows that were written before the minute `before`. Returns how many.
pub(crate) async fn expire(
    tx: &mut Tx<'_>,
    rule: RetentionRule,
    before: i64,
    size: &PieceSize,
) -> anyhow::Result<i64> {
    tx.flush().await?; // the deferred statements of others do not count for the time
    let began = Instant::now();
    let sql = AssertSqlSafe(expire_sql(tx.dialect(), rule));
    let delete = query(sql).bind(before).bind(size.rows()).execute(&mut **tx);
    let rows = i64::try_from(delete.await?.rows_affected())?;
    size.adapt(rows, began.elapsed());
    Ok(rows)
}

/// Returns the statement that deletes the oldest rows before the minute `$1`, `$2` of them at most.
fn expire_sql(dialect: Dialect, RetentionRule { table, key, .. }: RetentionRule) -> String {
    let oldest = |name| {
        // Without `+ 0`, SQLite would prepare the statement again for each value of the limit.
        format!("select {name} from {table} where minute < $1 order by minute limit $2 + 0")
    };
    match dialect {
        Dialect::Sqlite => format!("delete from {table} where {key} in ({})", oldest(key)),
        // By the physical place of the row: by key, Postgres may read the whole table for a join.
        Dialect::Postgres => {
            // The condition again, since a row may have been updated meanwhile: not every version of Postgres 15 looks at it again.
            format!(
                "delete from {table} where ctid = any(array({})) and minute < $1",
                oldest("ctid")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_piece_adapts_to_its_time() {
        let size = PieceSize::new();
        for _ in 0..20 {
            size.adapt(size.rows(), PIECE_TIME_TARGET / 10);
        }
        assert_eq!(size.rows(), PIECE_ROWS_MAX);
        size.adapt(7, PIECE_TIME_TARGET / 10);
        assert_eq!(
            size.rows(),
            PIECE_ROWS_MAX,
            "the last piece, with fewer rows, must not change it"
        );
        size.adapt(size.rows(), PIECE_TIME_TARGET * 2);
        assert_eq!(size.rows(), PIECE_ROWS_MAX / 2);
        for _ in 0..20 {
            size.adapt(size.rows(), Duration::from_secs(1));
        }
        assert_eq!(size.rows(), PIECE_ROWS_MIN);
    }
}
