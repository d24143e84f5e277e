//! Tells errors that are the database's fault from those of the statement.

use crate::storage::sqlite_error::SqliteFailure;
use sqlx::Error;
use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;
use std::io;

/// True if the database failed, and not the statement: it is away, full, read-only or broken, or it has the tables of another
/// version of the service. The same work may succeed later.
pub(crate) fn is_at_fault(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(is_database_fault)
}

/// The same for an error of sqlx.
pub(crate) fn is_database_fault(error: &Error) -> bool {
    /// Classes of SQLSTATE: <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
    const CLASSES: [&str; 11] = ["08", "0A", "25", "26", "40", "42", "53", "55", "57", "58", "XX"];
    match error {
        Error::Io(_)
        | Error::Tls(_)
        | Error::Protocol(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::BeginFailed
        | Error::InvalidSavePointStatement => true,
        Error::Database(error) => match sqlite_code(error.as_ref()) {
            Some(code) => is_fault_of_sqlite(code),
            None => error.code().is_some_and(|state| {
                state.len() == 5 && CLASSES.iter().any(|class| state.starts_with(class))
            }),
        },
        _ => false,
    }
}

/// Returns the causes of `error` in one line, each once: sqlx repeats the message of the database in its own.
pub fn causes(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause);
        }
    }
    line
}

/// True if the transaction conflicted with another one: the same work succeeds when it is tried again.
pub(super) fn is_conflict(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<Error>().and_then(Error::as_database_error);
    code.and_then(DatabaseError::code)
        .is_some_and(|state| state.len() == 5 && state.starts_with("40"))
}

/// True for the result codes of SQLite (<https://www.sqlite.org/rescode.html>) that are the database's fault. SQLITE_ERROR,
/// CONSTRAINT, TOOBIG, MISMATCH, MISUSE and RANGE come from the statement and its values: no other process changes the tables.
fn is_fault_of_sqlite(code: i32) -> bool {
    const INTERNAL: i32 = 2;
    const PERM: i32 = 3;
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const READONLY: i32 = 8;
    const INTERRUPT: i32 = 9;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const PROTOCOL: i32 = 15;
    const SCHEMA: i32 = 17;
    const NOLFS: i32 = 22;
    const AUTH: i32 = 23;
    const NOTADB: i32 = 26;
    let primary = code & 0xff;
    primary == IOERR
        || [INTERNAL, PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, CORRUPT].contains(&primary)
        || [FULL, CANTOPEN, PROTOCOL, SCHEMA, NOLFS, AUTH, NOTADB].contains(&primary)
}

const NOMEM: i32 = 7;
const IOERR: i32 = 10;
/// `SQLITE_IOERR_WRITE`: the last page of the transaction was not written to the file.
const IOERR_WRITE: i32 = 778;

/// True if the transaction may be committed although its commit failed with `error`.
///
/// Postgres reports the outcome unless the connection is lost. SQLite writes the pages of a transaction to its WAL, the last
/// with a mark that it is complete, then syncs, then informs its other connections. A failure after the mark is written, such
/// as that of the sync, leaves a transaction that is invisible until the WAL is read again.
pub(crate) fn may_be_committed(error: &Error) -> bool {
    match error {
        Error::Database(error) => match sqlite_code(error.as_ref()) {
            // Memory may be short after the last frame was written.
            Some(code) => code == NOMEM || code & 0xff == IOERR && code != IOERR_WRITE,
            None => is_lost(error.as_ref()),
        },
        _ => true,
    }
}

/// True if Postgres ended the connection, so that the outcome of its last statement is unknown.
fn is_lost(error: &dyn DatabaseError) -> bool {
    error
        .code()
        .is_none_or(|state| ["08", "57", "58", "XX"].contains(&state.get(..2).unwrap_or("")))
}

/// Returns the extended result code of an error of SQLite, and `None` for Postgres.
fn sqlite_code(error: &dyn DatabaseError) -> Option<i32> {
    if let Some(error) = error.try_downcast_ref::<SqliteFailure>() {
        return Some(error.code); // of a writer
    }
    let error = error.try_downcast_ref::<SqliteError>()?;
    error.code()?.parse().ok()
}

/// Returns the error of an operation that the database did not answer in time.
pub(crate) fn vanished() -> Error {
    io::Error::new(io::ErrorKind::TimedOut, "the database does not answer").into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use sqlx::{Connection, Executor, SqliteConnection};

    /// Prepares a database for [`STATEMENTS`].
    pub(in crate::storage) const LIMIT: &str =
        "create table a (b primary key); insert into a values (1); pragma max_page_count = 5";
    /// Statements that fail on it in this order, each with whether the database is at fault.
    pub(in crate::storage) const STATEMENTS: [(&str, bool); 5] = [
        ("insert into a values (zeroblob(100000))", true), // full
        ("pragma query_only = on; insert into a values (2)", true), // read-only
        ("pragma query_only = off; insert into a values (1)", false),
        ("select * from b", false),
        ("insert into a values (zeroblob(9999999999))", false), // too big for any file
    ];

    async fn fails(connection: &mut SqliteConnection, sql: &'static str) -> Error {
        connection.execute(sql).await.expect_err(sql)
    }

    #[tokio::test]
    async fn a_database_that_is_full_or_broken_is_at_fault_and_a_statement_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new();
        let options = options.filename(dir.path().join("a.db")).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        connection.execute(LIMIT).await.unwrap();
        for (sql, at_fault) in STATEMENTS {
            let error = fails(&mut connection, sql).await;
            assert_eq!(is_database_fault(&error), at_fault, "{sql}: {error}");
            assert!(!may_be_committed(&error), "{sql}: {error}");
        }
        std::fs::write(dir.path().join("b.db"), [b'x'; 4_096]).unwrap();
        let broken = options.filename(dir.path().join("b.db"));
        let mut connection = SqliteConnection::connect_with(&broken).await.unwrap();
        let error = fails(&mut connection, "select * from sqlite_schema").await;
        assert!(is_database_fault(&error), "{error}");
    }

    #[test]
    fn the_outcome_of_a_commit_whose_connection_was_lost_is_unknown() {
        let lost = Error::Io(io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(is_database_fault(&lost) && may_be_committed(&lost));
    }
}
