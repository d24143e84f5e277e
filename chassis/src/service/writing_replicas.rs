//! Counts the replicas that write, so that they share bounds that hold for all of them together.

use crate::storage::Db;
use sqlx::Row;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often the writers are read.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// After how long without a batch a replica counts no more as one that writes.
const WRITES_AT_LEAST_EVERY: Duration = Duration::from_secs(3);
/// After how long without a batch a replica counts no more at all. One that has nothing to write may have streams open; one that
/// was replaced has none.
const RUNS_FOR: Duration = Duration::from_mins(2);

/// How many replicas were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// Those that write now.
    pub(super) writing: usize,
    /// Those that wrote within the last minutes.
    pub(super) running: usize,
}

/// The replicas that were seen to write. Each measures by its own monotonic clock.
#[derive(Debug, Default)]
struct Seen(HashMap<String, (i64, Option<Instant>)>);

impl Seen {
    /// Takes the last batch of each writer, and returns how many of them wrote lately.
    fn observe(&mut self, writers: Vec<(String, i64)>, now: Instant) -> Counted {
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
        let within = |time| {
            let wrote_at = self.0.values().filter_map(|(_, wrote_at)| *wrote_at);
            wrote_at.filter(|at| now.duration_since(*at) < time).count()
        };
        Counted { writing: within(WRITES_AT_LEAST_EVERY), running: within(RUNS_FOR) }
    }
}

/// Tells `share` how many replicas write, again and again.
pub(super) async fn run(db: Db, share: impl Fn(Counted)) {
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
        let counted = |writing, running| Counted { writing, running };
        assert_eq!(observe(&[("a", 7), ("gone", 9)], 0), counted(0, 0), "nobody knows yet");
        assert_eq!(observe(&[("a", 8), ("gone", 9)], 1), counted(1, 1));
        assert_eq!(observe(&[("a", 9), ("gone", 9), ("new", 1)], 2), counted(2, 2));
        assert_eq!(observe(&[("a", 10), ("new", 1)], 4), counted(2, 2));
        assert_eq!(observe(&[("a", 11), ("new", 1)], 5), counted(1, 2), "it stands still");
        assert_eq!(observe(&[("a", 12), ("new", 2)], 6), counted(2, 2));
        assert_eq!(observe(&[("a", 13), ("new", 2)], 125), counted(1, 2));
        assert_eq!(observe(&[("a", 14), ("new", 2)], 126), counted(1, 1));
    }
}
