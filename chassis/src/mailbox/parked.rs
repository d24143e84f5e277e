//! Where events wait that could not be handled, in sight of an operator.

use crate::base::clock::now;
use crate::base::trace::{TRACEPARENT, Trace};
use crate::bus::{Delivery, TopicPosition};
use crate::mailbox::message::{Incoming, OUTBOX, Rejection};
use crate::storage::{Db, Tx};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row, query};
use std::fmt::Write;

/// A parked event, as an operator sees it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Parked {
    /// Names it for replay.
    pub id: i64,
    /// The same on every delivery.
    pub event_id: String,
    /// The key of the message.
    pub key: Option<String>,
    /// Whether later events of the key wait behind it.
    pub holds_key: bool,
    /// Partition and offset, or `outbox` for one that the broker refused.
    pub place: String,
    /// What the message says, shown as text.
    pub payload: String,
    /// Why it is here.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub parked_at: i64,
    /// For how long, in seconds.
    pub age_seconds: i64,
}

/// Parks events, each once however often it comes. Two events that a producer gave one id are two.
pub(crate) async fn park<C>(
    tx: &mut Tx<'_>,
    events: &[(&Incoming<C>, Rejection)],
) -> anyhow::Result<()> {
    for (incoming, rejection) in events {
        let delivery = &incoming.delivery;
        // A copy of one that is parked already keeps the first reason.
        query(
            "insert into parked (event_id, key, place, payload, traceparent, at, reason, parked_at, digest, holds_key) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             on conflict (event_id, digest) do nothing",
        )
        .bind(incoming.id.as_str())
        .bind(delivery.key.as_deref())
        .bind(delivery.position.to_string())
        .bind(delivery.payload.as_deref().unwrap_or_default())
        .bind(incoming.trace.as_ref().map(Trace::as_str))
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

/// Returns what tells one message from another: 128 bits of the SHA-256 of its key and its value, in hex.
pub(crate) fn digest(delivery: &Delivery) -> String {
    let key = delivery.key.as_deref().unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update((key.len() as u64).to_be_bytes()); // or "ab" + "c" would be "a" + "bc"
    hasher.update(key);
    hasher.update(delivery.payload.as_deref().unwrap_or_default());
    hasher.finalize().iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Removes events that were dealt with.
pub(crate) async fn unpark(tx: &mut Tx<'_>, ids: &[i64]) -> anyhow::Result<()> {
    for id in ids {
        query("delete from parked where id = $1").bind(*id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Up to `most` parked events, oldest first.
pub(crate) async fn list(db: &Db, most: i64) -> anyhow::Result<Vec<Parked>> {
    let oldest = query(
        "select id, event_id, key, place, payload, reason, parked_at, holds_key from parked order by id limit $1",
    );
    let rows = db.fetch_all(oldest.bind(most)).await?;
    let parked = |row: AnyRow| -> anyhow::Result<Parked> {
        let parked_at: i64 = row.try_get(6)?;
        Ok(Parked {
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

/// A parked event with all that is needed to handle it again.
pub(crate) struct Waiting {
    pub(crate) row: i64,
    pub(crate) event_id: String,
    pub(crate) from_outbox: bool,
    /// Others of its key wait behind it.
    pub(crate) holds_key: bool,
    pub(crate) delivery: Delivery,
}

/// Parked events that are read at once: each may be a megabyte, as large as a message can be.
const PAGE: i64 = 200;

/// Which parked events.
pub(crate) enum Which {
    /// All of them.
    All,
    /// The one in a row, and the others of its key.
    Row(i64),
    /// Those of a key.
    Key(String),
}

/// Parked events in the order in which they were parked: the first [`PAGE`] of them behind the row `after`.
pub(crate) async fn waiting(db: &Db, which: &Which, after: i64) -> anyhow::Result<Vec<Waiting>> {
    let among = match which {
        Which::All => "",
        Which::Row(_) => "and (id = $2 or key = (select key from parked where id = $2))",
        Which::Key(_) => "and key = $2",
    };
    let select = query(AssertSqlSafe(format!(
        "select id, event_id, key, place, payload, traceparent, at, holds_key from parked \
         where id > $1 {among} order by id limit {PAGE}"
    )));
    let select = select.bind(after);
    let rows = db.fetch_all(match which {
        Which::All => select,
        Which::Row(row) => select.bind(*row),
        Which::Key(key) => select.bind(key.as_str()),
    });
    let rows = rows.await?;
    let waiting = |row: AnyRow| -> anyhow::Result<Waiting> {
        let place: String = row.try_get(3)?;
        let (partition, offset) = place.split_once(':').unwrap_or_default();
        let trace: Option<String> = row.try_get(5)?;
        Ok(Waiting {
            row: row.try_get(0)?,
            event_id: row.try_get(1)?,
            from_outbox: place == OUTBOX,
            holds_key: row.try_get::<i64, _>(7)? == 1,
            delivery: Delivery {
                position: TopicPosition {
                    partition: partition.parse().unwrap_or_default(),
                    offset: offset.parse().unwrap_or_default(),
                },
                key: row.try_get(2)?,
                payload: Some(row.try_get(4)?),
                headers: trace.map(|trace| (TRACEPARENT.to_string(), trace)).into_iter().collect(),
                timestamp: row.try_get(6)?,
            },
        })
    };
    rows.into_iter().map(waiting).collect()
}
