//! How far a long piece of work is: for a line in the log now and then, and for a route.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::info;

/// The least time between two lines of the log about one piece of work.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Counts what is done of a piece of work, and says in the log how far it is.
#[derive(Debug)]
pub struct Progress {
    /// What is being done, as the message of a log line.
    what: &'static str,
    began: Instant,
    done: AtomicU64,
    total: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Progress {
    /// Returns the progress of work that begins now.
    pub fn new(what: &'static str) -> Self {
        let began = Instant::now();
        let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { what, began, done, total, told: Mutex::default() }
    }

    /// Records how many pieces are done, and how many there are in all. Logs it the first time, and then where the last line is
    /// old enough. What came of the work is for its caller to log.
    pub fn reached(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        if self.is_due(Instant::now()) {
            let Snapshot { per_second, seconds_left, .. } = self.snapshot();
            info!(done, total, per_second, seconds_left, "{}", self.what);
        }
    }

    /// Returns whether a line is due at `now`, and counts it as written then.
    fn is_due(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due =
            told.is_none_or(|told| now.saturating_duration_since(told) >= PROGRESS_INTERVAL);
        if is_due {
            *told = Some(now);
        }
        is_due
    }

    /// Returns how far it is now.
    pub fn snapshot(&self) -> Snapshot {
        let (done, total) = (&self.done, &self.total);
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Snapshot::after(self.began.elapsed(), load(done), load(total))
    }
}

/// How far a piece of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Pieces that are done.
    pub done: u64,
    /// All pieces, as far as that is known.
    pub total: u64,
    /// Seconds since the beginning.
    pub seconds: u64,
    /// Pieces a second so far.
    pub per_second: u64,
    /// Seconds that the rest takes at this rate. `None` while nothing is done.
    pub seconds_left: Option<u64>,
}

impl Snapshot {
    /// Returns how far work is of which `done` pieces took `time`.
    fn after(time: Duration, done: u64, total: u64) -> Self {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        let rest = total.saturating_sub(done);
        Self {
            done,
            total,
            seconds: time.as_secs(),
            per_second: done.saturating_mul(1_000) / milliseconds,
            seconds_left: rest.saturating_mul(milliseconds).checked_div(done.saturating_mul(1_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_the_rate_so_far_says() {
        let third = Snapshot::after(Duration::from_millis(2_500), 5_000, 15_000);
        let expected = Snapshot {
            done: 5_000,
            total: 15_000,
            seconds: 2,
            per_second: 2_000,
            seconds_left: Some(5),
        };
        assert_eq!(third, expected);
        assert_eq!(Snapshot::after(Duration::ZERO, 0, 7).seconds_left, None);
        let end = Snapshot::after(Duration::from_secs(1), 7, 7);
        assert_eq!((end.per_second, end.seconds_left), (7, Some(0)));
    }

    #[test]
    fn a_line_is_written_at_first_and_then_every_few_seconds_at_most() {
        let progress = Progress::new("counting");
        let at = |seconds| progress.began + Duration::from_secs(seconds);
        let due: Vec<u64> = (1..=13).filter(|seconds| progress.is_due(at(*seconds))).collect();
        assert_eq!(due, [1, 6, 11]);
    }
}
