//! What a service deletes after a while, in small pieces between its other work.
//!
//! Age is counted in minutes that the service has run, not by the wall clock: see `running_time.rs`.

use crate::db::{Db, Dialect, Tx, log_failure};
use crate::lease::Lease;
use crate::mailbox::{Chore, Chores};
use crate::running_time::MINUTE;
use sqlx::{AssertSqlSafe, query};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::info;

/// How often to look for expired rows.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The term of that lease: it is renewed at each second look, so a replica that works is never taken for one that is gone.
pub(crate) const TERM: Duration = Duration::from_secs(12);
/// How long a piece should take, of the writer's time. Requests that come meanwhile wait for that long.
const PIECE_TIME: Duration = Duration::from_millis(10);
/// Bounds of the rows in a piece.
const PIECE_MIN: i64 = 100;
const PIECE_MAX: i64 = 20_000;
/// The lease on counting running time and deleting rows.
pub(crate) const RETENTION: &str = "retention";

/// Rows of `table` that are deleted once the service has run for `after` since they were written. The table has a
/// column `minute` with an index, which [`crate::rows::insert_stamped`] fills.
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
    fn new() -> Self {
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

/// Counts the service's running time and deletes expired rows, for ever. One replica at a time does it.
pub(crate) async fn run(rules: Vec<RetentionRule>, db: Db, chores: Chores, mut lease: Lease) {
    db.ready().await;
    let mut counting = None;
    loop {
        if let Some(epoch) = lease.hold().await
            && let Err(error) = count(&mut counting, epoch, &chores).await
        {
            log_failure(&error, "could not count the running time");
        }
        for rule in &rules {
            if let Err(error) = delete_expired(*rule, &db, &chores, &mut lease).await {
                log_failure(&error, "could not delete expired rows; trying again later");
            }
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Counts a minute when one has passed since this replica began to count, in this epoch of its lease, or counted last.
/// One, however long it was: a process that was stopped did not run.
async fn count(
    counting: &mut Option<(i64, Instant)>,
    epoch: i64,
    chores: &Chores,
) -> anyhow::Result<()> {
    match counting {
        Some((same, since)) if *same == epoch => {
            if since.elapsed() >= MINUTE {
                chores.ask(Chore::CountMinute { epoch }).await?;
                *since = Instant::now();
            }
        }
        _ => *counting = Some((epoch, Instant::now())),
    }
    Ok(())
}

/// Deletes the expired rows of one table, and rests after each piece for as long as it took.
async fn delete_expired(
    rule: RetentionRule,
    db: &Db,
    chores: &Chores,
    lease: &mut Lease,
) -> anyhow::Result<()> {
    let before = db.read_running_time().await? - i64::try_from(rule.after.as_secs() / 60)?;
    let size = PieceSize::new();
    let mut all = 0;
    while lease.hold().await.is_some() {
        let began = Instant::now();
        let rows = chores.ask(Chore::Expire { rule, before, size: size.clone() }).await?;
        if rows == 0 {
            break;
        }
        all += rows;
        sleep(began.elapsed()).await;
    }
    if all > 0 {
        info!(rule.table, rows = all, "deleted expired rows");
    }
    Ok(())
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
    let sql = AssertSqlSafe(expire_sql(Dialect::of(tx), rule));
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
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn a_minute_is_counted_for_each_that_passes_and_one_for_a_long_stop() {
        let (sender, mut taken) = mpsc::channel(1);
        let chores = Chores(sender);
        let counted = Arc::new(AtomicI64::new(0));
        let calls = Arc::clone(&counted);
        tokio::spawn(async move {
            while let Some((_, answer)) = taken.recv().await {
                calls.fetch_add(1, Ordering::Relaxed);
                answer.send(Ok(1)).unwrap();
            }
        });
        let mut counting = None;
        let mut look = async |epoch, after| {
            tokio::time::advance(after).await;
            count(&mut counting, epoch, &chores).await.unwrap();
            counted.load(Ordering::Relaxed)
        };
        assert_eq!(look(1, Duration::from_hours(1)).await, 0, "nobody knows who ran before");
        for minute in 1..=10 {
            for _ in 1..MINUTE.as_secs() / LOOK_INTERVAL.as_secs() {
                assert_eq!(look(1, LOOK_INTERVAL).await, minute - 1);
            }
            assert_eq!(look(1, LOOK_INTERVAL).await, minute);
        }
        assert_eq!(look(1, Duration::from_hours(30)).await, 11, "it was stopped");
        assert_eq!(look(3, MINUTE).await, 11, "another may have counted this one");
        assert_eq!(look(3, MINUTE).await, 12);
    }

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
