//! What may be sent to everybody: many streams that wait for everything must not take the cores from those who buy.

use std::ops::RangeInclusive;
use tokio::time::Instant;

/// Bytes a second, of all streams together. 32 MB take about a tenth of a core at each end of a connection.
const BYTES_A_SECOND: usize = 32_000_000;
/// Bytes that may be sent at once after a while in which less was.
const BYTES_AT_ONCE: usize = 3 * BYTES_A_SECOND;
/// What a frame costs besides its bytes: a write, a read and a wake-up in each process on its way.
const FRAME_BYTES: usize = 4 * 1024;
/// Frames a second that leave time for each to be seen soon.
const FRAMES_A_SECOND: usize = 4;
/// What an event takes of a frame, about.
pub(super) const EVENT_BYTES: usize = 256;
/// Events of a frame, at most: nobody can follow more. At least a few are told, however many watch.
const EVENTS_A_FRAME: RangeInclusive<usize> = 4..=50;

/// What may be sent to everybody now.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    at: Instant,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: BYTES_AT_ONCE, at: Instant::now() }
    }
}

impl Budget {
    /// Pays for a frame of `bytes` to each of `streams`. Returns false if that is too much now.
    pub(super) fn pays(&mut self, streams: usize, bytes: usize) -> bool {
        let micros = usize::try_from(self.at.elapsed().as_micros()).unwrap_or(usize::MAX);
        let more = micros.saturating_mul(BYTES_A_SECOND / 1_000_000);
        self.left = self.left.saturating_add(more).min(BYTES_AT_ONCE);
        self.at = Instant::now();
        let cost = cost(streams, bytes);
        let pays = cost <= self.left;
        if pays {
            self.left -= cost;
        }
        pays
    }

    /// Returns how many events a second of purchases are told to each of `streams`.
    pub(super) fn purchase_events_a_second(streams: usize) -> usize {
        events_a_frame(streams) * FRAMES_A_SECOND / 2
    }

    /// Returns how many changes of stock a frame to each of `streams` has at most.
    pub(super) fn stock_changes_a_frame(streams: usize) -> usize {
        events_a_frame(streams) / 2
    }

    /// Returns true if [`Budget::pays`] for that at some time.
    pub(super) fn may_pay(streams: usize, bytes: usize) -> bool {
        cost(streams, bytes) <= BYTES_AT_ONCE
    }
}

/// Returns how many events the budget pays for in each frame, half of them purchases, half changes of stock.
fn events_a_frame(streams: usize) -> usize {
    let frame = BYTES_A_SECOND / (streams.max(1) * FRAMES_A_SECOND);
    let events = frame.saturating_sub(FRAME_BYTES) / EVENT_BYTES;
    events.clamp(*EVENTS_A_FRAME.start(), *EVENTS_A_FRAME.end())
}

fn cost(streams: usize, bytes: usize) -> usize {
    streams * (bytes + FRAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    #[test]
    fn the_more_watch_the_fewer_events_each_is_told() {
        let told = |streams| {
            (Budget::purchase_events_a_second(streams), Budget::stock_changes_a_frame(streams))
        };
        assert_eq!([0, 1, 400].map(told), [(100, 25); 3]);
        assert_eq!(told(1_000), (30, 7));
        assert_eq!([2_000, usize::MAX / 8].map(told), [(8, 2); 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_spent_and_comes_again() {
        let mut budget = Budget::default();
        let bytes = 16_000 - FRAME_BYTES; // to 2,000 streams, 32 MB in all
        for _ in 0..2 {
            assert!(budget.pays(2_000, bytes));
        }
        assert!(!budget.pays(4_000, bytes) && Budget::may_pay(4_000, bytes));
        sleep(Duration::from_millis(1_100)).await;
        assert!(budget.pays(4_000, bytes));
        sleep(Duration::from_mins(1)).await;
        assert!(
            !budget.pays(8_000, bytes) && !Budget::may_pay(8_000, bytes),
            "it is not saved up for long"
        );
    }
}
