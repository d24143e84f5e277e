//! The two databases, and what differs between them in the SQL of tables.

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one process.
    Sqlite,
    /// Postgres 15 or newer, any number of processes.
    Postgres,
}

impl Dialect {
    /// Returns the end of a `select` that locks its rows until the transaction ends. Lock rows in a fixed order.
    pub(super) fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " for update",
        }
    }

    /// Returns the SQL of tables for this database. The words in braces stand for what differs:
    ///
    /// | word | stands for | in SQLite | in Postgres |
    /// |---|---|---|---|
    /// | `{identity}` | a primary key that the database assigns | `integer primary key autoincrement` | `bigint generated always as identity primary key` |
    /// | `{id}` | a primary key that the service assigns | `integer primary key` | `bigint primary key` |
    /// | `{bytes}` | bytes | `blob` | `bytea` |
    /// | `{clustered}` | a table whose key is a text, after its columns: rows are kept in the tree of the key, so that a write changes one tree and not two | `without rowid` | nothing |
    pub fn expand(self, sql: &str) -> String {
        let words = match self {
            Self::Sqlite => [
                ("{identity}", "integer primary key autoincrement"),
                ("{id}", "integer primary key"),
                ("{bytes}", "blob"),
                ("{clustered}", "without rowid"),
            ],
            Self::Postgres => [
                ("{identity}", "bigint generated always as identity primary key"),
                ("{id}", "bigint primary key"),
                ("{bytes}", "bytea"),
                ("{clustered}", ""),
            ],
        };
        words.into_iter().fold(sql.to_owned(), |sql, (word, meaning)| sql.replace(word, meaning))
    }
}
