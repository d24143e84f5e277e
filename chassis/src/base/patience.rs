//! How long a request may wait in our queues, all together, before it is refused.
//!
//! Overload is measured by the time that requests wait, never by how many of them there are. Each process takes over what
//! the one in front of it has left of the customer's patience, in a header.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;
use tokio::time::Instant;

/// How long a customer waits in queues before the answer is 503 instead. After about a second people lose the thread of what
/// they were doing (Nielsen, "Response times: the 3 important limits"), and every budget of ours leaves room for it:
/// the gateway gives the services 3 s and 5 s.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How long a request may wait in a queue whose requests have all waited for long lately. There is more to do than can be done
/// then, and a longer queue would only make all wait. It is also the least that a process leaves to the next one.
pub const WHEN_OVERLOADED: Duration = Duration::from_millis(100);

/// Milliseconds that the called service may let the request wait.
pub const BUDGET: HeaderName = HeaderName::from_static("x-budget-ms");

tokio::task_local! {
    static UNTIL: Instant;
}

/// Runs `work` with a patience that ends at `until`. A spawned task does not inherit it.
pub async fn with<T>(until: Instant, work: impl Future<Output = T>) -> T {
    UNTIL.scope(until, work).await
}

/// Runs `work` that must be brought to its end, however long it waits in queues.
pub async fn without_end<T>(work: impl Future<Output = T>) -> T {
    const YEAR: Duration = Duration::from_hours(365 * 24); // as far as a timer has to look
    with(Instant::now() + YEAR, work).await
}

/// When the patience of the running request ends. Work of no request has [`PATIENCE`] from now on.
pub fn until() -> Instant {
    UNTIL.try_with(|until| *until).unwrap_or_else(|_| Instant::now() + PATIENCE)
}

/// The value of [`BUDGET`] for a call that may wait for `budget`.
pub fn header(budget: Duration) -> HeaderValue {
    u64::try_from(budget.as_millis()).unwrap_or(u64::MAX).into()
}

/// The value of [`BUDGET`] for a request that is passed on: what is left of its patience, or [`WHEN_OVERLOADED`].
pub fn left() -> HeaderValue {
    header(until().saturating_duration_since(Instant::now()).max(WHEN_OVERLOADED))
}

/// When the patience of a request ends that comes with `headers` now.
pub(crate) fn of(headers: &HeaderMap) -> Instant {
    let budget = headers.get(BUDGET).and_then(|value| value.to_str().ok()?.parse().ok());
    Instant::now() + budget.map_or(PATIENCE, Duration::from_millis).min(PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(budget: &'static str) -> Duration {
        let headers = HeaderMap::from_iter([(BUDGET, HeaderValue::from_static(budget))]);
        of(&headers) - Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_can_shorten_the_patience_and_never_lengthen_it() {
        assert_eq!(of(&HeaderMap::new()) - Instant::now(), PATIENCE);
        assert_eq!(given("200"), Duration::from_millis(200));
        for other in ["2000", "99999999999999999999", "-1", "soon", ""] {
            assert_eq!(given(other), PATIENCE, "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_passed_on_and_never_nothing() {
        let until = Instant::now() + Duration::from_millis(300);
        with(until, async {
            assert_eq!(left(), header(Duration::from_millis(300)));
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(left(), header(WHEN_OVERLOADED));
        })
        .await;
        assert_eq!(left(), header(PATIENCE), "outside of a request");
    }
}
