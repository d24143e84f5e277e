//! A connection to SQLite that works on the thread of its caller.
//!
//! A connection of sqlx has a thread of its own: each round trip wakes that thread, and then its caller, which costs as much CPU
//! as the statements. The writers have threads of their own, which may wait for a disk: see
//! docs/decisions/0046-sqlite-on-the-writers-thread.md.

use crate::storage::sqlite_error::SqliteFailure;
use crate::storage::statement::{Statement, Value};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, OpenFlags, Rows, ToSql};
use sqlx::Either;
use sqlx::any::{AnyArguments, AnyQueryResult, AnyRow, AnyTypeInfo, AnyTypeInfoKind, AnyValue};
use sqlx_core::HashMap;
use sqlx_core::any::{AnyColumn, AnyValueKind};
use sqlx_core::ext::ustr::UStr;
use std::path::Path;
use std::sync::Arc;

/// Prepared statements that a connection keeps. A service has fewer texts.
const CACHED_STATEMENTS_MAX: usize = 128;

/// What a statement returns: rows, and at its end the number of rows that it changed.
pub(super) type Step = Either<AnyQueryResult, AnyRow>;

/// A connection to SQLite that blocks the thread of its caller while a statement runs.
#[derive(Debug)]
pub(super) struct SqliteWriter(rusqlite::Connection);

impl SqliteWriter {
    /// Opens the file at `path`, which must be there, and runs `settings`.
    pub(super) fn open(path: &Path, settings: &str) -> sqlx::Result<Self> {
        // The flags of sqlx. A file that was removed is not created again, empty.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.execute_batch(settings).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS_MAX);
        Ok(Self(connection))
    }

    /// Runs statements in their order, up to the first that fails. Returns the rows of all.
    pub(super) fn run(&mut self, statements: &[Statement]) -> sqlx::Result<Vec<AnyRow>> {
        let mut all = Vec::new();
        // The rows of an insert are statements with the same text, one after the other.
        for same in statements.chunk_by(|one, next| one.sql == next.sql) {
            let mut statement = self.0.prepare_cached(&same[0].sql).map_err(failed)?;
            let places = places(&statement);
            for Statement { values, .. } in same {
                bind(&mut statement, &places, values)?;
                read(statement.raw_query(), &mut |row| all.push(row))?;
            }
        }
        Ok(all)
    }

    /// Runs one statement with these arguments, or all statements in a text without any.
    pub(super) fn steps(
        &mut self,
        sql: &str,
        arguments: Option<AnyArguments>,
    ) -> sqlx::Result<Vec<Step>> {
        let values = arguments.map_or_else(Vec::new, |arguments| arguments.values.0);
        let mut steps = Vec::new();
        if values.is_empty() {
            let mut statements = Batch::new(&self.0, sql);
            while let Some(mut statement) = statements.next().map_err(failed)? {
                self.step(&mut statement, &mut steps)?;
            }
        } else {
            let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
            let places = places(&statement);
            bind(&mut statement, &places, &values)?;
            self.step(&mut statement, &mut steps)?;
        }
        Ok(steps)
    }

    fn step(
        &self,
        statement: &mut rusqlite::Statement<'_>,
        steps: &mut Vec<Step>,
    ) -> sqlx::Result<()> {
        read(statement.raw_query(), &mut |row| steps.push(Either::Right(row)))?;
        let rows_affected = if statement.readonly() { 0 } else { self.0.changes() };
        steps.push(Either::Left(AnyQueryResult { rows_affected, last_insert_id: None }));
        Ok(())
    }
}

/// Returns for each placeholder which value it is, from 1 on. SQLite numbers placeholders by where they stand first, and not by
/// their names, which are `$1`, `$2` and so on. Others are 0.
fn places(statement: &rusqlite::Statement<'_>) -> Vec<usize> {
    let place = |index| statement.parameter_name(index)?.strip_prefix('$')?.parse().ok();
    (1..=statement.parameter_count()).map(|index| place(index).unwrap_or_default()).collect()
}

/// Binds values to placeholders.
fn bind<T>(
    statement: &mut rusqlite::Statement<'_>,
    places: &[usize],
    values: &[T],
) -> sqlx::Result<()>
where
    for<'v> Bound<'v, T>: ToSql,
{
    for (index, place) in (1..).zip(places) {
        let value = place.checked_sub(1).and_then(|place| values.get(place));
        let value = value.ok_or_else(|| unbound(statement.parameter_name(index)))?;
        statement.raw_bind_parameter(index, Bound(value)).map_err(failed)?;
    }
    Ok(())
}

fn unbound(name: Option<&str>) -> sqlx::Error {
    let name = name.unwrap_or_default();
    sqlx::Error::Encode(format!("no value for the placeholder {name}").into())
}

/// A value to bind.
struct Bound<'v, T>(&'v T);

impl ToSql for Bound<'_, Value> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Number(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl ToSql for Bound<'_, AnyValueKind> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            AnyValueKind::Null(_) => ValueRef::Null,
            AnyValueKind::Bool(value) => ValueRef::Integer(i64::from(*value)),
            AnyValueKind::SmallInt(value) => ValueRef::Integer(i64::from(*value)),
            AnyValueKind::Integer(value) => ValueRef::Integer(i64::from(*value)),
            AnyValueKind::BigInt(value) => ValueRef::Integer(*value),
            AnyValueKind::Real(value) => ValueRef::Real(f64::from(*value)),
            AnyValueKind::Double(value) => ValueRef::Real(*value),
            AnyValueKind::Text(value) => ValueRef::Text(value.as_bytes()),
            AnyValueKind::TextSlice(value) => ValueRef::Text(value.as_bytes()),
            AnyValueKind::Blob(value) => ValueRef::Blob(value),
            value => {
                let error = format!("a value of an unknown kind: {value:?}");
                return Err(rusqlite::Error::ToSqlConversionFailure(error.into()));
            }
        }))
    }
}

/// Reads the rows of a statement to its end.
fn read(mut rows: Rows<'_>, add: &mut dyn FnMut(AnyRow)) -> sqlx::Result<()> {
    let mut columns: Option<Columns> = None;
    while let Some(row) = rows.next().map_err(failed)? {
        let columns = columns.get_or_insert_with(|| Columns::of(row.as_ref()));
        let values: sqlx::Result<Vec<AnyValue>> = (0..columns.columns.len())
            .map(|place| Ok(AnyValue { kind: value(row.get_ref(place).map_err(failed)?)? }))
            .collect();
        add(AnyRow {
            column_names: Arc::clone(&columns.names),
            columns: columns.columns.clone(),
            values: values?,
        });
    }
    Ok(())
}

/// The columns of a statement.
struct Columns {
    names: Arc<HashMap<UStr, usize>>,
    columns: Vec<AnyColumn>,
}

impl Columns {
    fn of(statement: &rusqlite::Statement<'_>) -> Self {
        let names = statement.column_names();
        let names: Vec<UStr> = names.into_iter().map(UStr::new).collect();
        // What a column holds, each value says itself.
        let type_info = AnyTypeInfo { kind: AnyTypeInfoKind::Null };
        let column = |(ordinal, name): (usize, &UStr)| AnyColumn {
            ordinal,
            name: name.clone(),
            type_info: type_info.clone(),
        };
        let columns = names.iter().enumerate().map(column).collect();
        let places = names.into_iter().enumerate().map(|(place, name)| (name, place));
        Self { names: Arc::new(places.collect()), columns }
    }
}

/// Returns a value as sqlx reads it.
fn value(value: ValueRef<'_>) -> sqlx::Result<AnyValueKind> {
    Ok(match value {
        ValueRef::Null => AnyValueKind::Null(AnyTypeInfoKind::Null),
        ValueRef::Integer(number) => AnyValueKind::BigInt(number),
        ValueRef::Real(number) => AnyValueKind::Double(number),
        ValueRef::Text(text) => {
            let text = std::str::from_utf8(text).map_err(|error| decode(error.into()))?;
            AnyValueKind::Text(Arc::new(text.to_owned()))
        }
        ValueRef::Blob(bytes) => AnyValueKind::Blob(Arc::new(bytes.to_owned())),
    })
}

fn decode(error: Box<dyn std::error::Error + Send + Sync>) -> sqlx::Error {
    sqlx::Error::Decode(error)
}

/// Returns the error of sqlx for one of the driver. It is the database's if SQLite returned it.
fn failed(error: rusqlite::Error) -> sqlx::Error {
    match error {
        rusqlite::Error::SqliteFailure(error, message) => {
            SqliteFailure::new(error.extended_code, message).into()
        }
        error => decode(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::fault::tests::{LIMIT, STATEMENTS};
    use crate::storage::fault::{is_database_fault, may_be_committed};
    use sqlx::error::DatabaseError;

    fn writer(dir: &Path) -> SqliteWriter {
        let file = dir.join("a.db");
        drop(std::fs::File::create(&file).unwrap());
        SqliteWriter::open(&file, "pragma journal_mode = wal").unwrap()
    }

    fn fails(connection: &mut SqliteWriter, sql: &str) -> sqlx::Error {
        connection.steps(sql, None).err().expect(sql)
    }

    /// The same as for a connection of sqlx, in `fault.rs`.
    #[test]
    fn a_database_that_is_full_or_busy_or_broken_is_at_fault_and_a_statement_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = writer(dir.path());
        connection.steps(LIMIT, None).unwrap();
        for (sql, at_fault) in STATEMENTS {
            let error = fails(&mut connection, sql);
            assert_eq!(is_database_fault(&error), at_fault, "{sql}: {error}");
            assert!(!may_be_committed(&error), "{sql}: {error}");
        }
        let error = fails(&mut connection, "insert into a values (1)");
        assert!(error.as_database_error().is_some_and(DatabaseError::is_unique_violation));

        let mut other =
            SqliteWriter::open(&dir.path().join("a.db"), "pragma busy_timeout = 1").unwrap();
        connection.steps("begin immediate", None).unwrap();
        let busy = fails(&mut other, "begin immediate");
        assert!(is_database_fault(&busy) && !may_be_committed(&busy), "{busy}");

        std::fs::write(dir.path().join("b.db"), [b'x'; 4_096]).unwrap();
        let error = SqliteWriter::open(&dir.path().join("b.db"), "pragma journal_mode = wal");
        let error = error.unwrap_err();
        assert!(is_database_fault(&error), "{error}");
        let error = SqliteWriter::open(&dir.path().join("c.db"), "").unwrap_err();
        assert!(is_database_fault(&error), "a missing file is not created: {error}");
    }

    #[test]
    fn a_commit_whose_sync_failed_may_hold() {
        let failed_with = |code| sqlx::Error::from(SqliteFailure::new(code, None));
        for (code, may_hold) in [
            (rusqlite::ffi::SQLITE_IOERR_FSYNC, true),
            (rusqlite::ffi::SQLITE_NOMEM, true),
            (rusqlite::ffi::SQLITE_IOERR_WRITE, false),
            (rusqlite::ffi::SQLITE_FULL, false),
        ] {
            let error = failed_with(code);
            assert_eq!(may_be_committed(&error), may_hold, "{error}");
            assert!(is_database_fault(&error), "{error}");
        }
    }

    #[test]
    fn a_placeholder_without_a_value_and_a_second_statement_with_values_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = writer(dir.path());
        let error = connection.run(&[Statement::new("select $2").number(1)]).err().unwrap();
        assert!(error.to_string().contains("$2"), "{error}");
        let two = Statement::new("select $1; select 2").number(1);
        assert!(connection.run(&[two]).is_err(), "the second would not run");
    }
}
