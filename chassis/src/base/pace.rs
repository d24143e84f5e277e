//! The pace of work: rounds that gather work under load, and retries with growing pauses.

use crate::base::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Pieces of work from which on a round counts as load. After a smaller one the next round begins at once.
const LOAD_MIN: usize = 10;

/// Keeps a least time between rounds under load, so that each round does more.
///
/// A round costs a transaction and a dozen statements of some 40 us each, however little there is to do. Without load no work
/// waits.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The least time between the starts of two rounds.
    min_interval: Duration,
    /// The most pieces of work of a round. After a full round more work waits already, so the next begins at once.
    round_max: usize,
    next: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(min_interval: Duration, round_max: usize) -> Self {
        Self { min_interval, round_max, next: None }
    }

    /// Waits until the next round may begin.
    pub(crate) async fn wait(&self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
    }

    /// Records that a round with `pieces` of work begins now.
    pub(crate) fn begins(&mut self, pieces: usize) {
        let load = (LOAD_MIN..self.round_max).contains(&pieces);
        self.next = load.then(|| Instant::now() + self.min_interval);
    }
}

/// The pauses between the tries of work that is tried until it succeeds. The first is [`RETRY_PAUSE_MIN`], and each is twice
/// the one before, up to [`RETRY_PAUSE_MAX`].
#[derive(Debug)]
pub struct Backoff(Duration);

impl Backoff {
    /// Waits before the next try.
    pub async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY_PAUSE_MAX);
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self(RETRY_PAUSE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rounds_keep_their_interval_under_load_only() {
        let min_interval = Duration::from_millis(5);
        let mut pace = Pace::new(min_interval, 100);
        let mut waits = async |pieces| {
            pace.begins(pieces);
            let began = Instant::now();
            pace.wait().await;
            began.elapsed()
        };
        assert_eq!(waits(1).await, Duration::ZERO, "one customer alone");
        assert_eq!(waits(50).await, min_interval, "a round that could have carried more");
        assert_eq!(waits(100).await, Duration::ZERO, "a full one");
    }
}
