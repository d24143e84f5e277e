//! Patience: how long a request may wait in queues, all together, before it is refused.
//!
//! Overload is measured by how long requests wait, never by how many wait. A process passes on what is left of the patience
//! in a header.

use crate::base::limits::{OVERLOADED_PATIENCE, PATIENCE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;
use tokio::time::Instant;

/// The header with the patience that is left, in milliseconds.
pub const HEADER: HeaderName = HeaderName::from_static("x-budget-ms");

tokio::task_local! {
    static UNTIL: Instant;
}

/// Runs `work` with a patience that ends at `until`. A task that it spawns does not inherit it.
pub fn with<F: Future>(until: Instant, work: F) -> impl Future<Output = F::Output> {
    UNTIL.scope(until, work)
}

/// Runs `work` to its end, however long it waits in queues.
pub fn without_end<F: Future>(work: F) -> impl Future<Output = F::Output> {
    const YEAR: Duration = Duration::from_hours(365 * 24); // a timer has no "never"
    with(Instant::now() + YEAR, work)
}

/// Returns when the patience of the current request ends. Work outside of a request has [`PATIENCE`] from now on.
pub fn until() -> Instant {
    UNTIL.try_with(|until| *until).unwrap_or_else(|_| Instant::now() + PATIENCE)
}

/// Returns the value of [`HEADER`] for a request with `patience`.
pub fn header(patience: Duration) -> HeaderValue {
    u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).into()
}

/// Returns the value of [`HEADER`] for a request that is passed on: the rest of its patience, and at least
/// [`OVERLOADED_PATIENCE`].
pub fn left() -> HeaderValue {
    header(until().saturating_duration_since(Instant::now()).max(OVERLOADED_PATIENCE))
}

/// Returns when the patience of a request with `headers` ends, which arrives now.
pub(crate) fn of(headers: &HeaderMap) -> Instant {
    let left = headers.get(HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    Instant::now() + left.map_or(PATIENCE, Duration::from_millis).min(PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(left: &'static str) -> Duration {
        let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_static(left))]);
        of(&headers) - Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_can_shorten_the_patience_and_never_lengthen_it() {
        assert_eq!(of(&HeaderMap::new()) - Instant::now(), PATIENCE);
        assert_eq!(patience("200"), Duration::from_millis(200));
        for other in ["2000", "99999999999999999999", "-1", "soon", ""] {
            assert_eq!(patience(other), PATIENCE, "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_the_patience_is_passed_on_and_never_nothing() {
        let until = Instant::now() + Duration::from_millis(300);
        with(until, async {
            assert_eq!(left(), header(Duration::from_millis(300)));
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(left(), header(OVERLOADED_PATIENCE));
        })
        .await;
        assert_eq!(left(), header(PATIENCE), "outside of a request");
    }

    #[tokio::test]
    async fn work_with_a_patience_is_held_once() {
        let work = || async {
            let held = [1_u8; 1_024];
            std::future::ready(()).await;
            held
        };
        let alone = size_of_val(&work());
        assert!(size_of_val(&with(Instant::now(), work())) < alone * 3 / 2);
        assert!(size_of_val(&without_end(work())) < alone * 3 / 2);
    }
}
