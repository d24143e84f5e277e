//! Leases: work that only one replica at a time does.

use crate::base::limits::renewal_age;
use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand};
use crate::storage::{Db, Dialect, log_failure};
use sqlx::{Row, query};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The right to do a piece of work. A replica takes it when there is work, and loses it by not renewing it.
///
/// Another replica takes the lease after it has seen it unchanged for a term. Each replica measures by its own monotonic
/// clock. For a moment two replicas may believe that they hold the lease, when one was stopped and resumed: a transaction that
/// needs the lease compares its epoch.
#[derive(Debug)]
pub struct Lease {
    name: &'static str,
    holder: String,
    db: Db,
    housekeeping: Housekeeper,
    term: Duration,
    /// How long the lease of another replica must be seen unchanged before it is taken.
    expires_after: Duration,
    /// The epoch of this replica, and when it was requested.
    held: Option<(i64, Instant)>,
    /// The renewals of the lease of another replica, and when this replica first saw that number.
    seen: Option<(i64, Instant)>,
}

impl Lease {
    /// Returns a lease. While there is work, call [`Lease::hold`] at least every [`renewal_age`].
    pub(crate) fn new(
        name: &'static str,
        db: &Db,
        housekeeping: Housekeeper,
        term: Duration,
    ) -> Self {
        let expires_after = match db.dialect() {
            Dialect::Sqlite => Duration::ZERO, // there is one process, so a former holder is gone
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

    /// Takes or renews the lease. Returns its epoch, or `None` if another replica has it.
    pub async fn hold(&mut self) -> Option<i64> {
        if self
            .held
            .is_none_or(|(_, requested_at)| requested_at.elapsed() >= renewal_age(self.term))
        {
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
        let requested_at = Instant::now(); // other replicas see the renewal later than this
        let lease =
            HousekeepingCommand::Lease { name: self.name, holder: self.holder.clone(), renewals };
        let epoch = self.housekeeping.execute(lease).await?;
        Ok((epoch > 0).then_some((epoch, requested_at)))
    }

    /// True if this replica has seen the lease of another one unchanged for a term.
    fn has_expired(&mut self, renewals: i64) -> bool {
        let since = match self.seen {
            Some((same, since)) if same == renewals => since,
            _ => Instant::now(),
        };
        self.seen = Some((renewals, since));
        since.elapsed() >= self.expires_after
    }
}
