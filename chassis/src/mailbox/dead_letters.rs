//! The dead-letter table, `parked`: events that could not be handled wait in it for an operator.

use crate::base::clock::now;
use crate::base::trace::TRACEPARENT;
use crate::bus::{Delivery, TopicPosition};
use crate::mailbox::message::{IncomingEvent, OUTBOX_PLACE, Rejection};
use crate::storage::{Db, Tx};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row, query};
use std::fmt::Write;

/// A parked event as shown to an operator.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParkedEvent {
    /// The number of its row, which names it in the management routes.
    pub id: i64,
    /// The id of the event, the same on every delivery.
    pub event_id: String,
    /// The key of the message.
    pub key: Option<String>,
    /// True if later events of the key wait behind it.
    pub holds_key: bool,
    /// `PARTITION:OFFSET`, or `outbox` for an event that the broker refused.
    pub place: String,
    /// The payload of the message, as text.
    pub payload: String,
    /// Why it was parked.
    pub reason: String,
    /// When it was parked, in milliseconds since 1970.
    pub parked_at: i64,
    /// How long ago that was, in seconds.
    pub age_seconds: i64,
}

/// Parks events, each once however often it is delivered. Two events with the same id but different content are both parked.
pub(crate) async fn park<C>(
    tx: &mut Tx<'_>,
    events: &[(&IncomingEvent<C>, Rejection)],
) -> anyhow::Result<()> {
    for (incoming, rejection) in events {
        let delivery = &incoming.delivery;
        // A repeat of a parked event keeps the first reason.
        query(
            "insert into parked (event_id, key, place, payload, traceparent, at, reason, parked_at, digest, holds_key) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             on conflict (event_id, digest) do nothing",
        )
        .bind(incoming.id.as_str())
        .bind(delivery.key.as_deref())
        .bind(delivery.position.to_string())
        .bind(delivery.payload.as_deref().unwrap_or_default())
        .bind(incoming.trace.map(|trace| trace.to_string()))
        .bind(delivery.timestamp)
        .bind(rejection.reason.as_str())
        .bind(now())
        .bind(digest(delivery))
        .bind(i64::from(rejection.holds_key))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Returns the digest of a message: the first 128 bits of the SHA-256 of its key and its value, in hex.
pub(crate) fn digest(delivery: &Delivery) -> String {
    let key = delivery.key.as_deref().unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update((key.len() as u64).to_be_bytes()); // otherwise "ab" + "c" would equal "a" + "bc"
    hasher.update(key);
    hasher.update(delivery.payload.as_deref().unwrap_or_default());
    hasher.finalize().iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Deletes events that were handled.
pub(crate) async fn unpark(tx: &mut Tx<'_>, ids: &[i64]) -> anyhow::Result<()> {
    for id in ids {
        query("delete from parked where id = $1").bind(*id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Returns up to `max` parked events, oldest first.
pub(crate) async fn list(db: &Db, max: i64) -> anyhow::Result<Vec<ParkedEvent>> {
    let oldest = query(
        "select id, event_id, key, place, payload, reason, parked_at, holds_key from parked order by id limit $1",
    );
    let rows = db.fetch_all(oldest.bind(max)).await?;
    let parked = |row: AnyRow| -> anyhow::Result<ParkedEvent> {
        let parked_at: i64 = row.try_get(6)?;
        Ok(ParkedEvent {
            id: row.try_get(0)?,
            event_id: row.try_get(1)?,
            key: row.try_get(2)?,
            place: row.try_get(3)?,
            payload: String::from_utf8_lossy(row.try_get::<&[u8], _>(4)?).into_owned(),
            reason: row.try_get(5)?,
            parked_at,
            holds_key: row.try_get::<i64, _>(7)? == 1,
            age_seconds: (now() - parked_at).max(0) / 1000,
        })
    };
    rows.into_iter().map(parked).collect()
}

/// A parked event with all that its replay needs.
pub(crate) struct ReplayableEvent {
    pub(crate) row: i64,
    pub(crate) event_id: String,
    pub(crate) from_outbox: bool,
    /// True if others of its key wait behind it.
    pub(crate) holds_key: bool,
    pub(crate) delivery: Delivery,
}

/// Parked events that are read at once. Each may be a megabyte, the largest size of a message.
const PAGE_SIZE: i64 = 200;

/// Selects parked events.
pub(crate) enum Selection {
    /// All parked events.
    All,
    /// The event in this row, and the others of its key.
    Row(i64),
    /// The events of a key.
    Key(String),
}

impl Selection {
    /// Returns the condition on rows of `parked`, with `$2` for its value.
    fn condition(&self) -> &'static str {
        match self {
            Self::All => "",
            Self::Row(_) => "and (id = $2 or key = (select key from parked where id = $2))",
            Self::Key(_) => "and key = $2",
        }
    }
}

/// Returns how many events are selected.
pub(crate) async fn count(db: &Db, selection: &Selection) -> anyhow::Result<u64> {
    let condition = selection.condition();
    let count = format!("select count(*) from parked where id > $1 {condition}");
    let count = query(AssertSqlSafe(count)).bind(0_i64);
    let rows = db.fetch_all(match selection {
        Selection::All => count,
        Selection::Row(row) => count.bind(*row),
        Selection::Key(key) => count.bind(key.as_str()),
    });
    let count: i64 = rows.await?.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(count.max(0).cast_unsigned())
}

/// Returns the selected events in the order in which they were parked: the first [`PAGE_SIZE`] of them after the row `after`.
pub(crate) async fn page(
    db: &Db,
    selection: &Selection,
    after: i64,
) -> anyhow::Result<Vec<ReplayableEvent>> {
    let condition = selection.condition();
    let select = query(AssertSqlSafe(format!(
        "select id, event_id, key, place, payload, traceparent, at, holds_key from parked \
         where id > $1 {condition} order by id limit {PAGE_SIZE}"
    )));
    let select = select.bind(after);
    let rows = db.fetch_all(match selection {
        Selection::All => select,
        Selection::Row(row) => select.bind(*row),
        Selection::Key(key) => select.bind(key.as_str()),
    });
    let rows = rows.await?;
    let event = |row: AnyRow| -> anyhow::Result<ReplayableEvent> {
        let place: String = row.try_get(3)?;
        let (partition, offset) = place.split_once(':').unwrap_or_default();
        let trace: Option<String> = row.try_get(5)?;
        Ok(ReplayableEvent {
            row: row.try_get(0)?,
            event_id: row.try_get(1)?,
            from_outbox: place == OUTBOX_PLACE,
            holds_key: row.try_get::<i64, _>(7)? == 1,
            delivery: Delivery {
                position: TopicPosition {
                    partition: partition.parse().unwrap_or_default(),
                    offset: offset.parse().unwrap_or_default(),
                },
                key: row.try_get(2)?,
                payload: Some(row.try_get::<Vec<u8>, _>(4)?.into()),
                headers: trace.map(|trace| (TRACEPARENT.to_string(), trace)).into_iter().collect(),
                timestamp: row.try_get(6)?,
            },
        })
    };
    rows.into_iter().map(event).collect()
}
