//! Outages: each cause is logged once, and not at each try.

use crate::base::pace::Backoff;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// An outage ends with the first success this long after the last failure. Otherwise an outage in which only some tries fail
/// would be logged as many.
const RECOVERY_TIME: Duration = Duration::from_secs(1);
/// How many causes of one outage are logged at WARN.
const CAUSES_MAX: usize = 8;

/// Logs the failures of one kind of work: each cause once at WARN during an outage, and its end.
#[derive(Debug)]
pub struct Outage {
    /// The kind of work, in the plural, such as `writes to gifticon.db`.
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
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), lasts: AtomicBool::new(false), state: Mutex::new(None) }
    }

    /// Records a failure, and logs it at WARN if its cause is new in this outage, else at DEBUG. Returns whether it is new.
    pub fn failed(&self, cause: &str) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || State { causes: Vec::new(), failures: 0, since: now, last: now };
        let state = state.get_or_insert_with(start);
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

    /// Tries `work` until it succeeds, with growing pauses. Logs each cause once, and returns the value.
    pub(crate) async fn until_it_works<T, E: Display, F: Future<Output = Result<T, E>>>(
        &self,
        mut work: impl FnMut() -> F,
    ) -> T {
        let mut backoff = Backoff::default();
        loop {
            match work().await {
                Ok(value) => {
                    self.end_if(|_| true);
                    return value;
                }
                Err(error) => drop(self.failed(&format!("{error:#}"))),
            }
            backoff.wait().await;
        }
    }

    /// True during an outage.
    #[cfg(test)]
    pub fn lasts(&self) -> bool {
        self.lasts.load(Ordering::Relaxed)
    }

    /// Records a success, which may end an outage.
    pub fn works(&self) {
        self.end_if(|state| state.last.elapsed() >= RECOVERY_TIME);
    }

    fn end_if(&self, is_over: impl FnOnce(&mut State) -> bool) {
        if !self.lasts.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(over) = state.take_if(is_over) {
            self.lasts.store(false, Ordering::Relaxed);
            let seconds = over.since.elapsed().as_secs_f64();
            warn!(seconds, failures = over.failures, "{} work again", self.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_tried_until_it_succeeds_and_each_cause_is_logged_once() {
        let (outage, began) = (Outage::new("tries"), tokio::time::Instant::now());
        let mut causes = vec!["away", "away", "full", "away"];
        let value = outage.until_it_works(|| std::future::ready(causes.pop().map_or(Ok(7), Err)));
        assert_eq!(value.await, 7);
        assert_eq!(began.elapsed(), Duration::from_millis(50 + 100 + 200 + 400));
        assert!(!outage.lasts(), "it is over at once");
    }

    #[test]
    fn a_cause_is_logged_once_in_an_outage_and_again_in_the_next() {
        let outage = Outage::new("writes");
        assert!(outage.failed("full"));
        outage.works(); // one of many succeeds in the middle of it
        assert!(!outage.failed("full"));
        assert!(outage.failed("read-only"), "it changes");
        std::thread::sleep(RECOVERY_TIME); // without a failure
        outage.works();
        assert!(outage.failed("full"), "it ended");
        let new = (0..100).filter(|number| outage.failed(&number.to_string())).count();
        assert_eq!(new, CAUSES_MAX - 1);
    }
}
