//! Ends what a crash or an unknown outcome left behind.

use crate::app::CartsApp;
use crate::domain::Command;
use crate::stock::ReleaseError;
use crate::store;
use chassis::storage::{Db, Dialect, log_failure};
use chassis::workers::Lease;
use common_events::ReservationId;
use futures_util::{StreamExt, stream};
use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// How often a round begins.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// How long an attempt may be pending, on top of the calls of its reservation: its two commits.
const COMMITS_MAX: Duration = Duration::from_secs(3);
/// How many attempts a round expires, and how many it closes.
const ROUND_MAX: usize = 500;
/// How many releases are under way at once.
const CONCURRENT_RELEASES_MAX: usize = 16;
/// Late releases after which a round begins no more of them: gifticon stands still, and each of the others would take as
/// long. Those that are under way then end within the time of one release.
const LATE_RELEASES_MAX: usize = 3;
/// How many pending attempts are watched: more than there can be requests under way.
const WATCHED_MAX: i64 = 10_000;

/// Expires attempts that nobody works on any more, and releases the stock of cancelled and expired ones. One replica at a
/// time does it; that two do for a moment harms nothing.
///
/// Nobody works on an attempt that is one of `left_behind`, or that this process has seen pending for longer than a request
/// takes: `calls_max`, the time of its calls to gifticon, and two commits. The sweeper measures that by its own monotonic
/// clock: attempts carry no time, for clocks jump and differ between replicas.
pub async fn run(
    app: Arc<CartsApp>,
    mut lease: Lease,
    calls_max: Duration,
    left_behind: Vec<ReservationId>,
) {
    let mut watch = PendingWatch::new(calls_max + COMMITS_MAX, left_behind);
    app.db.ready().await;
    loop {
        if let Err(error) = round(&app, &mut lease, &mut watch).await {
            log_failure(&error, "the sweeper failed; it goes on shortly");
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// Returns the pending attempts of a SQLite file, whose only process this is. Call it before the service takes requests.
/// On Postgres they may be another replica's, and none are returned.
pub async fn left_by_the_last_process(db: &Db) -> Vec<ReservationId> {
    match db.dialect() {
        Dialect::Sqlite => store::pending_attempts(db, WATCHED_MAX).await.unwrap_or_else(|error| {
            let error = format!("{error:#}");
            warn!(error, "could not read what the last process left; it is swept a little later");
            vec![]
        }),
        Dialect::Postgres => vec![],
    }
}

/// The pending attempts, and since when this process has seen them.
struct PendingWatch {
    stale_after: Duration,
    left_behind: HashSet<ReservationId>,
    seen_since: HashMap<ReservationId, Instant>,
}

impl PendingWatch {
    fn new(stale_after: Duration, left_behind: Vec<ReservationId>) -> Self {
        let left_behind = left_behind.into_iter().collect();
        Self { stale_after, left_behind, seen_since: HashMap::new() }
    }

    /// Takes the attempts that are pending `now`, and returns those that nobody works on any more.
    fn stale(&mut self, mut pending: Vec<ReservationId>, now: Instant) -> Vec<ReservationId> {
        let since = |id: &ReservationId| (*id, self.seen_since.get(id).copied().unwrap_or(now));
        self.seen_since = pending.iter().map(since).collect();
        self.left_behind.retain(|id| self.seen_since.contains_key(id));
        pending.retain(|id| {
            self.left_behind.contains(id) || now - self.seen_since[id] >= self.stale_after
        });
        pending.truncate(ROUND_MAX);
        pending
    }
}

async fn round(app: &CartsApp, lease: &mut Lease, watch: &mut PendingWatch) -> anyhow::Result<()> {
    let pending = store::pending_attempts(&app.db, WATCHED_MAX).await?;
    let stale = watch.stale(pending, Instant::now());
    let cancelled = store::cancelled_attempts(&app.db, i64::try_from(ROUND_MAX)?).await?;
    if stale.is_empty() && cancelled.is_empty() || lease.hold().await.is_none() {
        return Ok(());
    }
    if !stale.is_empty() {
        info!(attempts = stale.len(), "expiring attempts that were left behind");
        let expire = |reservation| (Command::ExpireAttempt { reservation }, None);
        app.writer.execute_all(stale.into_iter().map(expire)).await;
    }
    let late_releases = &AtomicUsize::new(0);
    let released = stream::iter(cancelled)
        .take_while(|_| ready(late_releases.load(Ordering::Relaxed) < LATE_RELEASES_MAX))
        .map(|reservation| async move {
            let released = app.stock.release(reservation).await;
            let late = usize::from(released == Err(ReleaseError::Late));
            late_releases.fetch_add(late, Ordering::Relaxed);
            (reservation, released)
        })
        .buffer_unordered(CONCURRENT_RELEASES_MAX)
        .filter_map(async |(reservation, released)| {
            released.is_ok().then_some((Command::CloseAttempt { reservation }, None))
        })
        .collect::<Vec<_>>()
        .await;
    if !released.is_empty() {
        info!(reservations = released.len(), "gifticon released cancelled reservations");
        app.writer.execute_all(released).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(n: u128) -> ReservationId {
        ReservationId(Uuid::from_u128(n))
    }

    #[test]
    fn an_attempt_is_stale_when_it_was_seen_for_long_enough() {
        let (stale_after, start) = (Duration::from_secs(3), Instant::now());
        let mut watch = PendingWatch::new(stale_after, vec![id(9)]);
        assert_eq!(watch.stale(vec![id(1), id(9)], start), [id(9)], "left by another process");
        let almost = start + stale_after - Duration::from_millis(1);
        assert_eq!(watch.stale(vec![id(1), id(2)], almost), []);
        assert_eq!(watch.stale(vec![id(1), id(2)], start + stale_after), [id(1)]);
        assert_eq!(watch.stale(vec![], start + stale_after), []);
        assert!(
            watch.seen_since.is_empty() && watch.left_behind.is_empty(),
            "it remembers what is there"
        );
        assert_eq!(watch.stale(vec![id(2)], start + stale_after * 9), [], "seen anew");
    }

    #[test]
    fn many_stale_attempts_are_ended_in_pieces() {
        let many: Vec<_> = (0..1_200).map(id).collect();
        let mut watch = PendingWatch::new(Duration::ZERO, vec![]);
        assert_eq!(watch.stale(many.clone(), Instant::now()), many[..ROUND_MAX]);
    }
}
