//! Events on their way out: written with the state that they tell of, gone when the broker has them.

use crate::db::{Tx, now};
use crate::rows;
use crate::telemetry::Trace;
use chrono::DateTime;
use common_events::{Envelope, Event};
use serde::Serialize;
use uuid::Uuid;

#[derive(Serialize)]
struct Row<'a> {
    event_id: Uuid,
    event_type: &'static str,
    key: String,
    payload: String,
    traceparent: Option<&'a str>,
    created_at: i64,
}

/// Appends events in order, in the transaction of their cause.
pub(crate) fn append(tx: &mut Tx<'_>, events: Vec<(Event, Option<&Trace>)>) -> sqlx::Result<()> {
    let at = now();
    let occurred_at = DateTime::from_timestamp_millis(at).unwrap_or_default();
    let rows = events.into_iter().map(|(event, trace)| {
        let event_id = Uuid::now_v7();
        let envelope = Envelope::new(event, event_id, occurred_at);
        Row {
            event_id,
            event_type: envelope.event.event_type(),
            key: envelope.event.key(),
            payload: envelope.to_json(),
            traceparent: trace.map(Trace::as_str),
            created_at: at,
        }
    });
    rows::insert(tx, "outbox", &rows.collect::<Vec<_>>(), "")
}
