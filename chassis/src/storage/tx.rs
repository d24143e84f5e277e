//! A transaction that may write.

use crate::storage::connection::RawConnection;
use crate::storage::dialect::Dialect;
use crate::storage::pool::Connection;
use crate::storage::statement::Statement;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, raw_sql};
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// Statements that take longer are logged as a warning, as sqlx does.
const SLOW: Duration = Duration::from_secs(1);

/// Waits on Postgres until no other replica writes, and lets none write until the transaction ends. The two numbers name the
/// lock among those of the database. Migrations lock by one number, which is another lock.
const WAIT_FOR_TURN: &str = "select pg_advisory_xact_lock(7214, 1)";

/// A transaction that may write.
///
/// [`Tx::later`] defers writes whose result is not needed before the commit. They go to Postgres together with the commit, in one
/// round trip instead of one each. SQLite runs on the thread of the caller, which waits for it.
///
/// Dropping one on a borrowed connection rolls nothing back. The pool closes such a connection, which ends the transaction.
pub struct Tx<'c> {
    connection: TxConnection<'c>,
    deferred: Vec<Statement>,
}

enum TxConnection<'c> {
    /// On a connection that outlives the transaction.
    Borrowed(&'c mut Connection),
    /// On its own connection, which is closed with it.
    Owned(Connection),
}

impl<'c> Tx<'c> {
    /// Begins a transaction on `connection`.
    pub(super) async fn begin(connection: &'c mut Connection) -> sqlx::Result<Self> {
        let mut tx = Self::borrowed(connection);
        tx.run(vec![tx.begin_statement()]).await?;
        Ok(tx)
    }

    /// The same on its own connection.
    pub(super) async fn own(connection: Connection) -> sqlx::Result<Tx<'static>> {
        let mut tx = Tx { connection: TxConnection::Owned(connection), deferred: Vec::new() };
        tx.run(vec![tx.begin_statement()]).await?;
        Ok(tx)
    }

    /// Returns one on `connection` that has not begun.
    fn borrowed(connection: &'c mut Connection) -> Self {
        connection.in_transaction = true;
        Self { connection: TxConnection::Borrowed(connection), deferred: Vec::new() }
    }

    /// Begins a transaction on `connection` with the statement `first`, and waits for its turn: replicas of a service write one
    /// at a time. On SQLite the turn is the lock of the file, and `first` is deferred.
    pub(super) async fn begin_in_turn(
        connection: &'c mut Connection,
        first: Statement,
    ) -> sqlx::Result<Self> {
        if connection.dialect() == Dialect::Sqlite {
            let mut tx = Self::begin(connection).await?;
            tx.later(first);
            return Ok(tx);
        }
        let mut tx = Self::borrowed(connection);
        tx.run(vec![tx.begin_statement(), first, Statement::new(WAIT_FOR_TURN)]).await?;
        Ok(tx)
    }

    /// Returns the kind of its database.
    pub fn dialect(&self) -> Dialect {
        (**self).dialect()
    }

    /// Returns the statement that begins it. SQLite takes its write lock at once: a transaction that first reads and then writes
    /// would fail as busy instead of waiting.
    fn begin_statement(&self) -> Statement {
        Statement::new(match self.dialect() {
            Dialect::Sqlite => "begin immediate",
            Dialect::Postgres => "begin",
        })
    }

    /// Defers a statement: it runs before the commit, in the order of deferral. Its failure fails the transaction.
    pub fn later(&mut self, statement: Statement) {
        self.deferred.push(statement);
    }

    /// Runs the deferred statements.
    pub async fn flush(&mut self) -> sqlx::Result<()> {
        let deferred = std::mem::take(&mut self.deferred);
        self.run(deferred).await?;
        Ok(())
    }

    /// Runs the deferred statements and commits, in one round trip.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        self.later(Statement::new("commit"));
        self.flush().await?;
        if let TxConnection::Borrowed(connection) = self.connection {
            connection.in_transaction = false;
        }
        Ok(())
    }

    /// Runs statements in their order, on Postgres in one round trip. Returns the rows of all.
    pub(super) async fn run(&mut self, statements: Vec<Statement>) -> sqlx::Result<Vec<AnyRow>> {
        if statements.is_empty() {
            return Ok(vec![]);
        }
        let began = Instant::now();
        let rows = match self.connection_mut().inner() {
            RawConnection::SqliteWriter(connection) => connection.run(&statements),
            RawConnection::Postgres(connection, prepared) => {
                if let Some(text) = prepared.prepare(&statements) {
                    raw_sql(AssertSqlSafe(text)).execute(&mut *connection).await?;
                }
                let text = prepared.text(&statements)?;
                raw_sql(AssertSqlSafe(text)).fetch_all(connection).await
            }
            RawConnection::SqliteReader(..) => unreachable!("a reader begins no transaction"),
        };
        log(&statements, began.elapsed());
        rows
    }

    fn connection_mut(&mut self) -> &mut Connection {
        match &mut self.connection {
            TxConnection::Borrowed(connection) => connection,
            TxConnection::Owned(connection) => connection,
        }
    }
}

/// Logs statements as sqlx does, but without their values.
fn log(statements: &[Statement], took: Duration) {
    let sql = || {
        let mut texts: Vec<&str> = statements.iter().map(|statement| &*statement.sql).collect();
        texts.dedup(); // the rows of an insert have the same
        texts.join(";\n")
    };
    if took > SLOW {
        warn!(target: "sqlx::query", { db.statement = sql(), took = ?took }, "slow statements");
    } else {
        debug!(target: "sqlx::query", { db.statement = sql(), took = ?took }, "statements");
    }
}

/// For statements whose result is needed before the commit.
impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.connection {
            TxConnection::Borrowed(connection) => connection,
            TxConnection::Owned(connection) => connection,
        }
    }
}

impl DerefMut for Tx<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Db, Schema};
    use sqlx::{Row as _, query};

    crate::on_each_database!(
        Schema::new(&[(1001, "texts", "create table texts (id bigint primary key, text text)")]);
        texts_arrive_as_they_are,
        a_failure_of_one_statement_undoes_all_and_its_connection_is_not_used_again,
        queries_of_sqlx_run_in_a_transaction,
    );

    const INSERT: &str = "insert into texts (id, text) values ($1, $2)";

    async fn texts_arrive_as_they_are(db: Db) {
        let texts =
            ["", "'", "''", "\\", "\\'", "'; delete from texts; --", "$1", "$$", "기프티콘\n\u{1}"];
        let mut connection = db.connection().await.unwrap();
        for round in 0..2 {
            let mut tx =
                db.begin_in_turn(&mut connection, Statement::new("select 1")).await.unwrap();
            for (number, text) in (round * 100..).zip(texts) {
                tx.later(Statement::new(INSERT).number(number).text(text));
            }
            tx.commit().await.unwrap();
        }
        let rows = db.fetch_all(query("select text from texts order by id")).await.unwrap();
        let rows: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(rows, [texts, texts].concat());
    }

    async fn a_failure_of_one_statement_undoes_all_and_its_connection_is_not_used_again(db: Db) {
        let insert = |tx: &mut Tx<'_>, id| tx.later(Statement::new(INSERT).number(id).text("a"));
        let mut connection = db.connection().await.unwrap();
        let mut tx = db.begin_on(&mut connection).await.unwrap();
        insert(&mut tx, 1);
        insert(&mut tx, 1);
        insert(&mut tx, 2);
        let error = tx.commit().await.unwrap_err();
        assert!(
            error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
        );
        db.keep(connection);
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, 3);
        tx.commit().await.unwrap();
        let rows = db.fetch_all(query("select id from texts")).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<i64, _>(0)).collect::<Vec<_>>(), [3]);
    }

    /// Values of all types of our columns, placeholders in any order, and several statements in a text.
    async fn queries_of_sqlx_run_in_a_transaction(db: Db) {
        let bytes = if db.dialect() == Dialect::Sqlite { "blob" } else { "bytea" };
        let create = format!("create table all_types (id bigint, text text, bytes {bytes})");
        let mut tx = db.begin().await.unwrap();
        raw_sql(AssertSqlSafe(format!("{create}; insert into all_types (id) values (1)")))
            .execute(&mut *tx)
            .await
            .unwrap();
        let insert = query(
            "insert into all_types (bytes, text, id) values ($3, $2, $1), (null, $2, $1 + 1)",
        );
        let inserted = insert.bind(2_i64).bind("b").bind(&b"\0c"[..]).execute(&mut *tx).await;
        assert_eq!(inserted.unwrap().rows_affected(), 2);
        let rows = query("select id, text, bytes from all_types order by id");
        let rows = rows.fetch_all(&mut *tx).await.unwrap();
        let rows: Vec<(i64, Option<String>, Option<Vec<u8>>)> =
            rows.iter().map(|row| (row.get("id"), row.get(1), row.get(2))).collect();
        let text = || Some("b".to_owned());
        assert_eq!(rows, [(1, None, None), (2, text(), Some(b"\0c".to_vec())), (3, text(), None)]);
        let none = query("select id from all_types where id = $1").bind(9_i64);
        assert!(none.fetch_optional(&mut *tx).await.unwrap().is_none());
        let updated = query("update all_types set text = null where id > $1 returning id");
        assert_eq!(updated.bind(1_i64).fetch_all(&mut *tx).await.unwrap().len(), 2);
        tx.commit().await.unwrap();
        let rows = db.fetch_all(query("select id from all_types")).await.unwrap();
        assert_eq!(rows.len(), 3);
    }
}
