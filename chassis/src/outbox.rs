//! Events on their way out: written with the state that they tell of, gone when the broker has them.
//!
//! The events of one transaction are one row, for they are written, sent and deleted together.

use crate::db::{Db, Statement, Tx, now};
use crate::telemetry::Trace;
use chrono::DateTime;
use common_events::{Envelope, Event};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::any::AnyRow;
use sqlx::{Row as _, query};
use uuid::Uuid;

/// Events in one row. More are more rows.
const ROW: usize = 100;
/// Rows that are looked at to find those that are read.
const LOOK: i64 = 1_000;

/// An event in the outbox: all that its message is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    /// The same on every send.
    pub(crate) id: String,
    pub(crate) event_type: String,
    /// Events of one key stay in order.
    pub(crate) key: String,
    pub(crate) traceparent: Option<String>,
    /// JSON, to the letter.
    pub(crate) payload: Box<RawValue>,
}

/// A row: events that are sent and deleted together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) seq: i64,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
    pub(crate) events: Vec<Outgoing>,
}

/// Appends events in order, in the transaction of their cause.
pub(crate) fn append(tx: &mut Tx<'_>, events: &[(Event, Option<&Trace>)]) -> anyhow::Result<()> {
    let at = now();
    let occurred_at = DateTime::from_timestamp_millis(at).unwrap_or_default();
    let outgoing = |(event, trace): &(Event, Option<&Trace>)| {
        let id = Uuid::now_v7();
        let envelope = Envelope::new(event.clone(), id, occurred_at);
        Ok(Outgoing {
            id: id.to_string(),
            event_type: envelope.event.event_type().to_owned(),
            key: envelope.event.key(),
            traceparent: trace.map(|trace| trace.as_str().to_owned()),
            payload: RawValue::from_string(envelope.to_json())?,
        })
    };
    for piece in events.chunks(ROW) {
        let batch = piece.iter().map(outgoing).collect::<serde_json::Result<Vec<_>>>()?;
        insert(tx, at, &batch)?;
    }
    Ok(())
}

/// Writes a row of events that are made already, before the commit.
pub(crate) fn insert(tx: &mut Tx<'_>, at: i64, events: &[Outgoing]) -> anyhow::Result<()> {
    let (size, text) = (i64::try_from(events.len())?, serde_json::to_string(events)?);
    let row = Statement::new("insert into outbox (size, created_at, events) values ($1, $2, $3)");
    tx.later(row.number(size).number(at).text(text));
    Ok(())
}

/// The oldest rows, until they have `most` events, and one at least.
pub(crate) async fn oldest(db: &Db, most: i64) -> anyhow::Result<Vec<Batch>> {
    // How many they hold is summed up first, so that no more text is read than is sent. And `+ 0`, or SQLite
    // would prepare the statement anew for every value of the limit.
    let rows = query(
        "select seq, created_at, events from outbox where seq in (\
             select seq from (\
                 select seq, sum(size) over (order by seq) - size as before from \
                     (select seq, size from outbox order by seq limit $1 + 0) first\
             ) sums where before < $2\
         ) order by seq",
    );
    let batch = |row: AnyRow| -> anyhow::Result<Batch> {
        let events = serde_json::from_str(row.try_get(2)?)?;
        Ok(Batch { seq: row.try_get(0)?, created_at: row.try_get(1)?, events })
    };
    let rows = rows.bind(LOOK).bind(most).fetch_all(db.reader()).await?;
    rows.into_iter().map(batch).collect()
}
