//! Running time: the minutes that a service has run in all. It gives rows an age without a wall clock.

use crate::storage::Tx;
use sqlx::any::AnyRow;
use sqlx::{Row, query};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The query of the count.
pub(crate) const SELECT_MINUTES: &str = "select minutes from running_time";
/// The unit of running time.
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// The running time of a service, as far as this process knows it.
///
/// The count is in the database, shared by all replicas. One of them at a time adds a minute for each minute of its
/// monotonic clock (see [`crate::workers::retention`]), so the count stands still while no process runs and never jumps.
#[derive(Clone, Debug)]
pub(crate) struct RunningTime(Arc<Mutex<(i64, Instant)>>);

impl RunningTime {
    pub(crate) fn unknown() -> Self {
        Self(Arc::new(Mutex::new((0, Instant::now()))))
    }

    /// Returns the count that was read last plus the minutes since then. It is too low after the machine was suspended, until
    /// the count is read again, so no row may be stamped with it.
    pub(crate) fn minutes(&self) -> i64 {
        let (minutes, read_at) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = read_at.elapsed().as_secs() / MINUTE.as_secs();
        minutes.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Stores and returns the count in a row of [`SELECT_MINUTES`].
    pub(crate) fn take(&self, row: &AnyRow) -> sqlx::Result<i64> {
        let minutes = row.try_get(0)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (minutes, Instant::now());
        Ok(minutes)
    }
}

/// Counts a minute if `epoch` is still that of the lease `lease`. Returns the number of changed rows, 0 or 1.
pub(crate) async fn count_minute(tx: &mut Tx<'_>, lease: &str, epoch: i64) -> sqlx::Result<u64> {
    let count = query(
        "update running_time set minutes = minutes + 1 \
         where exists (select 1 from leases where name = $1 and epoch = $2)",
    );
    Ok(count.bind(lease).bind(epoch).execute(&mut **tx).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn minutes_since_the_last_read_are_added() {
        let time = RunningTime::unknown();
        assert_eq!(time.minutes(), 0);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(time.minutes(), 0);
        tokio::time::advance(Duration::from_hours(30)).await;
        assert_eq!(time.minutes(), 30 * 60);
    }
}
