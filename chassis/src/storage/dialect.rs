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
    /// | `{updated}` | a table whose rows are updated soon after their insert, after its columns | nothing | room for a second version of each row in its page |
    /// | `{hot}` | a table with few rows that are updated again and again, after its columns | nothing | the same room, and early vacuums |
    /// | `{queue}` | a table whose rows are deleted soon after their insert, after its columns | nothing | early vacuums |
    /// | `{if_not_exists}` | a column that may be there already, after `add column`: see docs/operate/upgrades.md | nothing | `if not exists` |
    ///
    /// An update on Postgres that finds room in the page of its row, and changes no column of an index, writes no index (HOT).
    /// By default a table is vacuumed once a fifth of its rows is dead. After a backlog that is far too late for a queue.
    pub fn expand(self, sql: &str) -> String {
        let words = match self {
            Self::Sqlite => [
                ("{identity}", "integer primary key autoincrement"),
                ("{id}", "integer primary key"),
                ("{bytes}", "blob"),
                ("{clustered}", "without rowid"),
                ("{updated}", ""),
                ("{hot}", ""),
                ("{queue}", ""),
                ("{if_not_exists}", ""),
            ],
            Self::Postgres => [
                ("{identity}", "bigint generated always as identity primary key"),
                ("{id}", "bigint primary key"),
                ("{bytes}", "bytea"),
                ("{clustered}", ""),
                ("{updated}", "with (fillfactor = 50)"),
                (
                    "{hot}",
                    "with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)",
                ),
                (
                    "{queue}",
                    "with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)",
                ),
                ("{if_not_exists}", "if not exists"),
            ],
        };
        words.into_iter().fold(sql.to_owned(), |sql, (word, meaning)| sql.replace(word, meaning))
    }
}
