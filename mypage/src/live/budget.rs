//! What may be sent to everybody: many streams that wait for everything must not take the cores from those who buy.

use tokio::time::Instant;

/// Bytes a second, of all streams together. 32 MB take about a tenth of a core at each end of a connection.
const BYTES_A_SECOND: f64 = 32e6;
/// Bytes that may be sent at once after a while in which less was.
const BYTES_AT_ONCE: f64 = 3.0 * BYTES_A_SECOND;
/// What a frame costs besides its bytes: a write, a read and a wake-up in each process on its way.
const FRAME_BYTES: usize = 4 * 1024;

/// What may be sent to everybody now.
#[derive(Debug)]
pub(super) struct Budget {
    left: f64,
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
        let more = self.at.elapsed().as_secs_f64() * BYTES_A_SECOND;
        self.left = (self.left + more).min(BYTES_AT_ONCE);
        self.at = Instant::now();
        let cost = cost(streams, bytes);
        let pays = cost <= self.left;
        if pays {
            self.left -= cost;
        }
        pays
    }

    /// Returns true if [`Budget::pays`] for that at some time.
    pub(super) fn may_pay(streams: usize, bytes: usize) -> bool {
        cost(streams, bytes) <= BYTES_AT_ONCE
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes below 2^52")]
fn cost(streams: usize, bytes: usize) -> f64 {
    (streams * (bytes + FRAME_BYTES)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

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
