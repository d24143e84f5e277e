//! The two databases, and the types of columns that differ between them.

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one process.
    Sqlite,
    /// Postgres 15 or newer, any number of processes.
    Postgres,
}

impl Dialect {
    /// Returns the SQL of tables with `{identity}`, `{id}` and `{bytes}` replaced by the types of this database.
    pub fn expand(self, sql: &str) -> String {
        let (identity, id, bytes) = match self {
            Self::Sqlite => ("integer primary key autoincrement", "integer primary key", "blob"),
            Self::Postgres => {
                ("bigint generated always as identity primary key", "bigint primary key", "bytea")
            }
        };
        sql.replace("{identity}", identity).replace("{id}", id).replace("{bytes}", bytes)
    }
}
