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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// How often to look.
const LOOK: Duration = Duration::from_millis(500);
/// How long an intent may be pending, on top of the budget of its reservation: its two commits.
const GRACE: Duration = Duration::from_secs(3);
/// Intents a round, and releases at once.
const BATCH: usize = 500;
const AT_ONCE: usize = 16;
/// Releases without an answer in time after which a round begins no more of them: gifticon stands still, and each of the
/// others would take as long. Those that are under way then end within the time of one release.
const LATE_MAX: usize = 3;
/// Pending intents that are watched: more than there can be requests under way.
const WATCHED: i64 = 10_000;

/// Abandons intents that nobody works on any more, and releases the stock of abandoned ones. One
/// replica at a time does it; that two do for a moment harms nothing.
///
/// Nobody works on an intent that is one of `left`, or that this process has seen pending for longer than a request
/// takes. It measures by its own monotonic clock: intents carry no time, for clocks jump and differ between replicas.
pub async fn run(app: CartsApp, mut lease: Lease, budget: Duration, left: Vec<ReservationId>) {
    let mut watch = Watch::new(budget + GRACE, left);
    app.db.ready().await;
    loop {
        if let Err(error) = round(&app, &mut lease, &mut watch).await {
            log_failure(&error, "the sweeper failed; it goes on shortly");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns the pending intents of a SQLite file, whose only process this is. Call it before the service takes requests.
/// On Postgres they may be another replica's, and none are returned.
pub async fn left_by_the_last_process(db: &Db) -> Vec<ReservationId> {
    match db.dialect() {
        Dialect::Sqlite => store::pending_intents(db, WATCHED).await.unwrap_or_else(|error| {
            let error = format!("{error:#}");
            warn!(error, "could not read what the last process left; it is swept a little later");
            vec![]
        }),
        Dialect::Postgres => vec![],
    }
}

/// The pending intents, and since when this process has seen them.
struct Watch {
    patience: Duration,
    left: HashSet<ReservationId>,
    seen: HashMap<ReservationId, Instant>,
}

impl Watch {
    fn new(patience: Duration, left: Vec<ReservationId>) -> Self {
        Self { patience, left: left.into_iter().collect(), seen: HashMap::new() }
    }

    /// Takes the intents that are pending `now`, and returns those that nobody works on any more.
    fn stale(&mut self, mut pending: Vec<ReservationId>, now: Instant) -> Vec<ReservationId> {
        let since = |id: &ReservationId| (*id, self.seen.get(id).copied().unwrap_or(now));
        self.seen = pending.iter().map(since).collect();
        self.left.retain(|id| self.seen.contains_key(id));
        pending.retain(|id| self.left.contains(id) || now - self.seen[id] >= self.patience);
        pending.truncate(BATCH);
        pending
    }
}

async fn round(app: &CartsApp, lease: &mut Lease, watch: &mut Watch) -> anyhow::Result<()> {
    let pending = store::pending_intents(&app.db, WATCHED).await?;
    let stale = watch.stale(pending, Instant::now());
    let abandoned = store::abandoned_intents(&app.db, i64::try_from(BATCH)?).await?;
    if stale.is_empty() && abandoned.is_empty() || lease.hold().await.is_none() {
        return Ok(());
    }
    if !stale.is_empty() {
        info!(intents = stale.len(), "giving up intents that were left behind");
        let give_up = |reservation| (Command::GiveUp { reservation }, None);
        app.writer.execute_all(stale.into_iter().map(give_up)).await;
    }
    let late = &AtomicUsize::new(0);
    let released = stream::iter(abandoned)
        .take_while(|_| ready(late.load(Ordering::Relaxed) < LATE_MAX))
        .map(|reservation| async move {
            let released = app.stock.release(reservation).await;
            late.fetch_add(usize::from(released == Err(ReleaseError::Late)), Ordering::Relaxed);
            (reservation, released)
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |(reservation, released)| {
            released.is_ok().then_some((Command::Forget { reservation }, None))
        })
        .collect::<Vec<_>>()
        .await;
    if !released.is_empty() {
        info!(reservations = released.len(), "gifticon let go of abandoned reservations");
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
    fn an_intent_is_stale_when_it_was_seen_for_long_enough() {
        let (patience, start) = (Duration::from_secs(3), Instant::now());
        let mut watch = Watch::new(patience, vec![id(9)]);
        assert_eq!(watch.stale(vec![id(1), id(9)], start), [id(9)], "left by another process");
        let almost = start + patience - Duration::from_millis(1);
        assert_eq!(watch.stale(vec![id(1), id(2)], almost), []);
        assert_eq!(watch.stale(vec![id(1), id(2)], start + patience), [id(1)]);
        assert_eq!(watch.stale(vec![], start + patience), []);
        assert!(watch.seen.is_empty() && watch.left.is_empty(), "it remembers what is there");
        assert_eq!(watch.stale(vec![id(2)], start + patience * 9), [], "seen anew");
    }

    #[test]
    fn many_stale_intents_are_ended_in_pieces() {
        let many: Vec<_> = (0..1_200).map(id).collect();
        let mut watch = Watch::new(Duration::ZERO, vec![]);
        assert_eq!(watch.stale(many.clone(), Instant::now()), many[..BATCH]);
    }
}
