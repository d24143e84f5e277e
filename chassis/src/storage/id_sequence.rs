//! Ids that count up from 1, and the number of live rows, without a scan.

use crate::storage::{Db, Statement, Tx};
use sqlx::{AssertSqlSafe, Row, query};

/// The last id and the number of live rows of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdSequence {
    /// The last id that was assigned.
    pub last_id: i64,
    /// The number of rows that listings show.
    pub live: i64,
}

impl IdSequence {
    /// Reads and locks the sequence `name`: other replicas assign no ids until the transaction ends. The row must exist, since
    /// a missing row cannot be locked; the service's migration inserts it.
    pub async fn load(tx: &mut Tx<'_>, db: &Db, name: &str) -> sqlx::Result<Self> {
        let sql = format!("select last_id, live from counters where name = $1{}", db.for_update());
        let row = query(AssertSqlSafe(sql)).bind(name).fetch_one(&mut **tx).await?;
        Ok(Self { last_id: row.try_get(0)?, live: row.try_get(1)? })
    }

    /// Writes it before the commit.
    pub fn save(self, tx: &mut Tx<'_>, name: &str) {
        let update = Statement::new("update counters set last_id = $1, live = $2 where name = $3");
        tx.later(update.number(self.last_id).number(self.live).text(name));
    }

    /// Returns the number of live rows of `name`.
    pub async fn live(db: &Db, name: &str) -> sqlx::Result<i64> {
        let row = query("select live from counters where name = $1").bind(name);
        db.fetch_optional(row).await?.map_or(Ok(0), |row| row.try_get(0))
    }
}
