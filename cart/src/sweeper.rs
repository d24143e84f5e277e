//! Ends what a crash or an unknown outcome left behind.

use crate::app::CartsApp;
use crate::domain::Command;
use crate::store;
use chassis::Lease;
use chassis::db::{Dialect, log_failure, now};
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tracing::info;

/// How often to look.
const LOOK: Duration = Duration::from_millis(500);
/// How long an intent may be pending, on top of the budget of a reservation: its two commits.
const GRACE: Duration = Duration::from_secs(3);
/// Intents a round, and releases at once.
const BATCH: i64 = 500;
const AT_ONCE: usize = 16;

/// Abandons intents that nobody works on any more, and releases the stock of abandoned ones. One
/// replica at a time does it; that two do for a moment harms nothing.
///
/// Call it before the service takes requests: what a SQLite file holds by then is of a process that
/// is gone, and need not get older first.
pub fn run(app: CartsApp, mut lease: Lease, budget: Duration) -> impl Future<Output = ()> + Send {
    let age = i64::try_from((budget + GRACE).as_millis()).unwrap_or(i64::MAX);
    let orphaned = match app.db.dialect() {
        Dialect::Sqlite => now(),
        Dialect::Postgres => i64::MIN,
    };
    async move {
        app.db.ready().await;
        loop {
            let stale = orphaned.max(now() - age);
            if let Err(error) = round(&app, &mut lease, stale).await {
                log_failure(&error, "the sweeper failed; it goes on shortly");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn round(app: &CartsApp, lease: &mut Lease, stale: i64) -> anyhow::Result<()> {
    let stale = store::stale_intents(&app.db, stale, BATCH).await?;
    let abandoned = store::abandoned_intents(&app.db, BATCH).await?;
    if stale.is_empty() && abandoned.is_empty() || lease.hold().await.is_none() {
        return Ok(());
    }
    if !stale.is_empty() {
        info!(intents = stale.len(), "giving up intents that were left behind");
        let give_up = |reservation| (Command::GiveUp { reservation }, None);
        app.writer.ask_all(stale.into_iter().map(give_up)).await;
    }
    let released = stream::iter(abandoned)
        .map(|reservation| async move { (reservation, app.stock.release(reservation).await) })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |(reservation, released)| {
            released.then_some((Command::Forget { reservation }, None))
        })
        .collect::<Vec<_>>()
        .await;
    if !released.is_empty() {
        info!(reservations = released.len(), "gifticon let go of abandoned reservations");
        app.writer.ask_all(released).await;
    }
    Ok(())
}
