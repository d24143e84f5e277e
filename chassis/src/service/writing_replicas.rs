//! Counts the replicas that write, so that they share bounds that hold for all of them together.

use crate::storage::Db;
use sqlx::Row;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often the writers are read.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// After how long without a batch a replica counts no more.
const WRITES_AT_LEAST_EVERY: Duration = Duration::from_secs(3);

/// The replicas that were seen to write. Each measures by its own monotonic clock.
#[derive(Debug, Default)]
struct Seen(HashMap<String, (i64, Option<Instant>)>);

impl Seen {
    /// Takes the last batch of each writer, and returns how many of them wrote lately.
    fn observe(&mut self, writers: Vec<(String, i64)>, now: Instant) -> u32 {
        let first = self.0.is_empty();
        let mut seen = HashMap::with_capacity(writers.len());
        for (writer, batch) in writers {
            let wrote_at = match self.0.get(&writer) {
                Some((before, wrote_at)) if *before == batch => *wrote_at,
                // Most rows that are there at the start are of processes that have ended.
                None if first => None,
                _ => Some(now),
            };
            seen.insert(writer, (batch, wrote_at));
        }
        self.0 = seen;
        let wrote_lately = |wrote_at: &Option<Instant>| {
            wrote_at.is_some_and(|at| now.duration_since(at) < WRITES_AT_LEAST_EVERY)
        };
        let count = self.0.values().filter(|(_, wrote_at)| wrote_lately(wrote_at)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// Tells `share` how many replicas write, again and again.
pub(super) async fn run(db: Db, share: impl Fn(u32)) {
    db.ready().await;
    let mut seen = Seen::default();
    loop {
        // While the database does not answer, nobody writes.
        if let Ok(rows) = db.fetch_all(sqlx::query("select writer, batch from batches")).await {
            let writers = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            share(seen.observe(writers, Instant::now()));
        }
        tokio::time::sleep(READ_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replicas_that_write_count() {
        let (mut seen, began) = (Seen::default(), Instant::now());
        let mut observe = |writers: &[(&str, i64)], seconds| {
            let writers = writers.iter().map(|(writer, batch)| ((*writer).to_owned(), *batch));
            seen.observe(writers.collect(), began + Duration::from_secs(seconds))
        };
        assert_eq!(observe(&[("a", 7), ("gone", 9)], 0), 0, "nobody knows yet");
        assert_eq!(observe(&[("a", 8), ("gone", 9)], 1), 1);
        assert_eq!(observe(&[("a", 9), ("gone", 9), ("new", 1)], 2), 2);
        assert_eq!(observe(&[("a", 10), ("new", 1)], 4), 2);
        assert_eq!(observe(&[("a", 11), ("new", 1)], 5), 1, "it stands still");
        assert_eq!(observe(&[("a", 12), ("new", 2)], 6), 2);
    }
}
