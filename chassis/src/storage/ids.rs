//! The ids of a collection's rows, and the number of live rows, without a scan.

use crate::model::Ids;
use crate::storage::{Db, Read, ReadRows, Reads, Statement, Tx};
use serde::Deserialize;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Row, query};

/// The ids of a collection, as they are stored.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct StoredIds {
    last_id: i64,
    live: i64,
    /// Live rows of others than guests.
    owned: i64,
}

/// Adds a read of the ids of the collection `name`, which locks them: other replicas assign no ids until the transaction ends.
/// The row must exist, since a missing row cannot be locked; the service's migration inserts it.
pub fn lock(reads: &mut Reads, name: &str) -> Read<StoredIds> {
    let rest = format!("from counters where name = $1{}", reads.for_update());
    reads.select("last_id, live, owned", Statement::new(rest).text(name))
}

/// Returns the ids that [`lock`] read.
pub fn read(rows: &ReadRows, ids: &Read<StoredIds>) -> sqlx::Result<Ids> {
    let ids = rows.of(ids)?.pop().ok_or(sqlx::Error::RowNotFound)?;
    Ok(Ids::read(ids.last_id, ids.live, ids.owned))
}

/// Writes the ids of the collection `name` before the commit, if they changed.
pub fn save(tx: &mut Tx<'_>, ids: &Ids, name: &str) {
    if let Some((last_id, live, owned)) = ids.changed() {
        const UPDATE: &str =
            "update counters set last_id = $1, live = $2, owned = $3 where name = $4";
        tx.later(Statement::new(UPDATE).number(last_id).number(live).number(owned).text(name));
    }
}

/// Returns the number of live rows of the collection `name`.
pub async fn count_live(db: &Db, name: &str) -> sqlx::Result<i64> {
    count(db, query("select live from counters where name = $1").bind(name)).await
}

/// Returns the number of live rows of the collection `name` that belong to guests.
pub async fn count_guests(db: &Db, name: &str) -> sqlx::Result<i64> {
    count(db, query("select live - owned from counters where name = $1").bind(name)).await
}

async fn count(db: &Db, row: Query<'_, Any, AnyArguments>) -> sqlx::Result<i64> {
    db.fetch_optional(row).await?.map_or(Ok(0), |row| row.try_get(0))
}
