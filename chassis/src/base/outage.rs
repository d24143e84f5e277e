//! Faults that last: each cause is logged once, not at each try.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// An outage is over at the first success that comes so long after the last failure: where only some tries fail, the end
/// is not logged again and again.
const QUIET: Duration = Duration::from_secs(1);
/// Causes that one outage logs. Beyond them it says no more than it has said.
const CAUSES_MAX: usize = 8;

/// Logs the failures of one kind of work: each cause once at WARN while it lasts, and the end at WARN.
#[derive(Debug)]
pub(crate) struct Outage {
    /// What fails, such as `writes to gifticon.db`.
    what: String,
    lasts: AtomicBool,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    causes: Vec<String>,
    failures: u64,
    since: Instant,
    last: Instant,
}

impl Outage {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), lasts: AtomicBool::new(false), state: Mutex::new(None) }
    }

    /// Notes a failure. Logged at WARN where the cause is new in this outage, else at DEBUG. Returns whether it is new.
    pub(crate) fn failed(&self, cause: &str) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = || State { causes: Vec::new(), failures: 0, since: now, last: now };
        let state = state.get_or_insert_with(begun);
        self.lasts.store(true, Ordering::Relaxed);
        (state.last, state.failures) = (now, state.failures + 1);
        let known = |known: &String| known == cause;
        let new = state.causes.len() < CAUSES_MAX && !state.causes.iter().any(known);
        if new {
            state.causes.push(cause.to_owned());
            warn!(cause, "{} fail; trying again until they work", self.what);
        } else {
            debug!(cause, "{} fail", self.what);
        }
        new
    }

    /// Whether one lasts.
    #[cfg(test)]
    pub(crate) fn lasts(&self) -> bool {
        self.lasts.load(Ordering::Relaxed)
    }

    /// Notes a success, which ends an outage.
    pub(crate) fn works(&self) {
        if !self.lasts.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(over) = state.take_if(|state| state.last.elapsed() >= QUIET) {
            self.lasts.store(false, Ordering::Relaxed);
            let seconds = over.since.elapsed().as_secs_f64();
            warn!(seconds, failures = over.failures, "{} work again", self.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_logged_once_in_an_outage_and_again_in_the_next() {
        let outage = Outage::new("writes");
        assert!(outage.failed("full"));
        outage.works(); // one of many succeeds in the middle of it
        assert!(!outage.failed("full"));
        assert!(outage.failed("read-only"), "it changes");
        std::thread::sleep(QUIET);
        outage.works();
        assert!(outage.failed("full"), "it ended");
        let new = (0..100).filter(|number| outage.failed(&number.to_string())).count();
        assert_eq!(new, CAUSES_MAX - 1);
    }
}
