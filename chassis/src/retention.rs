//! What a service forgets after a while, in small pieces between its other work.

use crate::db::{Db, log_failure, now};
use crate::lease::Lease;
use crate::mailbox::{Chore, Chores};
use std::time::Duration;
use tracing::info;

/// Rows a piece: few enough that nobody who waits for the writer notices.
pub(crate) const PIECE: i64 = 500;
/// Between two pieces of the same work.
const REST: Duration = Duration::from_millis(100);
/// How often to look.
const LOOK: Duration = Duration::from_secs(10);

/// Rows that are of no use when they are old.
#[derive(Clone, Copy, Debug)]
pub struct Old {
    /// Where they are.
    pub table: &'static str,
    /// The column that names a row.
    pub key: &'static str,
    /// The column that says since when it is there, in milliseconds, with an index.
    pub since: &'static str,
    /// How long it is of use.
    pub after: Duration,
}

/// Marks of events that were handled. A copy comes within seconds, and after a group that lost its
/// offsets is put back by days; one that is older still finds its work done by the domain's own rules.
pub(crate) const INBOX: Old = Old {
    table: "inbox",
    key: "event_id",
    since: "handled_at",
    after: Duration::from_hours(14 * 24),
};

/// Forgets what is old, for ever. One replica at a time does it.
pub(crate) async fn run(old: Vec<Old>, db: Db, chores: Chores, mut lease: Lease) {
    db.ready().await;
    loop {
        for old in &old {
            if let Err(error) = forget(*old, &chores, &mut lease).await {
                log_failure(&error, "could not forget old rows; trying again later");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Forgets what is old in one table.
async fn forget(old: Old, chores: &Chores, lease: &mut Lease) -> anyhow::Result<()> {
    let before = now() - i64::try_from(old.after.as_millis())?;
    let mut all = 0;
    while lease.hold().await.is_some() {
        let rows = chores.ask(Chore::Forget { old, before }).await?;
        all += rows;
        if rows < PIECE {
            break;
        }
        tokio::time::sleep(REST).await;
    }
    if all > 0 {
        info!(table = old.table, rows = all, "forgot old rows");
    }
    Ok(())
}
