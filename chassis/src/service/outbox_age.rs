//! How long the oldest row of the outbox has waited, without a wall clock.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Observations to keep. When there are more, every second one is dropped.
const OBSERVATIONS: usize = 1_000;

/// The age of the oldest row, as far as this process has seen. What was there when it started counts from its start.
#[derive(Debug, Default)]
pub(crate) struct OutboxAge {
    /// The newest row at each observation at which there was a newer one, and when that was.
    seen: VecDeque<(i64, Instant)>,
}

impl OutboxAge {
    /// Takes the numbers of the oldest and the newest row, if there is any, and returns the age of the oldest.
    pub(crate) fn observe(&mut self, rows: Option<(i64, i64)>, now: Instant) -> Duration {
        let Some((oldest, newest)) = rows else {
            self.seen.clear();
            return Duration::ZERO;
        };
        if self.seen.back().is_none_or(|(last, _)| *last < newest) {
            self.seen.push_back((newest, now));
        }
        while self.seen.front().is_some_and(|(newest, _)| *newest < oldest) {
            self.seen.pop_front();
        }
        if self.seen.len() > OBSERVATIONS {
            let mut place = 0;
            self.seen.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        self.seen.front().map_or(Duration::ZERO, |(_, since)| now - *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_row_is_as_old_as_it_was_seen_and_a_backlog_that_moves_is_not_young() {
        let (mut age, start) = (OutboxAge::default(), Instant::now());
        assert_eq!(age.observe(None, start), Duration::ZERO);
        // Ten rows come each second, and ten seconds later they leave.
        for second in 0..100_i64 {
            let (oldest, newest) = ((second * 10 - 100).max(1), second * 10 + 9);
            let seconds = Duration::from_secs(second.unsigned_abs());
            let seen = age.observe(Some((oldest, newest)), start + seconds);
            assert_eq!(seen, seconds.min(10 * SECOND), "after {second} s");
        }
        assert_eq!(age.observe(None, start + 101 * SECOND), Duration::ZERO);
        assert_eq!(age.observe(Some((2_000, 2_000)), start + 102 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_long_outage_is_told_to_the_second_and_takes_little_memory() {
        let (mut age, start) = (OutboxAge::default(), Instant::now());
        for second in 0..86_400 {
            let seconds = Duration::from_secs(u64::try_from(second).unwrap());
            assert_eq!(age.observe(Some((0, second)), start + seconds), seconds);
            assert!(age.seen.len() <= OBSERVATIONS);
        }
    }
}
