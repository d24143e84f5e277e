//! The audit log: who changed what on purpose. A row is written in the transaction of the change.

use crate::base::clock::now;
use crate::model::AuditedChange;
use crate::storage::{Db, Statement, Tx};
use chrono::{DateTime, SecondsFormat};
use common_events::Owner;
use serde::Serialize;
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Row, query};

/// Who made a change that nobody asked for by a request.
const NOBODY: &str = "nobody";

/// A row of the audit log.
#[derive(Debug, Serialize)]
pub(crate) struct AuditEntry {
    pub(crate) id: i64,
    /// When, in UTC.
    pub(crate) at: String,
    /// Who.
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

/// Adds a change to the log, before the commit of `tx`.
pub(crate) fn append(tx: &mut Tx<'_>, actor: Option<&Owner>, change: &AuditedChange) {
    let insert = "insert into audit (at, actor, action, subject, before, after) \
                  values ($1, $2, $3, $4, $5, $6)";
    let insert = Statement::new(insert)
        .number(now())
        .text(actor.map_or(NOBODY, Owner::as_str))
        .text(change.action)
        .text(change.subject.as_str())
        .text(change.before.to_string())
        .text(change.after.to_string());
    tx.later(insert);
}

/// Returns up to `max` rows whose id is below `before`, the newest first.
pub(crate) async fn list(db: &Db, before: i64, max: i64) -> anyhow::Result<Vec<AuditEntry>> {
    let newest = query(
        "select id, at, actor, action, subject, before, after from audit \
         where id < $1 order by id desc limit $2",
    );
    let rows = db.fetch_all(newest.bind(before).bind(max)).await?;
    let entry = |row: AnyRow| -> anyhow::Result<AuditEntry> {
        let at = DateTime::from_timestamp_millis(row.try_get(1)?).unwrap_or_default();
        Ok(AuditEntry {
            id: row.try_get(0)?,
            at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
            actor: row.try_get(2)?,
            action: row.try_get(3)?,
            subject: row.try_get(4)?,
            before: serde_json::from_str(row.try_get(5)?)?,
            after: serde_json::from_str(row.try_get(6)?)?,
        })
    };
    rows.into_iter().map(entry).collect()
}
