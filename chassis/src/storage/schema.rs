//! The tables of a service, as numbered migrations.

use crate::storage::Dialect;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

/// The migrations of a service: numbered SQL texts that run in order, each once.
///
/// In the SQL, `{identity}` becomes the type of a primary key that the database assigns, `{id}` that of a primary key that the
/// service assigns, and `{bytes}` that of bytes. The versions up to 999 belong to chassis.
#[derive(Clone, Debug)]
pub struct Schema(Vec<Step>);

#[derive(Clone, Copy, Debug)]
struct Step {
    version: i64,
    description: &'static str,
    sql: &'static str,
    /// The database that it is for. `None` for both.
    only: Option<Dialect>,
}

impl Schema {
    /// Returns the tables of chassis followed by `own`: version, description, SQL.
    pub fn new(own: &[(i64, &'static str, &'static str)]) -> Self {
        let schema = Self(Vec::new())
            .and(&[
                (1, "mailbox", include_str!("../../migrations/0001_mailbox.sql")),
                (2, "retention", include_str!("../../migrations/0002_retention.sql")),
                (3, "outbox batches", include_str!("../../migrations/0003_outbox_batches.sql")),
            ])
            .on_sqlite(&[(4, "clustered", include_str!("../../migrations/0004_clustered.sql"))])
            .and(&[
                (5, "running time", include_str!("../../migrations/0005_running_time.sql")),
                (6, "parked", include_str!("../../migrations/0006_parked.sql")),
            ]);
        schema.and(own)
    }

    /// Returns the tables `own` without those of chassis.
    pub(crate) fn bare(own: &[(i64, &'static str, &'static str)]) -> Self {
        Self(Vec::new()).and(own)
    }

    /// Adds steps for both databases.
    fn and(self, steps: &[(i64, &'static str, &'static str)]) -> Self {
        self.with(steps, None)
    }

    /// Adds steps for SQLite only, such as the layout of a table.
    pub fn on_sqlite(self, steps: &[(i64, &'static str, &'static str)]) -> Self {
        self.with(steps, Some(Dialect::Sqlite))
    }

    fn with(mut self, steps: &[(i64, &'static str, &'static str)], only: Option<Dialect>) -> Self {
        let step = |&(version, description, sql)| Step { version, description, sql, only };
        self.0.extend(steps.iter().map(step));
        self
    }

    pub(super) fn migrator(&self, dialect: Dialect) -> Migrator {
        let migration = |&Step { version, description, sql, .. }: &Step| {
            let sql = AssertSqlSafe(dialect.expand(sql)).into_sql_str();
            Migration::new(version, description.into(), MigrationType::Simple, sql, false)
        };
        let steps = self.0.iter().filter(|step| step.only.is_none_or(|only| only == dialect));
        let mut migrations: Vec<Migration> = steps.map(migration).collect();
        migrations.sort_by_key(|migration| migration.version);
        Migrator::with_migrations(migrations)
    }
}
