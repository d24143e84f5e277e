//! The outbox: events are written in the transaction of the state that they report, and deleted once the broker has them.
//!
//! The events of a transaction share a row, since they are written, sent and deleted together.

use crate::base::clock::now;
use crate::base::trace::Trace;
use crate::storage::{Db, Statement, Tx};
use chrono::DateTime;
use common_events::{Envelope, Event};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::any::AnyRow;
use sqlx::{Row as _, query};
use uuid::Uuid;

/// Events in one row at most. More events take more rows.
const EVENTS_PER_ROW: usize = 100;

/// An event in the outbox: the content of its message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OutboxEvent {
    /// The id of the event, the same on every send.
    pub(crate) id: String,
    pub(crate) event_type: String,
    /// Events of one key stay in order.
    pub(crate) key: String,
    pub(crate) traceparent: Option<String>,
    /// The JSON text, sent unchanged.
    pub(crate) payload: Box<RawValue>,
}

/// A row of the outbox: events that are sent and deleted together.
#[derive(Debug)]
pub(crate) struct OutboxRow {
    pub(crate) seq: i64,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
    pub(crate) events: Vec<OutboxEvent>,
}

/// Appends events in order, before the commit of `tx`.
pub(crate) fn append(tx: &mut Tx<'_>, events: &[(Event, Option<Trace>)]) -> anyhow::Result<()> {
    let created_at = now();
    let occurred_at = DateTime::from_timestamp_millis(created_at).unwrap_or_default();
    let outbox_event = |(event, trace): &(Event, Option<Trace>)| {
        let id = Uuid::now_v7();
        let envelope = Envelope::new(event.clone(), id, occurred_at);
        Ok(OutboxEvent {
            id: id.to_string(),
            event_type: envelope.event.event_type().to_owned(),
            key: envelope.event.key(),
            traceparent: trace.map(|trace| trace.to_string()),
            payload: RawValue::from_string(envelope.to_json())?,
        })
    };
    for piece in events.chunks(EVENTS_PER_ROW) {
        let row = piece.iter().map(outbox_event).collect::<serde_json::Result<Vec<_>>>()?;
        insert(tx, created_at, &row)?;
    }
    Ok(())
}

/// Writes a row, before the commit of `tx`. `created_at` is in milliseconds since 1970.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    created_at: i64,
    events: &[OutboxEvent],
) -> anyhow::Result<()> {
    let (size, text) = (i64::try_from(events.len())?, serde_json::to_string(events)?);
    let row = Statement::new("insert into outbox (size, created_at, events) values ($1, $2, $3)");
    tx.later(row.number(size).number(created_at).text(text));
    Ok(())
}

/// Returns the oldest rows, in order: as many as it takes for `max_events` events.
pub(crate) async fn oldest(db: &Db, max_events: i64) -> anyhow::Result<Vec<OutboxRow>> {
    // The sizes are summed first, so that no more text is read than is sent. Each row holds an event at least, so `max_events`
    // rows suffice. Without `+ 0`, SQLite would prepare the statement again for each value of the limit.
    let rows = query(
        "select seq, created_at, events from outbox where seq in (\
             select seq from (\
                 select seq, sum(size) over (order by seq) - size as before from \
                     (select seq, size from outbox order by seq limit $1 + 0) first\
             ) sums where before < $1\
         ) order by seq",
    );
    let outbox_row = |row: AnyRow| -> anyhow::Result<OutboxRow> {
        let events = serde_json::from_str(row.try_get(2)?)?;
        Ok(OutboxRow { seq: row.try_get(0)?, created_at: row.try_get(1)?, events })
    };
    let rows = db.fetch_all(rows.bind(max_events)).await?;
    rows.into_iter().map(outbox_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Schema;
    use crate::testing::TestDb;

    crate::on_each_database!(rows_are_read_until_they_have_enough_events);

    async fn rows_are_read_until_they_have_enough_events(test: TestDb) {
        let db = test.open(&Schema::new(&[])).await;
        let event = |id: usize| OutboxEvent {
            id: id.to_string(),
            event_type: "CartAdded".into(),
            key: "1".into(),
            traceparent: None,
            payload: RawValue::from_string("{}".into()).unwrap(),
        };
        let mut tx = db.begin().await.unwrap();
        for size in [3, 2, 1, 9] {
            insert(&mut tx, 0, &(0..size).map(event).collect::<Vec<_>>()).unwrap();
        }
        tx.commit().await.unwrap();
        for (max_events, rows) in [(1, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 4), (100, 4)] {
            assert_eq!(oldest(&db, max_events).await.unwrap().len(), rows, "{max_events} events");
        }
    }
}
