//! How often people of one address try to sign in.

use chassis::base::metrics::{Counter, Metrics};
use chassis::http::{Caller, CallerRate};
use std::time::{Duration, Instant};

/// Each step of a sign-in, of which there are two, pays for so long.
const PAYS_FOR: Duration = Duration::from_secs(1);
/// So much may come at once: an office behind one address signs in at nine.
const BURST: Duration = Duration::from_mins(1);

/// The bound on sign-ins of each address, and what became of them.
pub(super) struct Attempts {
    rate: CallerRate,
    refused: Counter,
    /// Sign-ins that began a session.
    pub(super) succeeded: Counter,
    /// Answers of the issuer that began none.
    pub(super) failed: Counter,
}

impl Attempts {
    /// Registers the metrics.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counter = |name: &'static str, help: &'static str| {
            let counter = Counter::default();
            metrics.register(name, help, counter.clone());
            counter
        };
        Self {
            rate: CallerRate::default(),
            refused: counter(
                "sign_ins_refused_by_rate",
                "Steps of sign-ins refused with 429 since their address made too many",
            ),
            succeeded: counter("sign_ins", "Sign-ins that began a session"),
            failed: counter("sign_ins_failed", "Answers of the issuer that began no session"),
        }
    }

    /// Counts a step of a sign-in. Returns false if the address made too many.
    #[must_use]
    pub(super) fn count(&self, caller: Caller) -> bool {
        let counted = self.rate.count(caller, PAYS_FOR, BURST, Instant::now());
        if counted.is_err() {
            self.refused.inc();
        }
        counted.is_ok()
    }
}
