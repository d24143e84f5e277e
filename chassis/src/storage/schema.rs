//! The tables of a service, as numbered migrations.

use crate::storage::Dialect;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, SqlSafeStr, query};

/// The migration that makes the tables of chassis.
const MAILBOX: i64 = 1;

/// A migration: version, description, SQL.
type Step = (i64, &'static str, &'static str);

/// The migrations of a service: numbered SQL texts that run in order, each once. [`Dialect::expand`] says what may stand in
/// them. The versions up to 999 belong to chassis.
#[derive(Clone, Debug)]
pub struct Schema(Vec<Step>);

/// The database has other tables than this version makes, and none that it can bring up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum SchemaError {
    #[error(
        "its tables were made by a version before 0.2.0, and cannot be brought up to date: \
         make the databases of all services and the topic anew (docs/operate/upgrades.md)"
    )]
    TooOld,
    #[error("its tables were changed by a newer version (migration {0}): start that version")]
    Newer(i64),
    #[error("its tables are those of another service or version (migration {0} differs)")]
    Other(i64),
}

impl Schema {
    /// Returns the tables of chassis followed by `own`.
    pub fn new(own: &[Step]) -> Self {
        let mailbox = (MAILBOX, "mailbox", include_str!("../../migrations/0001_mailbox.sql"));
        let audit = (2, "audit", include_str!("../../migrations/0002_audit.sql"));
        let owners = (3, "owners", include_str!("../../migrations/0003_owners.sql"));
        Self([&[mailbox, audit, owners], own].concat())
    }

    /// Returns the tables `own` without those of chassis.
    pub(crate) fn bare(own: &[Step]) -> Self {
        Self(own.to_vec())
    }

    /// Makes the tables, or brings them up to date.
    pub(super) async fn migrate(
        &self,
        dialect: Dialect,
        connection: &mut AnyConnection,
    ) -> anyhow::Result<()> {
        let migration = |&(version, description, sql): &Step| {
            let sql = AssertSqlSafe(dialect.expand(sql)).into_sql_str();
            Migration::new(version, description.into(), MigrationType::Simple, sql, false)
        };
        let migrations: Vec<Migration> = self.0.iter().map(migration).collect();
        let mailbox = migrations.iter().find(|migration| migration.version == MAILBOX).cloned();
        let migrator = Migrator::with_migrations(migrations);
        let unlike = match migrator.run_direct(None, connection, false).await {
            Err(MigrateError::VersionMissing(version)) => SchemaError::Newer(version),
            Err(MigrateError::VersionMismatch(version)) => SchemaError::Other(version),
            outcome => return Ok(outcome?),
        };
        // Versions before 0.2.0 had another migration of this number, and more that are no more.
        let applied = query("select checksum from _sqlx_migrations where version = $1");
        let applied = applied.bind(MAILBOX).fetch_optional(connection).await?;
        let applied: Option<Vec<u8>> = applied.map(|row| row.try_get(0)).transpose()?;
        let is_old = mailbox.zip(applied).is_some_and(|(ours, theirs)| *ours.checksum != theirs);
        Err(if is_old { SchemaError::TooOld } else { unlike }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Db, causes};
    use crate::testing::TestDb;

    const TABLE: &str = "create table one (id bigint)";

    /// Returns why a database with the tables `made` is refused by a service with the tables `wanted`.
    async fn refusal(made: &Schema, wanted: &Schema) -> String {
        let test = TestDb::sqlite();
        test.open(made).await.close().await;
        let error = Db::open(&test.url, wanted).await.expect_err("it is refused");
        let line = causes(&error);
        let file = test.url.sqlite_path().expect("it is a file").display().to_string();
        line.strip_prefix(&format!("{file}: ")).expect("it names the file first").to_owned()
    }

    #[tokio::test]
    async fn tables_of_another_version_or_service_are_refused_by_one_line() {
        let service = |sql| Schema::new(&[(1001, "service", sql)]);
        let before_0_2 = Schema::bare(&[
            (1, "mailbox", "create table outbox (seq {identity}, event_id text not null)"),
            (
                2,
                "running time",
                "create table running_time (minutes bigint not null); insert into running_time values (0)",
            ),
            (1001, "service", TABLE),
        ]);
        let line = refusal(&before_0_2, &service(TABLE)).await;
        assert!(
            line.contains("before 0.2.0") && line.contains("make the databases of all services"),
            "{line}"
        );
        assert!(!line.contains('\n') && !line.contains("migration"), "{line}");

        let newer = Schema::new(&[(1001, "service", TABLE), (1002, "newer", "select 1")]);
        let line = refusal(&newer, &service(TABLE)).await;
        assert!(line.contains("newer version (migration 1002)"), "{line}");

        let line = refusal(&service(TABLE), &service("create table other (id bigint)")).await;
        assert!(line.contains("another service or version (migration 1001 differs)"), "{line}");
    }
}
