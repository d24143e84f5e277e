//! The gauges that are read from the database.

use crate::base::metrics::Metrics;
use crate::service::outbox_age::OutboxAge;
use crate::storage::Db;
use sqlx::{AssertSqlSafe, Row};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the gauges are read.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);
/// Rows of an outbox that are counted. The events of the others are estimated.
const COUNTED_ROWS_MAX: u32 = 10_000;

/// Sets the gauges until it is dropped.
pub(super) async fn run(db: Db, metrics: Arc<Metrics>) {
    // After an outage there are many rows. Those beyond the first are assumed to hold as many events each.
    let counts = format!(
        "select case when counted > {COUNTED_ROWS_MAX} then (newest - oldest + 1) * total / counted else total end, \
                oldest, newest, (select count(*) from parked) \
         from (select count(*) counted, cast(coalesce(sum(size), 0) as bigint) total from \
                  (select size from outbox order by seq limit {COUNTED_ROWS_MAX} + 1) few) sums, \
              (select min(seq) oldest from outbox) begins, (select max(seq) newest from outbox) ends"
    );
    db.ready().await;
    let (mut age, mut before) = (OutboxAge::default(), Instant::now());
    loop {
        let counts = sqlx::query(AssertSqlSafe(counts.clone()));
        if let Ok(row) = db.fetch_one(counts).await {
            metrics.outbox_events.set(row.get(0));
            let waiting = row.get::<Option<i64>, _>(1).zip(row.get(2));
            metrics.outbox_age.set(age.observe(waiting, Instant::now()).as_secs_f64());
            metrics.parked_events.set(row.get(3));
        }
        metrics.end_round(before.elapsed());
        before = Instant::now();
        let (all, idle) = db.readers_in_pool();
        metrics.pool(all, idle);
        tokio::time::sleep(GAUGE_INTERVAL).await;
    }
}
