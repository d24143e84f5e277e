//! Events on their way in: which of them are new, which are repeats, which must wait.

use crate::mailbox::message::{Incoming, OUTBOX, Rejection};
use crate::storage::{Tx, rows};
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, query};
use std::collections::HashSet;

/// The events of a batch by what becomes of them.
pub(crate) struct Sorted<'a, C> {
    /// To be acted on.
    pub(crate) fresh: Vec<&'a Incoming<C>>,
    /// To be parked, each with its reason.
    pub(crate) park: Vec<(&'a Incoming<C>, Rejection)>,
    /// Rows of the parking place that are dealt with.
    pub(crate) unpark: Vec<i64>,
    /// How many were acted on before.
    pub(crate) repeated: usize,
}

/// Sorts the events, and marks those to be acted on as handled.
///
/// What follows a parked event under its key is parked behind it, so that it is not acted on out of
/// order. A replayed event does not wait for itself.
pub(crate) async fn sort<'a, C>(
    tx: &mut Tx<'_>,
    events: &[&'a Incoming<C>],
) -> anyhow::Result<Sorted<'a, C>> {
    let mut sorted =
        Sorted { fresh: Vec::new(), park: Vec::new(), unpark: Vec::new(), repeated: 0 };
    if events.is_empty() {
        return Ok(sorted);
    }
    let mut stopped: HashSet<String> = HashSet::new();
    // What the broker refused is on its way out: its key says nothing about what comes in.
    let keys =
        "select distinct key from parked where key is not null and place <> $1 and holds_key = 1";
    for row in query(keys).bind(OUTBOX).fetch_all(&mut **tx).await? {
        stopped.insert(row.try_get(0)?);
    }
    let mut candidates = Vec::new();
    for &incoming in events.iter().filter(|incoming| incoming.matters()) {
        let key = incoming.delivery.key.as_ref();
        match &incoming.meaning {
            Err(rejection) => {
                stopped.extend(key.filter(|_| rejection.holds_key).cloned());
                sorted.park.push((incoming, rejection.clone()));
            }
            Ok(_) if incoming.parked.is_none() && key.is_some_and(|key| stopped.contains(key)) => {
                let reason = "waits behind another event of its key".to_owned();
                sorted.park.push((incoming, Rejection { reason, holds_key: true }));
            }
            Ok(_) => candidates.push(incoming),
        }
    }
    sorted.unpark = candidates.iter().filter_map(|incoming| incoming.parked).collect();
    let mut known = handled(tx, &candidates).await?;
    let all = candidates.len();
    // An id is known once it is met: a repeat in the same batch is a repeat.
    sorted.fresh =
        candidates.into_iter().filter(|incoming| known.insert(incoming.id.clone())).collect();
    mark(tx, &sorted.fresh)?;
    sorted.repeated = all - sorted.fresh.len();
    Ok(sorted)
}

/// Those of the events that were handled before.
async fn handled<C>(tx: &mut Tx<'_>, events: &[&Incoming<C>]) -> sqlx::Result<HashSet<String>> {
    #[derive(Deserialize)]
    struct Mark {
        event_id: String,
    }
    let ids: Vec<&str> = events.iter().map(|incoming| incoming.id.as_str()).collect();
    let of = |among: &str| format!("from inbox where event_id {among}");
    let marks: Vec<Mark> = rows::look_up(tx, &ids, "event_id", of).await?;
    Ok(marks.into_iter().map(|mark| mark.event_id).collect())
}

/// Marks events as handled. One that another replica marks meanwhile fails the batch, which then finds it.
fn mark<C>(tx: &mut Tx<'_>, events: &[&Incoming<C>]) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        event_id: &'a str,
    }
    let marks = events.iter().map(|incoming| Row { event_id: &incoming.id });
    rows::insert_stamped(tx, "inbox", &marks.collect::<Vec<_>>(), "")
}
