//! Work that one replica at a time may do.

use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand};
use crate::storage::{Db, Dialect, log_failure};
use sqlx::{Row, query};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The usual term: how long another replica's lease must be seen unchanged before it is taken. The holder renews it, when it
/// has work, after half of that. Both measure by their own monotonic clocks.
pub(crate) const TERM: Duration = Duration::from_secs(3);

/// The right to do a piece of work, taken when there is work and let go by not renewing it.
///
/// Two replicas may believe to hold it for a moment, when one was stopped and resumed: whatever must
/// not happen then is checked against the epoch in the transaction that does it.
#[derive(Debug)]
pub struct Lease {
    name: &'static str,
    holder: String,
    db: Db,
    housekeeping: Housekeeper,
    term: Duration,
    /// How long another's lease must be seen unchanged.
    expires_after: Duration,
    /// The epoch, and when this replica asked for it.
    held: Option<(i64, Instant)>,
    /// How often another's lease was renewed, and when this replica saw that first.
    seen: Option<(i64, Instant)>,
}

impl Lease {
    /// A lease for whoever calls [`Lease::hold`] at least once in half of `term` while it has work.
    pub(crate) fn new(
        name: &'static str,
        db: &Db,
        housekeeping: Housekeeper,
        term: Duration,
    ) -> Self {
        let expires_after = match db.dialect() {
            Dialect::Sqlite => Duration::ZERO, // one process: the holder from before is gone
            Dialect::Postgres => term,
        };
        let holder = Uuid::new_v4().to_string();
        Self {
            name,
            holder,
            db: db.clone(),
            housekeeping,
            term,
            expires_after,
            held: None,
            seen: None,
        }
    }

    /// Takes or renews the lease, and returns its epoch; none where another replica has it.
    pub async fn hold(&mut self) -> Option<i64> {
        if self.held.is_none_or(|(_, asked)| asked.elapsed() >= self.term / 2) {
            self.held = self.take().await.unwrap_or_else(|error| {
                log_failure(&error, "could not take a lease");
                None
            });
        }
        self.held.map(|(epoch, _)| epoch)
    }

    async fn take(&mut self) -> anyhow::Result<Option<(i64, Instant)>> {
        let lease = query("select holder, renewals from leases where name = $1").bind(self.name);
        let renewals = match self.db.fetch_optional(lease).await? {
            None => 0,
            Some(row) => {
                let (holder, renewals) = (row.try_get::<String, _>(0)?, row.try_get(1)?);
                if holder != self.holder && !self.has_expired(renewals) {
                    return Ok(None);
                }
                renewals
            }
        };
        let asked = Instant::now(); // trusted from here: others see the renewal later than this
        let lease =
            HousekeepingCommand::Lease { name: self.name, holder: self.holder.clone(), renewals };
        let epoch = self.housekeeping.execute(lease).await?;
        Ok((epoch > 0).then_some((epoch, asked)))
    }

    /// Whether another's lease was not renewed for a term, as far as this replica has seen.
    fn has_expired(&mut self, renewals: i64) -> bool {
        let since = match self.seen {
            Some((same, since)) if same == renewals => since,
            _ => Instant::now(),
        };
        self.seen = Some((renewals, since));
        since.elapsed() >= self.expires_after
    }
}
