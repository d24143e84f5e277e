//! The failure policy that opens a circuit after consecutive failures.

use failsafe::FailurePolicy;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Consecutive failures that open the circuit.
pub(super) const FAILURES_TO_OPEN: u32 = 5;
/// Consecutive failures of which the last is a timeout open the circuit only if they have lasted for this long. A short pause
/// of a disk or of the scheduler makes all calls in progress time out at once, hundreds under load, although the peer works
/// again right after it.
pub(super) const TIMEOUTS_LAST_MIN: Duration = Duration::from_millis(250);

/// Opens the circuit after [`FAILURES_TO_OPEN`] failures without a success between them.
#[derive(Debug)]
pub(super) struct ConsecutiveFailures<B> {
    count: u32,
    since: Option<Instant>,
    /// True if the failure that is being recorded is a timeout.
    is_timeout: Arc<AtomicBool>,
    backoff: B,
    initial_backoff: B,
}

impl<B: Iterator<Item = Duration> + Clone> ConsecutiveFailures<B> {
    /// Returns a policy. The caller sets `is_timeout` before it records a failure.
    pub(super) fn new(is_timeout: Arc<AtomicBool>, backoff: B) -> Self {
        let initial_backoff = backoff.clone();
        Self { count: 0, since: None, is_timeout, backoff, initial_backoff }
    }

    fn reset(&mut self) {
        (self.count, self.since) = (0, None);
    }

    /// Counts a failure at `now`, and returns true if it opens the circuit.
    fn record_failure(&mut self, now: Instant) -> bool {
        self.count += 1;
        let lasted = now.saturating_duration_since(*self.since.get_or_insert(now));
        let proven = lasted >= TIMEOUTS_LAST_MIN || !self.is_timeout.load(Ordering::Relaxed);
        self.count >= FAILURES_TO_OPEN && proven
    }
}

impl<B: Iterator<Item = Duration> + Clone> FailurePolicy for ConsecutiveFailures<B> {
    fn record_success(&mut self) {
        self.reset();
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.record_failure(Instant::now()).then(|| self.backoff.next()).flatten()
    }

    fn revived(&mut self) {
        self.reset();
        self.backoff = self.initial_backoff.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(is_timeout: bool) -> ConsecutiveFailures<std::iter::Repeat<Duration>> {
        let backoff = std::iter::repeat(Duration::from_secs(1));
        ConsecutiveFailures::new(Arc::new(AtomicBool::new(is_timeout)), backoff)
    }

    #[test]
    fn timeouts_open_the_circuit_only_when_they_have_lasted() {
        let (mut policy, began) = (policy(true), Instant::now());
        for _ in 0..100 {
            assert!(!policy.record_failure(began), "one pause");
        }
        assert!(!policy.record_failure(began + TIMEOUTS_LAST_MIN / 2));
        assert!(policy.record_failure(began + TIMEOUTS_LAST_MIN));
        policy.record_success();
        for _ in 0..100 {
            assert!(!policy.record_failure(began + 10 * TIMEOUTS_LAST_MIN), "another pause");
        }
    }

    #[test]
    fn other_failures_open_the_circuit_at_once() {
        let (mut policy, began) = (policy(false), Instant::now());
        for _ in 1..FAILURES_TO_OPEN {
            assert!(!policy.record_failure(began));
        }
        assert!(policy.record_failure(began));
    }

    #[test]
    fn timeouts_that_last_need_as_many_failures() {
        let (mut policy, began) = (policy(true), Instant::now());
        assert!(!policy.record_failure(began));
        assert!(!policy.record_failure(began + TIMEOUTS_LAST_MIN));
    }
}
