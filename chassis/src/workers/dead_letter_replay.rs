//! Replays events of the dead-letter table, from the management routes.

use crate::base::progress::Progress;
use crate::mailbox::dead_letters::{self, ReplayableEvent, Selection};
use crate::mailbox::housekeeping::{Housekeeper, HousekeepingCommand};
use crate::storage::Db;
use crate::workers::consumer::{EventHandler, Policy};
use async_trait::async_trait;
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;

/// Replays parked events, whatever the policy of the service.
#[async_trait]
pub(crate) trait Replay: Send + Sync {
    /// Handles the event in row `id` and the others of its key in order, and all events if `id` is `None`. Returns `None` if
    /// there is no such row. An event that fails again stays.
    async fn replay(&self, id: Option<i64>) -> anyhow::Result<Option<Replayed>>;
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Replayed {
    /// Events that were handled.
    pub(crate) replayed: usize,
    /// Events that it was about and that are still parked, because they or others before them failed again.
    pub(crate) left: u64,
}

/// Replays parked events through a policy.
pub(crate) struct DeadLetterReplay<P: Policy> {
    pub(crate) handler: Arc<EventHandler<P>>,
    pub(crate) db: Db,
    pub(crate) housekeeping: Housekeeper,
}

#[async_trait]
impl<P: Policy> Replay for DeadLetterReplay<P> {
    async fn replay(&self, id: Option<i64>) -> anyhow::Result<Option<Replayed>> {
        let mut selection = id.map_or(Selection::All, Selection::Row);
        let mut replayed = 0;
        let total = dead_letters::count(&self.db, &selection).await?;
        let progress = Progress::new("replaying parked events");
        let reached = |done: usize| progress.reached(done as u64, total.max(done as u64));
        reached(0);
        loop {
            // The row is gone after the first round. Later rounds find events that were parked meanwhile by their key.
            if let Selection::Row(_) = selection {
                let page = dead_letters::page(&self.db, &selection, 0).await?;
                let Some(first) = page.first() else { return Ok(None) };
                let Some(key) = first.delivery.key.clone() else {
                    replayed = self.round(&selection, true, &reached).await?;
                    break;
                };
                selection = Selection::Key(key);
            }
            // Events from the outbox are sent in the first round only: the broker may refuse them again.
            let before = replayed;
            let handled =
                self.round(&selection, before == 0, &|done| reached(before + done)).await?;
            if handled == 0 {
                break;
            }
            replayed += handled;
        }
        let left = dead_letters::count(&self.db, &selection).await?;
        Ok(Some(Replayed { replayed, left }))
    }
}

impl<P: Policy> DeadLetterReplay<P> {
    /// Handles parked events in order, those from the outbox only if `with_outbox`. Tells `reached` how many it came by, and
    /// returns how many were handled.
    async fn round(
        &self,
        selection: &Selection,
        with_outbox: bool,
        reached: &(dyn Fn(usize) + Sync),
    ) -> anyhow::Result<usize> {
        let (mut handled, mut seen, mut after) = (0, 0, 0);
        let mut held_keys: HashSet<String> = HashSet::new();
        loop {
            let page = dead_letters::page(&self.db, selection, after).await?;
            let Some(last) = page.last() else { return Ok(handled) };
            after = last.row;
            for event in page.into_iter().filter(|event| with_outbox || !event.from_outbox) {
                seen += 1;
                reached(seen);
                let key = event.delivery.key.clone().filter(|_| event.holds_key);
                if key.as_ref().is_some_and(|key| held_keys.contains(key)) {
                    continue; // it waits behind one that failed again
                }
                if self.handle(event).await? {
                    handled += 1;
                } else {
                    held_keys.extend(key);
                }
            }
        }
    }

    /// Handles a parked event. Returns false if it failed again.
    async fn handle(&self, parked: ReplayableEvent) -> anyhow::Result<bool> {
        if parked.from_outbox {
            let send_again = HousekeepingCommand::SendAgain { parked: parked.row };
            self.housekeeping.execute(send_again).await?;
            return Ok(true);
        }
        let mut event = self.handler.read("", Arc::new(parked.delivery));
        (event.id, event.parked) = (parked.event_id, Some(parked.row));
        if !event.matters() {
            self.housekeeping
                .execute(HousekeepingCommand::Discard { parked: parked.row, given_up: None })
                .await?;
            return Ok(true);
        }
        Ok(event.meaning.is_ok() && self.handler.apply(event).await)
    }
}
