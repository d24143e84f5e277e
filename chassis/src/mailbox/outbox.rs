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
pub(crate) fn append(tx: &mut Tx<'_>, events: &[(Event, Option<&Trace>)]) -> anyhow::Result<()> {
    let created_at = now();
    let occurred_at = DateTime::from_timestamp_millis(created_at).unwrap_or_default();
    let outbox_event = |(event, trace): &(Event, Option<&Trace>)| {
        let id = Uuid::now_v7();
        let envelope = Envelope::new(event.clone(), id, occurred_at);
        Ok(OutboxEvent {
            id: id.to_string(),
            event_type: envelope.event.event_type().to_owned(),
            key: envelope.event.key(),
            traceparent: trace.map(|trace| trace.as_str().to_owned()),
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
    use crate::testing::{TestDb, eventually};
    use sqlx::{Connection, Executor, raw_sql};

    crate::on_each_database!(
        events_in_rows_of_version_0_1_are_sent,
        rows_are_read_until_they_have_enough_events,
    );

    /// Creates the tables as version 0.1.0 of 2026-11-24 did.
    async fn downgrade(test: &TestDb) {
        let db = test.open(&Schema::new(&[])).await;
        let before = db.dialect().expand(
            "drop table outbox;
             delete from _sqlx_migrations where version = 3;
             alter table leases add column until bigint not null default 0;
             create table outbox (seq {identity}, event_id text not null, event_type text not null, \
                 key text not null, payload text not null, traceparent text, created_at bigint not null);
             insert into outbox (event_id, event_type, key, payload, traceparent, created_at) values
                 ('a', 'CartAdded', '1', '{\"name\":\"\\\"A\\\"\"}', null, 5),
                 ('b', 'CartRemoved', '1', '{\"id\":1}', '00-x', 6)",
        );
        let mut tx = db.begin().await.unwrap();
        raw_sql(sqlx::AssertSqlSafe(before)).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        db.close().await;
    }

    async fn events_in_rows_of_version_0_1_are_sent(test: TestDb) {
        downgrade(&test).await;
        let db = test.open(&Schema::new(&[])).await;
        let waiting = oldest(&db, 10).await.unwrap();
        let fields = |row: &OutboxRow| {
            let [event] = row.events.as_slice() else {
                panic!("a row of version 0.1 has one event")
            };
            let OutboxEvent { id, event_type, key, traceparent, payload } = event.clone();
            (row.created_at, id, event_type, key, traceparent, payload.get().to_owned())
        };
        let found: Vec<_> = waiting.iter().map(fields).collect();
        let event = |at, id: &str, event_type: &str, trace: Option<&str>, payload: &str| {
            (
                at,
                id.to_owned(),
                event_type.to_owned(),
                "1".to_owned(),
                trace.map(Into::into),
                payload.to_owned(),
            )
        };
        assert_eq!(
            found,
            [
                event(5, "a", "CartAdded", None, r#"{"name":"\"A\""}"#),
                event(6, "b", "CartRemoved", Some("00-x"), r#"{"id":1}"#),
            ]
        );
    }

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

    /// Only on Postgres: SQLite has one process, so no old replica runs during a migration.
    #[tokio::test]
    #[ignore = "needs TEST_DATABASE_URL"]
    async fn events_that_an_old_replica_commits_during_the_migration_are_sent() {
        let test = TestDb::postgres().await;
        downgrade(&test).await;
        let mut replica = sqlx::AnyConnection::connect(test.url.as_str()).await.unwrap();
        let mut before = replica.begin().await.unwrap();
        let insert = "insert into outbox (event_id, event_type, key, payload, created_at) \
                      values ('c', 'CartAdded', '2', '{}', 7)";
        before.execute(insert).await.unwrap();
        let commits = async {
            let mut watch = sqlx::AnyConnection::connect(test.url.as_str()).await.unwrap();
            let waits = "select count(*) from pg_locks where not granted and database = \
                         (select oid from pg_database where datname = current_database())";
            eventually("the migration to wait", async || {
                let count: i64 = watch.fetch_one(waits).await.unwrap().get(0);
                (count > 0).then_some(())
            })
            .await;
            before.commit().await.unwrap();
        };
        let schema = Schema::new(&[]);
        let (db, ()) = tokio::join!(test.open(&schema), commits);
        assert_eq!(oldest(&db, 10).await.unwrap().len(), 3);
    }
}
