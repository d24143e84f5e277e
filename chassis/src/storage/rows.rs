//! Statements for many rows, which go to the database and back as one value: a JSON array. Only inserts into SQLite bind the values
//! of each row.
//!
//! The text of a statement does not depend on the number of rows, so it is prepared once. A row of 7 columns costs some 9 us when
//! rows are read one by one, and 1 to 2 us in an array. (Measured on SQLite through sqlx's `Any`, 64 to 256 rows.)

use crate::storage::{Db, Dialect, Statement, Tx, row_values, running_time};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row, query};
use std::sync::Arc;

/// Inserts `rows` in their order, before the commit. The fields of a row are the `columns` of `table` in their order, separated by
/// commas. `rest` is the end of the statement, such as `on conflict`.
pub fn insert<R: Serialize>(
    tx: &mut Tx<'_>,
    table: &str,
    columns: &str,
    rows: &[R],
    rest: &str,
) -> sqlx::Result<()> {
    insert_with(tx, table, (columns, &[]), rows, rest)
}

/// Inserts rows as [`insert`] does, and sets their column `minute` to the minutes that the service has run: see
/// [`crate::mailbox::retention::RetentionRule`].
pub fn insert_stamped<R: Serialize>(
    tx: &mut Tx<'_>,
    table: &str,
    columns: &str,
    rows: &[R],
    rest: &str,
) -> sqlx::Result<()> {
    insert_with(tx, table, (columns, &[MINUTE]), rows, rest)
}

/// A column that the database fills, and its value.
type Filled = (&'static str, &'static str);

const MINUTE: Filled = ("minute", running_time::SELECT_MINUTES);

/// Inserts `rows`, if there are any, with these columns and those that the database fills.
///
/// Postgres gets all of them as one value. SQLite runs the statement once for each: it takes longer to parse JSON than to bind.
fn insert_with<R: Serialize>(
    tx: &mut Tx<'_>,
    table: &str,
    (columns, filled): (&str, &[Filled]),
    rows: &[R],
    rest: &str,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = insert_sql(tx.dialect(), table, (columns, filled), rest);
    match tx.dialect() {
        Dialect::Sqlite => {
            let sql = Arc::from(sql);
            for row in rows {
                let values = row_values::values(row, columns)?;
                tx.later(Statement::with_values(Arc::clone(&sql), values));
            }
        }
        Dialect::Postgres => tx.later(Statement::new(sql).text(json(rows)?)),
    }
    Ok(())
}

/// Returns the statement that inserts one row on SQLite, whose values are `$1` and so on, or the rows in the JSON array `$1` on
/// Postgres.
fn insert_sql(
    dialect: Dialect,
    table: &str,
    (columns, filled): (&str, &[Filled]),
    rest: &str,
) -> String {
    let mut names: Vec<&str> = columns.split(", ").collect();
    let mut values: Vec<String> = match dialect {
        Dialect::Sqlite => (1..=names.len()).map(|place| format!("${place}")).collect(),
        Dialect::Postgres => names.iter().map(ToString::to_string).collect(),
    };
    for (name, value) in filled {
        names.push(name);
        values.push(format!("({value})"));
    }
    let (names, values) = (names.join(", "), values.join(", "));
    let rows = match dialect {
        Dialect::Sqlite => format!("values ({values})"),
        Dialect::Postgres => {
            format!("select {values} from json_populate_recordset(null::{table}, $1::json)")
        }
    };
    format!("insert into {table} ({names}) {rows} {rest}")
}

/// A type of ids.
pub trait Value: Serialize {
    /// The condition of Postgres that a column is one of the ids in the JSON array `$1`. An SQL array makes Postgres use the
    /// column's index even when its statistics are missing.
    const IN_IDS_POSTGRES: &'static str;
}

impl Value for String {
    const IN_IDS_POSTGRES: &'static str = <&str>::IN_IDS_POSTGRES;
}

impl Value for &str {
    const IN_IDS_POSTGRES: &'static str = "= any(array(select json_array_elements_text($1::json)))";
}

impl Value for i64 {
    const IN_IDS_POSTGRES: &str =
        "= any(array(select value::bigint from json_array_elements_text($1::json)))";
}

/// Returns the condition, to follow the name of a column, that it is one of the ids in the JSON array `$1`.
pub(super) fn in_ids<T: Value>(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "in (select value from json_each($1))",
        Dialect::Postgres => T::IN_IDS_POSTGRES,
    }
}

/// Returns `ids` or rows as one value to bind.
pub(super) fn json<T: Serialize>(ids: &[T]) -> sqlx::Result<String> {
    serde_json::to_string(ids).map_err(unwritable)
}

/// Runs a statement on the rows of `ids`, before the commit, unless there are none. `statement` makes it from the condition that
/// follows the name of the column. Its own placeholders begin with `$2`.
pub fn run_on_each<T: Value, S: Into<Statement>>(
    tx: &mut Tx<'_>,
    ids: &[T],
    statement: impl FnOnce(&str) -> S,
) -> sqlx::Result<()> {
    if !ids.is_empty() {
        let statement = statement(in_ids::<T>(tx.dialect())).into();
        tx.later(statement.with_first(json(ids)?));
    }
    Ok(())
}

/// Returns a query for [`read`], whose values are still to be bound. `columns` is separated by commas, and `rest` is the SQL
/// from `from` on.
pub fn select(dialect: Dialect, columns: &str, rest: &str) -> Query<'static, Any, AnyArguments> {
    query(AssertSqlSafe(select_sql(dialect, columns, rest)))
}

pub(super) fn select_sql(dialect: Dialect, columns: &str, rest: &str) -> String {
    match dialect {
        Dialect::Sqlite => {
            let pair = |name| format!("'{name}', {name}");
            let pairs: Vec<String> = columns.split(", ").map(pair).collect();
            let pairs = pairs.join(", ");
            format!("select json_group_array(json_object({pairs})) from (select {columns} {rest})")
        }
        Dialect::Postgres => {
            format!("select coalesce(json_agg(r), '[]')::text from (select {columns} {rest}) r")
        }
    }
}

/// Returns the rows of a [`select`] in its order. The columns are the fields of `R`.
pub async fn read<R: DeserializeOwned>(
    select: Query<'_, Any, AnyArguments>,
    db: &Db,
) -> sqlx::Result<Vec<R>> {
    parsed(db.fetch_one(select).await?.try_get(0)?)
}

/// Returns the rows for `ids`, read outside of a transaction. `rest` makes the SQL from `from` on, from the condition that
/// follows the name of the column.
pub async fn read_each<T: Value, R: DeserializeOwned>(
    db: &Db,
    ids: &[T],
    columns: &str,
    rest: impl FnOnce(&str) -> String,
) -> sqlx::Result<Vec<R>> {
    if ids.is_empty() {
        return Ok(vec![]);
    }
    let rest = rest(in_ids::<T>(db.dialect()));
    read(select(db.dialect(), columns, &rest).bind(json(ids)?), db).await
}

/// Returns the rows in a value that the database returned.
pub(super) fn parsed<R: DeserializeOwned>(json: &str) -> sqlx::Result<Vec<R>> {
    serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn unwritable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Encode(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Schema;
    use crate::testing::TestDb;
    use sqlx::raw_sql;

    /// The statement must use the index even if it was planned, with a generic plan, while the table was small: Postgres knows
    /// nothing of what a table became since.
    #[tokio::test]
    #[ignore = "needs TEST_DATABASE_URL"]
    async fn a_look_up_that_was_planned_for_a_small_table_uses_the_index() {
        let test = TestDb::postgres().await;
        let db = test.open(&Schema::new(&[])).await;
        let rest = format!("from inbox where event_id {}", <&str>::IN_IDS_POSTGRES);
        let look_up = select_sql(Dialect::Postgres, "event_id", &rest);
        let prepare = format!("prepare look_up(text) as {look_up}");
        let mut tx = db.begin().await.unwrap(); // with the settings of our connections
        for sql in
            ["insert into inbox (event_id, minute) values ('a', 1)", "analyze inbox", &prepare]
        {
            raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await.unwrap();
        }
        for _ in 0..10 {
            raw_sql("execute look_up('[\"a\"]')").execute(&mut *tx).await.unwrap();
        }
        let plan = raw_sql("explain execute look_up('[\"a\"]')").fetch_all(&mut *tx).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
        assert!(plan.concat().contains("Index"), "{plan:#?}");
        assert!(!plan.concat().contains("Seq Scan on inbox"), "{plan:#?}");
    }

    #[test]
    fn columns_are_fields_of_the_rows() {
        let (columns, rest) = ("id, name", "on conflict do nothing");
        let insert = |dialect, filled| insert_sql(dialect, "things", (columns, filled), rest);
        assert_eq!(
            insert(Dialect::Sqlite, &[]),
            "insert into things (id, name) values ($1, $2) on conflict do nothing"
        );
        assert_eq!(
            insert(Dialect::Postgres, &[]),
            "insert into things (id, name) select id, name \
             from json_populate_recordset(null::things, $1::json) on conflict do nothing"
        );
        assert_eq!(
            insert(Dialect::Sqlite, &[MINUTE]),
            "insert into things (id, name, minute) \
             values ($1, $2, (select minutes from running_time)) on conflict do nothing"
        );
        assert_eq!(
            insert(Dialect::Postgres, &[MINUTE]),
            "insert into things (id, name, minute) \
             select id, name, (select minutes from running_time) \
             from json_populate_recordset(null::things, $1::json) on conflict do nothing"
        );
    }
}
