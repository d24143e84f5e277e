//! What a service deletes after a while, in small pieces between its other work.
//!
//! Age is counted in minutes that the service has run, not by the wall clock: see `running_time.rs`.

use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand};
use crate::mailbox::retention::{PieceSize, RetentionRule};
use crate::storage::MINUTE;
use crate::storage::{Db, log_failure};
use crate::workers::lease::Lease;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::info;

/// How often to look for expired rows.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The term of that lease: it is renewed at each second look, so a replica that works is never taken for one that is gone.
pub(crate) const TERM: Duration = Duration::from_secs(12);
/// Counts the service's running time and deletes expired rows, for ever. One replica at a time does it.
pub(crate) async fn run(
    rules: Vec<RetentionRule>,
    db: Db,
    housekeeping: Housekeeper,
    mut lease: Lease,
) {
    db.ready().await;
    let mut counting = None;
    loop {
        if let Some(epoch) = lease.hold().await
            && let Err(error) = count(&mut counting, epoch, &housekeeping).await
        {
            log_failure(&error, "could not count the running time");
        }
        for rule in &rules {
            if let Err(error) = delete_expired(*rule, &db, &housekeeping, &mut lease).await {
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
    housekeeping: &Housekeeper,
) -> anyhow::Result<()> {
    match counting {
        Some((same, since)) if *same == epoch => {
            if since.elapsed() >= MINUTE {
                housekeeping.execute(HousekeepingCommand::CountMinute { epoch }).await?;
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
    housekeeping: &Housekeeper,
    lease: &mut Lease,
) -> anyhow::Result<()> {
    let before = db.read_running_time().await? - i64::try_from(rule.after.as_secs() / 60)?;
    let size = PieceSize::new();
    let mut all = 0;
    while lease.hold().await.is_some() {
        let began = Instant::now();
        let rows = housekeeping
            .execute(HousekeepingCommand::Expire { rule, before, size: size.clone() })
            .await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn a_minute_is_counted_for_each_that_passes_and_one_for_a_long_stop() {
        let (sender, mut taken) = mpsc::channel(1);
        let housekeeping = Housekeeper(sender);
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
            count(&mut counting, epoch, &housekeeping).await.unwrap();
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
}
