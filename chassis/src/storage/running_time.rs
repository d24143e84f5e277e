//! Running time: the minutes that a service has run in all. It gives rows an age without a wall clock.
//!
//! The count is in the database, shared by all replicas. One of them at a time adds a minute for each minute of its
//! monotonic clock (see [`crate::workers::retention`]), so the count stands still while no process runs and never jumps.

use crate::storage::Tx;
use sqlx::query;
use std::time::Duration;

/// The query of the count.
pub(crate) const SELECT_MINUTES: &str = "select minutes from running_time";
/// The unit of running time.
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// Counts a minute if `epoch` is still that of the lease `lease`. Returns the number of changed rows, 0 or 1.
pub(crate) async fn count_minute(tx: &mut Tx<'_>, lease: &str, epoch: i64) -> sqlx::Result<u64> {
    let count = query(
        "update running_time set minutes = minutes + 1 \
         where exists (select 1 from leases where name = $1 and epoch = $2)",
    );
    Ok(count.bind(lease).bind(epoch).execute(&mut **tx).await?.rows_affected())
}
