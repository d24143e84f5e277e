//! Work that one replica at a time may do.

use crate::db::{Db, Dialect, log_failure, now};
use crate::mailbox::{Chore, Chores};
use uuid::Uuid;

/// How long a lease holds, in milliseconds. A replica that dies is missed for no longer.
const TERM: i64 = 3_000;

/// The right to do a piece of work, taken when there is work and let go by not renewing it.
///
/// Two replicas may believe to hold it for a moment, when one was stopped and resumed: whatever must
/// not happen then is checked against the epoch in the transaction that does it.
#[derive(Debug)]
pub struct Lease {
    name: &'static str,
    holder: String,
    chores: Chores,
    /// A SQLite file has one process: what an earlier one held is free.
    seize: bool,
    held: Option<(i64, i64)>,
}

impl Lease {
    pub(crate) fn new(name: &'static str, db: &Db, chores: Chores) -> Self {
        let seize = db.dialect() == Dialect::Sqlite;
        Self { name, holder: Uuid::new_v4().to_string(), chores, seize, held: None }
    }

    /// Takes or renews the lease, and answers its epoch; none where another replica has it.
    pub async fn hold(&mut self) -> Option<i64> {
        let at = now();
        if let Some((epoch, until)) = self.held
            && until - at > TERM / 2
        {
            return Some(epoch);
        }
        let until = at + TERM;
        let lease =
            Chore::Lease { name: self.name, holder: self.holder.clone(), until, seize: self.seize };
        self.held = match self.chores.ask(lease).await {
            Ok(0) => None,
            Ok(epoch) => Some((epoch, until)),
            Err(error) => {
                log_failure(&error, "could not take a lease");
                None
            }
        };
        self.held.map(|(epoch, _)| epoch)
    }
}
