//! Rounds of work that leave each other time, so that what comes in between is done together, and tries that do.

use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// A round with fewer pieces of work than this is no load: the next begins at once.
const BUSY: usize = 10;

/// The first pause after a failure, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Keeps rounds apart while there is load, so that each carries more.
///
/// A round costs a transaction and a dozen statements however little there is to do, and each of them some
/// 40 us. Where nothing is to be gained, as when one customer is alone, nobody waits.
#[derive(Debug)]
pub(crate) struct Pace {
    /// From the beginning of a round to that of the next.
    apart: Duration,
    /// Pieces of work that a round takes at most: after a full one, more waits already.
    full: usize,
    next: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(apart: Duration, full: usize) -> Self {
        Self { apart, full, next: None }
    }

    /// Resolves when the next round may begin.
    pub(crate) async fn wait(&self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
    }

    /// A round begins, with so many pieces of work.
    pub(crate) fn begins(&mut self, pieces: usize) {
        let load = (BUSY..self.full).contains(&pieces);
        self.next = load.then(|| Instant::now() + self.apart);
    }
}

/// The pauses of work that is tried until it succeeds: the first is short, and each is twice as long as the one before, up to
/// [`PAUSE_MAX`].
#[derive(Debug)]
pub struct Backoff(Duration);

impl Backoff {
    /// Waits until the next try.
    pub async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_load_is_gathered() {
        let apart = Duration::from_millis(5);
        let mut pace = Pace::new(apart, 100);
        let mut waits = async |pieces| {
            pace.begins(pieces);
            let began = Instant::now();
            pace.wait().await;
            began.elapsed()
        };
        assert_eq!(waits(1).await, Duration::ZERO, "one customer alone");
        assert_eq!(waits(50).await, apart, "a round that could have carried more");
        assert_eq!(waits(100).await, Duration::ZERO, "a full one");
    }
}
