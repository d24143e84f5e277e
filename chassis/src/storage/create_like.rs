//! A new table with the definition of another one.

use crate::storage::{Dialect, Tx};
use sqlx::{AssertSqlSafe, Row as _, query, raw_sql};

/// Creates the empty table `new` with the columns, constraints and storage parameters that `table` has, whichever migrations
/// made them. On SQLite, indexes other than those of its constraints are not copied: their names are taken; see
/// [`indexes_not_copied`].
pub async fn create_like(tx: &mut Tx<'_>, new: &str, table: &str) -> sqlx::Result<()> {
    let create = match tx.dialect() {
        Dialect::Sqlite => {
            let select = query("select sql from sqlite_schema where type = 'table' and name = $1");
            let row = select.bind(table).fetch_one(&mut **tx).await?;
            // `CREATE TABLE views (...)`, or with quotes around the name after it was renamed.
            let sql: String = row.try_get(0)?;
            let columns = sql.find('(').map_or("", |at| &sql[at..]);
            format!("create table {new} {columns}")
        }
        Dialect::Postgres => {
            // `like` copies none of what `with` sets.
            let select = query(
                "select coalesce(' with (' || array_to_string(reloptions, ', ') || ')', '') \
                 from pg_class where oid = cast($1 as regclass)",
            );
            let with: String = select.bind(table).fetch_one(&mut **tx).await?.try_get(0)?;
            format!("create table {new} (like {table} including all){with}")
        }
    };
    raw_sql(AssertSqlSafe(create)).execute(&mut **tx).await?;
    Ok(())
}

/// Returns the statements that make the indexes of `table` that [`create_like`] does not copy. Run them once the new table has
/// taken its place.
pub async fn indexes_not_copied(tx: &mut Tx<'_>, table: &str) -> sqlx::Result<Vec<String>> {
    if tx.dialect() == Dialect::Postgres {
        return Ok(vec![]);
    }
    let select = query(
        "select sql from sqlite_schema where type = 'index' and tbl_name = $1 and sql is not null \
         order by rowid",
    );
    let rows = select.bind(table.to_owned()).fetch_all(&mut **tx).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}
