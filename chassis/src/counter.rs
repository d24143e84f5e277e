//! Ids that count up from 1, and how many rows are live, without a scan.

use crate::db::{Db, Tx};
use sqlx::{Row, query};

/// The counter of one kind of thing, read and locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// The last id that was given.
    pub last_id: i64,
    /// Rows that listings show.
    pub live: i64,
}

impl Counter {
    /// Reads it and keeps other replicas from giving ids until the transaction ends.
    pub async fn load(tx: &mut Tx, db: &Db, name: &str) -> sqlx::Result<Self> {
        let sql = match db.for_update() {
            "" => "select last_id, live from counters where name = $1",
            _ => "select last_id, live from counters where name = $1 for update",
        };
        match query(sql).bind(name).fetch_optional(&mut **tx).await? {
            Some(row) => Ok(Self { last_id: row.try_get(0)?, live: row.try_get(1)? }),
            None => Ok(Self::default()),
        }
    }

    /// Writes it.
    pub async fn save(self, tx: &mut Tx, name: &str) -> sqlx::Result<()> {
        query(
            "insert into counters (name, last_id, live) values ($1, $2, $3) \
             on conflict (name) do update set last_id = excluded.last_id, live = excluded.live",
        )
        .bind(name)
        .bind(self.last_id)
        .bind(self.live)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// How many rows are live.
    pub async fn live(db: &Db, name: &str) -> sqlx::Result<i64> {
        let row = query("select live from counters where name = $1").bind(name);
        row.fetch_optional(db.reader()).await?.map_or(Ok(0), |row| row.try_get(0))
    }
}
