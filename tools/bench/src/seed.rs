//! Fills tables with many rows, which the database generates.

use anyhow::Context;
use chaos::progress::Progress;
use chassis::base::config::DatabaseUrl;
use chassis::storage::{Db, Dialect, Schema};
use sqlx::{AssertSqlSafe, Executor};

/// Rows that one statement inserts: a transaction of millions would take too much memory.
const ROWS_PER_STATEMENT: i64 = 500_000;

/// Runs the statement `insert` for all numbers in `from..=to`, which it has as `n.i`, and then the statement `after`.
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
    let table = into.split(' ').nth(2).unwrap_or_default();
    let total = to.cast_unsigned();
    let mut progress = Progress::counting(format!("filling {table}"), total, "rows");
    for first in (from..=to).step_by(usize::try_from(ROWS_PER_STATEMENT)?) {
        let last = to.min(first + ROWS_PER_STATEMENT - 1);
        let sql = format!(
            "{into} with recursive n(i) as (select cast({first} as bigint) union all \
             select i + 1 from n where i < {last}) select {select} from n"
        );
        let mut tx = db.begin().await?;
        // The statement takes longer than the timeout for statements of services.
        if db.dialect() == Dialect::Postgres {
            tx.execute("set local statement_timeout = 0").await?;
        }
        tx.execute(AssertSqlSafe(sql)).await?;
        tx.commit().await?;
        progress.reached(last.cast_unsigned(), total, "rows");
    }
    let mut tx = db.begin().await?;
    if db.dialect() == Dialect::Postgres {
        // Autovacuum does it within minutes. Without, the plans are those for empty tables.
        tx.execute("set local statement_timeout = 0").await?;
        tx.execute("analyze").await?;
    }
    tx.execute(AssertSqlSafe(after.to_owned())).await?;
    tx.commit().await?;
    db.close().await;
    Ok(())
}
