//! Ends what a crash or an unknown outcome left behind.

use crate::app::CartsApp;
use crate::blocks::BLOCK_USE_MAX;
use crate::domain::{Block, Command};
use crate::stock::ReleaseError;
use crate::store;
use chassis::storage::{Db, Dialect, log_failure};
use chassis::workers::Lease;
use common_events::ReservationId;
use futures_util::{StreamExt, stream};
use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::hash::Hash;
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
/// How many blocks a round expires.
const ROUND_BLOCKS_MAX: usize = 8;
/// How many pending attempts are watched, and how many blocks: more than there can be requests under way.
const WATCHED_MAX: i64 = 10_000;

/// Expires attempts and blocks that nobody works on any more, and releases the stock of cancelled and expired ones. One
/// replica at a time does it; that two do for a moment harms nothing.
///
/// Nobody works on what is `left` by the last process, or on an attempt that this process has seen pending for longer than a
/// request takes: `calls_max`, the time of its calls to gifticon, and two commits. A block lasts for [`BLOCK_USE_MAX`] longer.
/// The sweeper measures that by its own monotonic clock: rows carry no time, for clocks jump and differ between replicas.
pub async fn run(app: Arc<CartsApp>, mut lease: Lease, calls_max: Duration, left: LeftBehind) {
    let request_max = calls_max + COMMITS_MAX;
    let mut watch = Watch {
        attempts: Seen::new(request_max, ROUND_MAX, left.attempts),
        blocks: Seen::new(BLOCK_USE_MAX + request_max, ROUND_BLOCKS_MAX, left.blocks),
    };
    app.db.ready().await;
    loop {
        if let Err(error) = round(&app, &mut lease, &mut watch).await {
            log_failure(&error, "the sweeper failed; it goes on shortly");
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// What the last process left pending.
#[derive(Default)]
pub struct LeftBehind {
    attempts: Vec<ReservationId>,
    blocks: Vec<Block>,
}

/// Returns what is pending in a SQLite file, whose only process this is. Call it before the service takes requests. On Postgres
/// it may be another replica's, and nothing is returned.
pub async fn left_by_the_last_process(db: &Db) -> LeftBehind {
    let read = async {
        let (attempts, blocks) =
            (store::pending_attempts(db, WATCHED_MAX), store::blocks(db, WATCHED_MAX));
        anyhow::Ok(LeftBehind { attempts: attempts.await?, blocks: blocks.await? })
    };
    match db.dialect() {
        Dialect::Sqlite => read.await.unwrap_or_else(|error| {
            let error = format!("{error:#}");
            warn!(error, "could not read what the last process left; it is swept a little later");
            LeftBehind::default()
        }),
        Dialect::Postgres => LeftBehind::default(),
    }
}

/// What is pending, and since when this process has seen it.
struct Watch {
    attempts: Seen<ReservationId>,
    blocks: Seen<Block>,
}

/// Rows of one kind, and since when this process has seen them.
struct Seen<I> {
    stale_after: Duration,
    /// How many are ended at once.
    most: usize,
    left_behind: HashSet<I>,
    since: HashMap<I, Instant>,
}

impl<I: Copy + Eq + Hash> Seen<I> {
    fn new(stale_after: Duration, most: usize, left_behind: Vec<I>) -> Self {
        let left_behind = left_behind.into_iter().collect();
        Self { stale_after, most, left_behind, since: HashMap::new() }
    }

    /// Takes the rows that are there `now`, and returns those that nobody works on any more.
    fn stale(&mut self, mut rows: Vec<I>, now: Instant) -> Vec<I> {
        let since = |id: &I| (*id, self.since.get(id).copied().unwrap_or(now));
        self.since = rows.iter().map(since).collect();
        self.left_behind.retain(|id| self.since.contains_key(id));
        rows.retain(|id| self.left_behind.contains(id) || now - self.since[id] >= self.stale_after);
        rows.truncate(self.most);
        rows
    }
}

async fn round(app: &CartsApp, lease: &mut Lease, watch: &mut Watch) -> anyhow::Result<()> {
    let pending = store::pending_attempts(&app.db, WATCHED_MAX).await?;
    let stale = watch.attempts.stale(pending, Instant::now());
    let blocks = store::blocks(&app.db, WATCHED_MAX).await?;
    let stale_blocks = watch.blocks.stale(blocks, Instant::now());
    let cancelled = store::cancelled_attempts(&app.db, i64::try_from(ROUND_MAX)?).await?;
    let nothing = stale.is_empty() && stale_blocks.is_empty() && cancelled.is_empty();
    if nothing || lease.hold().await.is_none() {
        return Ok(());
    }
    if !stale.is_empty() || !stale_blocks.is_empty() {
        let (attempts, blocks) = (stale.len(), stale_blocks.len());
        info!(attempts, blocks, "expiring attempts, and blocks of them, that were left behind");
        let attempts = stale.into_iter().map(|reservation| Command::ExpireAttempt { reservation });
        let expire = attempts.chain(stale_blocks.into_iter().map(Command::ExpireBlock));
        app.writer.execute_all(expire.map(|command| (command, None))).await;
        fail::fail_point!("sweeper-after-expiry");
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
        fail::fail_point!("sweeper-after-release");
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
        let mut seen = Seen::new(stale_after, 9, vec![id(9)]);
        assert_eq!(seen.stale(vec![id(1), id(9)], start), [id(9)], "left by another process");
        let almost = start + stale_after - Duration::from_millis(1);
        assert_eq!(seen.stale(vec![id(1), id(2)], almost), []);
        assert_eq!(seen.stale(vec![id(1), id(2)], start + stale_after), [id(1)]);
        assert_eq!(seen.stale(vec![], start + stale_after), []);
        assert!(seen.since.is_empty() && seen.left_behind.is_empty(), "it remembers what is there");
        assert_eq!(seen.stale(vec![id(2)], start + stale_after * 9), [], "seen anew");
    }

    #[test]
    fn many_stale_attempts_are_ended_in_pieces() {
        let many: Vec<_> = (0..1_200).map(id).collect();
        let mut seen = Seen::new(Duration::ZERO, ROUND_MAX, vec![]);
        assert_eq!(seen.stale(many.clone(), Instant::now()), many[..ROUND_MAX]);
    }
}
