//! Retention: counts the running time of a service, and deletes its expired rows, few at a time between its other work.
//!
//! Age is counted in minutes that the service has run, and not by the wall clock: see `storage/running_time.rs`.

use crate::base::limits::RETENTION_INTERVAL;
use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand};
use crate::mailbox::retention::{PieceSize, RetentionRule};
use crate::storage::{Db, MINUTE, log_failure};
use crate::workers::lease::Lease;
use tokio::time::{Instant, sleep};
use tracing::info;

/// Counts the service's running time and deletes expired rows, until it is dropped. One replica at a time does it.
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
                log_failure(&error, "could not delete expired rows; retrying later");
            }
        }
        sleep(RETENTION_INTERVAL).await;
    }
}

/// Counts a minute once a minute has passed since this replica began to count in this epoch of its lease, or last counted.
/// Counts only one, however long ago that was: a process that was stopped did not run.
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

/// Deletes the expired rows of one table. After each piece it pauses for as long as the piece took.
async fn delete_expired(
    rule: RetentionRule,
    db: &Db,
    housekeeping: &Housekeeper,
    lease: &mut Lease,
) -> anyhow::Result<()> {
    let before = db.running_time().await? - i64::try_from(rule.after.as_secs() / 60)?;
    let size = PieceSize::new();
    let mut deleted = 0;
    while lease.hold().await.is_some() {
        let began = Instant::now();
        let rows = housekeeping
            .execute(HousekeepingCommand::Expire { rule, before, size: size.clone() })
            .await?;
        if rows == 0 {
            break;
        }
        deleted += rows;
        sleep(began.elapsed()).await;
    }
    if deleted > 0 {
        info!(rule.table, rows = deleted, "deleted expired rows");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn each_minute_is_counted_and_a_long_stop_counts_as_one() {
        let (sender, mut jobs) = mpsc::channel(1);
        let housekeeping = Housekeeper(sender);
        let counted = Arc::new(AtomicI64::new(0));
        let calls = Arc::clone(&counted);
        tokio::spawn(async move {
            while let Some((_, answer)) = jobs.recv().await {
                calls.fetch_add(1, Ordering::Relaxed);
                answer.send(Ok(1)).unwrap();
            }
        });
        let mut counting = None;
        let mut count_after = async |epoch, pause| {
            tokio::time::advance(pause).await;
            count(&mut counting, epoch, &housekeeping).await.unwrap();
            counted.load(Ordering::Relaxed)
        };
        assert_eq!(
            count_after(1, Duration::from_hours(1)).await,
            0,
            "the time before the epoch may be counted already"
        );
        for minute in 1..=10 {
            for _ in 1..MINUTE.as_secs() / RETENTION_INTERVAL.as_secs() {
                assert_eq!(count_after(1, RETENTION_INTERVAL).await, minute - 1);
            }
            assert_eq!(count_after(1, RETENTION_INTERVAL).await, minute);
        }
        assert_eq!(count_after(1, Duration::from_hours(30)).await, 11, "the process was stopped");
        assert_eq!(
            count_after(3, MINUTE).await,
            11,
            "another replica may have counted this minute"
        );
        assert_eq!(count_after(3, MINUTE).await, 12);
    }
}
