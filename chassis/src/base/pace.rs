//! The pace of work: rounds that gather work under load, and retries with growing pauses.

use crate::base::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Pieces of work within one and a half intervals from which on there is load. Below it the next round begins at once.
const LOAD_MIN: usize = 10;

/// Keeps a least time between rounds under load, so that each round does more.
///
/// A round costs a transaction and several statements, however little there is to do: 250 carts a second took more than a core
/// when each was relayed and taken alone. Without load no work waits.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The least time between the starts of two rounds.
    min_interval: Duration,
    /// The most pieces of work of a round. After a full round more work waits already, so the next begins at once.
    round_max: usize,
    /// The rounds that began within the last one and a half intervals, each with its pieces of work.
    recent: Vec<(Instant, usize)>,
    next: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(min_interval: Duration, round_max: usize) -> Self {
        Self { min_interval, round_max, recent: Vec::new(), next: None }
    }

    /// Waits until the next round may begin.
    pub(crate) async fn wait(&self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
    }

    /// Records that a round with `pieces` of work begins now.
    pub(crate) fn begins(&mut self, pieces: usize) {
        self.began(Instant::now(), pieces);
    }

    /// Records that a round with `pieces` of work began at `now`, where it was not known then how many they are.
    pub(crate) fn began(&mut self, now: Instant, pieces: usize) {
        self.recent.push((now, pieces));
        // Rounds begin late: with an interval that is exact, the load of a steady rate would come and go.
        let since = now.checked_sub(self.min_interval * 3 / 2);
        self.recent.retain(|(began, _)| since.is_none_or(|since| *began > since));
        let load = self.recent.iter().map(|(_, pieces)| pieces).sum::<usize>() >= LOAD_MIN;
        self.next = (load && pieces < self.round_max).then(|| now + self.min_interval);
    }
}

/// The pauses between the tries of work that is tried until it succeeds. The first is [`RETRY_PAUSE_MIN`], and each is twice
/// the one before, up to [`RETRY_PAUSE_MAX`] by default.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Returns pauses that grow up to `max`.
    pub(crate) fn up_to(max: Duration) -> Self {
        Self { next: RETRY_PAUSE_MIN, max }
    }

    /// Waits before the next try.
    pub async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(self.max);
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(RETRY_PAUSE_MAX)
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

    /// Returns how many rounds begin within a second if a piece of work comes every `every`.
    async fn rounds_a_second(every: Duration) -> usize {
        let mut pace = Pace::new(Duration::from_millis(40), 4_000);
        let (began, mut rounds, mut done) = (Instant::now(), 0, 0);
        while began.elapsed() < Duration::from_secs(1) {
            let come = usize::try_from(began.elapsed().as_micros() / every.as_micros()).unwrap();
            if come > done {
                pace.begins(come - done);
                (rounds, done) = (rounds + 1, come);
                pace.wait().await;
            } else {
                sleep(Duration::from_millis(1)).await;
            }
        }
        rounds
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_comes_singly_and_often_is_gathered() {
        let rounds = rounds_a_second(Duration::from_millis(4)).await;
        assert!((24..=36).contains(&rounds), "{rounds} rounds for 250 pieces a second");
        let rounds = rounds_a_second(Duration::from_millis(20)).await;
        assert!((45..=50).contains(&rounds), "{rounds} rounds for 50 pieces a second");
    }
}
