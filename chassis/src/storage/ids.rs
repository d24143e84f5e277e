//! The ids of a collection's rows, and the number of live rows, without a scan.

use crate::model::Ids;
use crate::storage::{Db, Statement, Tx};
use sqlx::{AssertSqlSafe, Row, query};

/// Reads and locks the ids of the collection `name`: other replicas assign no ids until the transaction ends. The row must
/// exist, since a missing row cannot be locked; the service's migration inserts it.
pub async fn load(tx: &mut Tx<'_>, db: &Db, name: &str) -> sqlx::Result<Ids> {
    let sql = format!("select last_id, live from counters where name = $1{}", db.for_update());
    let row = query(AssertSqlSafe(sql)).bind(name).fetch_one(&mut **tx).await?;
    Ok(Ids::read(row.try_get(0)?, row.try_get(1)?))
}

/// Writes the ids of the collection `name` before the commit, if they changed.
pub fn save(tx: &mut Tx<'_>, ids: &Ids, name: &str) {
    if let Some((last_id, live)) = ids.changed() {
        let update = Statement::new("update counters set last_id = $1, live = $2 where name = $3");
        tx.later(update.number(last_id).number(live).text(name));
    }
}

/// Returns the number of live rows of the collection `name`.
pub async fn count_live(db: &Db, name: &str) -> sqlx::Result<i64> {
    let row = query("select live from counters where name = $1").bind(name);
    db.fetch_optional(row).await?.map_or(Ok(0), |row| row.try_get(0))
}
