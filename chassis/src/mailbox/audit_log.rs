//! The way to the audit log for what is no command of a service's rules.

use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand};
use crate::model::AuditedChange;
use common_events::Owner;

/// The way to the audit log for what is no command of the service's rules. Clones go to the same one.
#[derive(Clone, Debug)]
pub struct AuditLog(Housekeeper);

impl AuditLog {
    pub(crate) fn new(housekeeping: Housekeeper) -> Self {
        Self(housekeeping)
    }

    /// Adds what `actor` is about to do. Returns when it is durable.
    pub async fn record(&self, actor: &Owner, change: AuditedChange) -> anyhow::Result<()> {
        let record = HousekeepingCommand::Record { actor: actor.clone(), change };
        self.0.execute(record).await?;
        Ok(())
    }
}
