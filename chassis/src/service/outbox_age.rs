//! The age of the oldest row of the outbox, without a wall clock.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Observations to keep. When there are more, every second one is dropped.
const OBSERVATIONS_MAX: usize = 1_000;

/// The age of the oldest row as far as this process has seen it. Rows that were there at its start age from its start.
#[derive(Debug, Default)]
pub(crate) struct OutboxAge {
    /// The number of the newest row at each observation that found a newer one, and the time of the observation.
    seen: VecDeque<(i64, Instant)>,
}

impl OutboxAge {
    /// Records the numbers of the oldest and the newest row, `None` for an empty outbox. Returns the age of the oldest row.
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
        if self.seen.len() > OBSERVATIONS_MAX {
            let mut position = 0;
            self.seen.retain(|_| {
                position += 1;
                position % 2 == 1
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
    fn a_row_ages_from_its_first_observation_also_in_a_backlog_that_moves() {
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
    fn a_long_outage_is_measured_to_the_second_and_takes_little_memory() {
        let (mut age, start) = (OutboxAge::default(), Instant::now());
        for second in 0..86_400 {
            let seconds = Duration::from_secs(u64::try_from(second).unwrap());
            assert_eq!(age.observe(Some((0, second)), start + seconds), seconds);
            assert!(age.seen.len() <= OBSERVATIONS_MAX);
        }
    }
}
