//! The inbox: tells new events from repeats, and parks those that cannot be handled.

use crate::mailbox::message::{IncomingEvent, OUTBOX_PLACE, Rejection};
use crate::storage::{Read, Reads, Statement, Tx, rows};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// The events of a batch, by what is to be done about them.
pub(crate) struct SortedEvents<'a, C> {
    /// New events to handle.
    pub(crate) fresh: Vec<&'a IncomingEvent<C>>,
    /// Events to park, each with the reason.
    pub(crate) park: Vec<(&'a IncomingEvent<C>, Rejection)>,
    /// Rows of the dead-letter table (`parked`) whose events are handled in this batch.
    pub(crate) unpark: Vec<i64>,
    /// How many were handled before.
    pub(crate) repeated: usize,
}

/// Sorts events, each of which [matters](IncomingEvent::matters), and marks the new ones as handled.
///
/// An event whose key has a parked event is parked behind it, so that the events of a key are handled in order. A replayed
/// event does not wait for itself.
pub(crate) async fn sort<'a, C>(
    tx: &mut Tx<'_>,
    events: &[&'a IncomingEvent<C>],
) -> anyhow::Result<SortedEvents<'a, C>> {
    let mut sorted =
        SortedEvents { fresh: Vec::new(), park: Vec::new(), unpark: Vec::new(), repeated: 0 };
    if events.is_empty() {
        return Ok(sorted);
    }
    let mut reads = Reads::of(tx);
    // An event from the outbox holds no key back: incoming events do not depend on it.
    let keys = "from parked where key is not null and place <> $1 and holds_key = 1 group by key";
    let held_keys: Read<HeldKey> = reads.select("key", Statement::new(keys).text(OUTBOX_PLACE));
    let readable = events.iter().filter(|event| event.meaning.is_ok());
    let ids: Vec<&str> = readable.map(|event| event.id.as_str()).collect();
    let from = |in_ids: &str| format!("from inbox where event_id {in_ids}");
    let marks: Read<Mark> = reads.look_up(&ids, "event_id", from)?;
    let found = reads.run(tx).await?;
    let held_keys = found.of(&held_keys)?.into_iter().map(|held| held.key);
    let mut held_keys: HashSet<String> = held_keys.collect();
    let handled = found.of(&marks)?.into_iter().map(|mark| mark.event_id);
    let mut handled: HashSet<String> = handled.collect();
    let mut candidates = Vec::new();
    for &incoming in events {
        let key = incoming.delivery.key.as_ref();
        match &incoming.meaning {
            Err(rejection) => {
                held_keys.extend(key.filter(|_| rejection.holds_key).cloned());
                sorted.park.push((incoming, rejection.clone()));
            }
            Ok(_)
                if incoming.parked.is_none() && key.is_some_and(|key| held_keys.contains(key)) =>
            {
                let reason = "waits behind another event of its key".to_owned();
                sorted.park.push((incoming, Rejection { reason, holds_key: true }));
            }
            Ok(_) => candidates.push(incoming),
        }
    }
    sorted.unpark = candidates.iter().filter_map(|incoming| incoming.parked).collect();
    let candidate_count = candidates.len();
    // `insert` also recognises repeats within the batch.
    sorted.fresh =
        candidates.into_iter().filter(|incoming| handled.insert(incoming.id.clone())).collect();
    mark(tx, &sorted.fresh)?;
    sorted.repeated = candidate_count - sorted.fresh.len();
    Ok(sorted)
}

/// A key with a parked event.
#[derive(Debug, Deserialize)]
struct HeldKey {
    key: String,
}

/// A mark in the inbox.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    event_id: String,
}

/// Marks events as handled. If another replica marks one at the same time, the batch fails, and its retry finds the mark.
fn mark<C>(tx: &mut Tx<'_>, events: &[&IncomingEvent<C>]) -> sqlx::Result<()> {
    let marks = events.iter().map(|incoming| Mark { event_id: incoming.id.clone() });
    rows::insert_stamped(tx, "inbox", "event_id", &marks.collect::<Vec<_>>(), "")
}
