//! Reads that go to the database together.

use crate::storage::dialect::Dialect;
use crate::storage::rows::{self, Value};
use crate::storage::statement::Statement;
use crate::storage::tx::Tx;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use std::marker::PhantomData;

/// Reads of a transaction that go to the database in one round trip. They run in their order, so that each sees what those
/// before it waited for.
#[derive(Debug)]
pub struct Reads {
    dialect: Dialect,
    statements: Vec<Statement>,
}

/// One of several reads, whose rows are `R`.
#[derive(Debug)]
pub struct Read<R> {
    /// Its place among the reads. `None` if it had no ids, so that it has no rows.
    place: Option<usize>,
    rows: PhantomData<fn() -> R>,
}

/// The rows of several reads.
#[derive(Debug)]
pub struct ReadRows(Vec<String>);

impl Reads {
    /// Returns no reads yet, for `tx`.
    pub fn of(tx: &Tx<'_>) -> Self {
        Self { dialect: tx.dialect(), statements: Vec::new() }
    }

    /// Adds a read of `columns`, separated by commas. `rest` is the SQL from `from` on, with its values.
    pub fn select<R>(&mut self, columns: &str, rest: Statement) -> Read<R> {
        let Statement { sql, values } = rest;
        let sql = rows::select_sql(self.dialect, columns, &sql);
        self.statements.push(Statement::with_values(sql.into(), values));
        Read { place: Some(self.statements.len() - 1), rows: PhantomData }
    }

    /// Adds a read of the rows for `ids`, unless there are none. `rest` makes the SQL from `from` on, from the condition that
    /// follows the name of the column. Its own placeholders begin with `$2`.
    pub fn look_up<T: Value, R, S: Into<Statement>>(
        &mut self,
        ids: &[T],
        columns: &str,
        rest: impl FnOnce(&str) -> S,
    ) -> sqlx::Result<Read<R>> {
        if ids.is_empty() {
            return Ok(Read { place: None, rows: PhantomData });
        }
        let rest = rest(rows::in_ids::<T>(self.dialect)).into();
        Ok(self.select(columns, rest.with_first(rows::json(ids)?)))
    }

    /// Returns the end of a read that locks its rows until the transaction ends. Lock rows in a fixed order.
    pub fn for_update(&self) -> &'static str {
        self.dialect.for_update()
    }

    /// Reads them all.
    pub async fn run(self, tx: &mut Tx<'_>) -> sqlx::Result<ReadRows> {
        let rows = tx.run(self.statements).await?;
        rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>().map(ReadRows)
    }
}

impl ReadRows {
    /// Returns the rows of one read.
    pub fn of<R: DeserializeOwned>(&self, read: &Read<R>) -> sqlx::Result<Vec<R>> {
        let Some(place) = read.place else { return Ok(vec![]) };
        rows::parsed(&self.0[place])
    }
}
