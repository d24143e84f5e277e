//! The tables of a service, as numbered migrations.

use crate::storage::Dialect;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

/// The tables of a service: numbered texts, run in order, each once.
///
/// In a text, `{identity}` becomes the type of a primary key that the database counts up, `{id}` that
/// of a primary key that the service counts up, and `{bytes}` that of bytes. Chassis takes the
/// versions up to 999.
#[derive(Clone, Debug)]
pub struct Schema(Vec<Step>);

#[derive(Clone, Copy, Debug)]
struct Step {
    version: i64,
    description: &'static str,
    sql: &'static str,
    /// The database that it is for; none for both.
    only: Option<Dialect>,
}

impl Schema {
    /// The tables of chassis and, after them, `own`: version, description, SQL.
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

    /// Tables without those of chassis.
    pub(crate) fn bare(own: &[(i64, &'static str, &'static str)]) -> Self {
        Self(Vec::new()).and(own)
    }

    /// More of them, for both databases.
    fn and(self, steps: &[(i64, &'static str, &'static str)]) -> Self {
        self.with(steps, None)
    }

    /// More of them, for SQLite only: how its rows are laid down is for a table to say.
    pub fn on_sqlite(self, steps: &[(i64, &'static str, &'static str)]) -> Self {
        self.with(steps, Some(Dialect::Sqlite))
    }

    fn with(mut self, steps: &[(i64, &'static str, &'static str)], only: Option<Dialect>) -> Self {
        let step = |&(version, description, sql)| Step { version, description, sql, only };
        self.0.extend(steps.iter().map(step));
        self
    }

    /// Whether the tables of chassis are among them.
    pub(super) fn has_those_of_chassis(&self) -> bool {
        self.0.iter().any(|step| step.version <= 999)
    }

    pub(super) fn migrator(&self, dialect: Dialect) -> Migrator {
        let migration = |&Step { version, description, sql, .. }: &Step| {
            let sql = AssertSqlSafe(dialect.expand(sql)).into_sql_str();
            Migration::new(version, description.into(), MigrationType::Simple, sql, false)
        };
        let ours = self.0.iter().filter(|step| step.only.is_none_or(|only| only == dialect));
        let mut migrations: Vec<Migration> = ours.map(migration).collect();
        migrations.sort_by_key(|migration| migration.version);
        Migrator::with_migrations(migrations)
    }
}
