//! Compares the book's page of tables with the databases that the migrations make.

mod common;

use chassis::storage::{Db, Dialect, Schema};
use chassis::testing::TestDb;
use common::files::text;
use sqlx::{Row as _, query};
use std::collections::{BTreeMap, BTreeSet};

/// The columns of tables, by table.
type Tables = BTreeMap<String, BTreeSet<String>>;

/// The section of the tables that each service has.
const EACH_SERVICE: &str = "Each service";

/// Returns the tables that the page has, by section.
fn told() -> BTreeMap<String, Tables> {
    let mut sections: BTreeMap<String, Tables> = BTreeMap::new();
    let (mut section, mut table) = (String::new(), String::new());
    for line in text("docs/reference/tables.md").lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut section);
        } else if let Some(title) = line.strip_prefix("### ") {
            title.trim_matches('`').clone_into(&mut table);
            let tables = sections.entry(section.clone()).or_default();
            let other = tables.insert(table.clone(), BTreeSet::new());
            assert!(other.is_none(), "{table} is there twice");
        } else if let Some((column, _)) =
            line.strip_prefix("| `").and_then(|row| row.split_once('`'))
        {
            let columns = sections.get_mut(&section).and_then(|tables| tables.get_mut(&table));
            let is_new = columns.expect("a row belongs to a table").insert(column.to_owned());
            assert!(is_new, "{column} of {table} is there twice");
        }
    }
    sections
}

/// Returns the tables that a database has, without those that SQLite keeps for itself.
async fn there(db: &Db) -> Tables {
    let columns = query(match db.dialect() {
        Dialect::Sqlite => {
            "select t.name, c.name from sqlite_schema t, pragma_table_info(t.name) c \
             where t.type in ('table', 'view') and t.name not like 'sqlite%'"
        }
        Dialect::Postgres => {
            "select table_name::text, column_name::text from information_schema.columns \
             where table_schema = 'public'"
        }
    });
    let mut tables = Tables::new();
    for row in db.fetch_all(columns).await.unwrap() {
        tables.entry(row.get(0)).or_default().insert(row.get(1));
    }
    tables
}

async fn every_table_and_column_is_in_the_page(databases: [TestDb; 4]) {
    let services: [(&str, Schema); 4] = [
        ("gifticon", gifticon::store::schema()),
        ("cart", cart::store::schema()),
        ("payment", payment::store::schema()),
        ("mypage", mypage::store::schema()),
    ];
    let mut told = told();
    let of_each = told.remove(EACH_SERVICE).expect("each service has tables");
    let names: BTreeSet<&str> = services.iter().map(|(service, _)| *service).collect();
    assert_eq!(told.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
    for ((service, schema), database) in services.into_iter().zip(databases) {
        let db = database.open(&schema).await;
        let mut of_this = of_each.clone();
        of_this.extend(told[service].clone());
        assert_eq!(there(&db).await, of_this, "the tables of {service}, and those in the page");
        db.close().await;
    }
}

#[tokio::test]
async fn every_table_and_column_is_in_the_page_on_sqlite() {
    every_table_and_column_is_in_the_page(std::array::from_fn(|_| TestDb::sqlite())).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn every_table_and_column_is_in_the_page_on_postgres() {
    let mut databases = Vec::new();
    for _ in 0..4 {
        databases.push(TestDb::postgres().await);
    }
    let Ok(databases) = databases.try_into() else { panic!("four were made") };
    every_table_and_column_is_in_the_page(databases).await;
}
