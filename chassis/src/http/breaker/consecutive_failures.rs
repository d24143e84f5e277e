//! When failures in a row open a circuit.

use failsafe::FailurePolicy;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Failures in a row that open the circuit.
pub(super) const IN_A_ROW: u32 = 5;
/// A row that a late call ends opens the circuit only when it has lasted for so long. One pause of a disk or of the scheduler
/// makes all calls late that are under way, hundreds under load, within a moment; and the peer is well again after it.
pub(super) const ONE_PAUSE: Duration = Duration::from_millis(250);

/// Opens the circuit after [`IN_A_ROW`] failures with no success between them.
#[derive(Debug)]
pub(super) struct InARow<B> {
    failures: u32,
    since: Option<Instant>,
    /// Whether the failure that is being counted is a late call.
    late: Arc<AtomicBool>,
    backoff: B,
    fresh_backoff: B,
}

impl<B: Iterator<Item = Duration> + Clone> InARow<B> {
    pub(super) fn new(late: Arc<AtomicBool>, backoff: B) -> Self {
        Self { failures: 0, since: None, late, backoff: backoff.clone(), fresh_backoff: backoff }
    }

    fn forget(&mut self) {
        (self.failures, self.since) = (0, None);
    }
}

impl<B: Iterator<Item = Duration> + Clone> FailurePolicy for InARow<B> {
    fn record_success(&mut self) {
        self.forget();
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.failures += 1;
        let lasted = self.since.get_or_insert_with(Instant::now).elapsed();
        let proven = lasted >= ONE_PAUSE || !self.late.load(Ordering::Relaxed);
        (self.failures >= IN_A_ROW && proven).then(|| self.backoff.next()).flatten()
    }

    fn revived(&mut self) {
        self.forget();
        self.backoff = self.fresh_backoff.clone();
    }
}
