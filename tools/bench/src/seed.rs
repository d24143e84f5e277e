//! Many rows at once, made by the database itself.

use anyhow::Context;
use chassis::base::config::DatabaseUrl;
use chassis::storage::{Db, Schema};
use sqlx::{AssertSqlSafe, Executor};

/// Rows a statement: a transaction of millions would stand in memory.
const PIECE: i64 = 500_000;

/// Runs `insert` for all numbers of `from..=to`, which it finds as `n.i`, and then `after`.
pub(crate) async fn rows(
    url: &DatabaseUrl,
    schema: &Schema,
    insert: &str,
    (from, to): (i64, i64),
    after: &str,
) -> anyhow::Result<()> {
    let db = Db::open(url, schema).await?;
    db.migrate(schema).await;
    let (into, select) = insert.split_once(" select ").context("the statement selects")?;
    for first in (from..=to).step_by(usize::try_from(PIECE)?) {
        let last = to.min(first + PIECE - 1);
        let sql = format!(
            "{into} with recursive n(i) as (select cast({first} as bigint) union all \
             select i + 1 from n where i < {last}) select {select} from n"
        );
        let mut tx = db.begin().await?;
        // The statement may take longer than one of a service may.
        if db.dialect() == chassis::storage::Dialect::Postgres {
            tx.execute("set local statement_timeout = 0").await?;
        }
        tx.execute(AssertSqlSafe(sql)).await?;
        tx.commit().await?;
    }
    let mut tx = db.begin().await?;
    tx.execute(AssertSqlSafe(after.to_owned())).await?;
    tx.commit().await?;
    db.close().await;
    Ok(())
}
