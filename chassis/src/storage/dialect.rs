//! Which database it is, and how its tables are written.

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one process.
    Sqlite,
    /// Postgres 15 or newer, any number of processes.
    Postgres,
}

impl Dialect {
    /// The text of tables, with the types that differ written as this database wants them.
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
