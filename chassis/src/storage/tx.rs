//! A transaction that may write.

use crate::storage::dialect::Dialect;
use crate::storage::pool::Connection;
use sqlx::{AnyConnection, AssertSqlSafe, Executor, query};
use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};

/// A transaction that may write.
///
/// [`Tx::later`] defers writes whose result is not needed before the commit. They go to the database together: on SQLite in one
/// round trip to its thread with the commit, instead of one each, which takes some 0.3 ms under load.
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
    /// Begins a transaction on `connection` with the statement `begin`.
    pub(super) async fn begin(
        connection: &'c mut Connection,
        begin: &'static str,
    ) -> sqlx::Result<Self> {
        connection.in_transaction = true;
        connection.execute(begin).await?;
        Ok(Self { connection: TxConnection::Borrowed(connection), deferred: Vec::new() })
    }

    /// The same on its own connection.
    pub(super) async fn own(
        mut connection: Connection,
        begin: &'static str,
    ) -> sqlx::Result<Tx<'static>> {
        connection.execute(begin).await?;
        Ok(Tx { connection: TxConnection::Owned(connection), deferred: Vec::new() })
    }

    /// Returns the kind of its database.
    pub fn dialect(&self) -> Dialect {
        if self.backend_name() == "SQLite" { Dialect::Sqlite } else { Dialect::Postgres }
    }

    /// Defers a statement: it runs before the commit, in the order of deferral. Its failure fails the transaction.
    pub fn later(&mut self, statement: Statement) {
        self.deferred.push(statement);
    }

    /// Runs the deferred statements.
    pub async fn flush(&mut self) -> sqlx::Result<()> {
        let deferred = std::mem::take(&mut self.deferred);
        let statements = match self.dialect() {
            Dialect::Sqlite if deferred.is_empty() => vec![],
            Dialect::Sqlite => vec![joined(deferred)],
            Dialect::Postgres => deferred, // it accepts no two statements with values at once
        };
        for Statement { sql, values } in statements {
            let mut query = query(AssertSqlSafe(sql));
            for value in values {
                query = match value {
                    Value::Number(number) => query.bind(number),
                    Value::Text(text) => query.bind(text),
                };
            }
            query.execute(&mut **self).await?;
        }
        Ok(())
    }

    /// Runs the deferred statements and commits: on SQLite in one round trip.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        if self.dialect() == Dialect::Sqlite {
            self.later(Statement::new("commit"));
            self.flush().await?;
        } else {
            self.flush().await?;
            self.execute("commit").await?;
        }
        if let TxConnection::Borrowed(connection) = self.connection {
            connection.in_transaction = false;
        }
        Ok(())
    }
}

impl Deref for Tx<'_> {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match &self.connection {
            TxConnection::Borrowed(connection) => connection,
            TxConnection::Owned(connection) => connection,
        }
    }
}

impl DerefMut for Tx<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match &mut self.connection {
            TxConnection::Borrowed(connection) => connection,
            TxConnection::Owned(connection) => connection,
        }
    }
}

/// A statement with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    sql: String,
    values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(i64),
    Text(String),
}

impl Statement {
    /// Returns a statement whose placeholders are `$1`, `$2` and so on.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    /// Binds a value to `$1`. The other placeholders are one higher.
    pub(super) fn with_first(mut self, value: String) -> Self {
        self.values.insert(0, Value::Text(value));
        self
    }

    /// Binds a value to the next placeholder.
    pub fn number(mut self, value: i64) -> Self {
        self.values.push(Value::Number(value));
        self
    }

    /// Binds a value to the next placeholder.
    pub fn text(mut self, value: impl Into<String>) -> Self {
        self.values.push(Value::Text(value.into()));
        self
    }
}

impl From<String> for Statement {
    fn from(sql: String) -> Self {
        Self::new(sql)
    }
}

/// Returns several statements as one, with their placeholders renumbered.
fn joined(statements: Vec<Statement>) -> Statement {
    let mut joined = Statement::new("");
    for Statement { sql, values } in statements {
        let before = joined.values.len();
        let mut parts = sql.split('$');
        joined.sql.extend(parts.next());
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let (number, rest) = part.split_at(end);
            let _ = match number.parse::<usize>() {
                Ok(number) => write!(joined.sql, "${}{rest}", number + before),
                Err(_) => write!(joined.sql, "${part}"),
            };
        }
        joined.sql.push_str(";\n");
        joined.values.extend(values);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_renumbered() {
        let first = Statement::new("update a set b = $2 where c = $1 and d = '$'").number(1);
        let second = Statement::new("delete from a where b = $1").number(3);
        let joined = joined(vec![first.text("x"), second]);
        assert_eq!(
            joined.sql,
            "update a set b = $2 where c = $1 and d = '$';\ndelete from a where b = $3;\n"
        );
        assert_eq!(joined.values, [Value::Number(1), Value::Text("x".into()), Value::Number(3)]);
    }
}
