//! Events on their way out: written with the state that they tell of, gone when the broker has them.

use crate::db::{Tx, now};
use crate::places::{Places, pieces};
use crate::telemetry::Trace;
use chrono::DateTime;
use common_events::{Envelope, Event};
use sqlx::{AssertSqlSafe, query};
use uuid::Uuid;

/// Appends events in order, in the transaction of their cause.
pub(crate) async fn append(
    tx: &mut Tx,
    events: Vec<(Event, Option<&Trace>)>,
) -> anyhow::Result<()> {
    let at = now();
    let occurred_at = DateTime::from_timestamp_millis(at).unwrap_or_default();
    let rows: Vec<_> = events
        .into_iter()
        .map(|(event, trace)| {
            let event_id = Uuid::now_v7();
            (Envelope::new(event, event_id, occurred_at), event_id, trace)
        })
        .collect();
    for piece in pieces(&rows) {
        let into = "insert into outbox (event_id, event_type, key, payload, traceparent, created_at) values ";
        let rows = Places::of(tx).rows(piece.len(), 6);
        let mut insert = query(AssertSqlSafe(format!("{into}{rows}")));
        for (envelope, event_id, trace) in piece {
            insert = insert
                .bind(event_id.to_string())
                .bind(envelope.event.event_type())
                .bind(envelope.event.key())
                .bind(envelope.to_json())
                .bind(trace.map(Trace::as_str))
                .bind(at);
        }
        insert.execute(&mut **tx).await?;
    }
    Ok(())
}
