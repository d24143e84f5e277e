//! A rebuild leaves the table of views as the migrations made it, on each database.

use chassis::on_each_database;
use chassis::storage::{Db, Dialect};
use chassis::testing::carry_out;
use mypage::app::ViewModel;
use mypage::projection::Command;
use mypage::store;
use sqlx::{Row as _, query};

on_each_database!(
    store::schema();
    a_rebuilt_table_has_the_columns_and_indexes_of_the_old_one,
);

/// Returns the columns of the table `views` with their properties, its indexes without their names, and its storage parameters.
async fn layout(db: &Db) -> Vec<Vec<String>> {
    let (columns, indexes) = match db.dialect() {
        Dialect::Sqlite => (
            r#"select name, type, cast("notnull" as text), coalesce(dflt_value, ''), cast(pk as text)
               from pragma_table_info('views')"#,
            r#"select cast(l."unique" as text), l.origin,
                   (select group_concat(i.name) from pragma_index_info(l.name) i)
               from pragma_index_list('views') l order by l.seq"#,
        ),
        Dialect::Postgres => (
            "select column_name::text, data_type::text, is_nullable::text, coalesce(column_default, '')::text
             from information_schema.columns where table_name = 'views' order by ordinal_position",
            "select indisunique::text, indisprimary::text, indkey::text
             from pg_index where indrelid = 'views'::regclass order by 3",
        ),
    };
    let storage = match db.dialect() {
        Dialect::Sqlite => "select 'none'",
        Dialect::Postgres => {
            "select array_to_string(reloptions, ', ') from pg_class where oid = 'views'::regclass"
        }
    };
    let mut layout = Vec::new();
    for sql in [columns, indexes, storage] {
        let rows = db.fetch_all(query(sql)).await.unwrap();
        assert!(!rows.is_empty(), "{sql}");
        let texts = |row: &sqlx::any::AnyRow| (0..row.len()).map(|cell| row.get(cell)).collect();
        layout.extend(rows.iter().map(texts));
    }
    layout
}

async fn execute(db: &Db, command: Command) {
    let outcomes = carry_out(db, &ViewModel, &[command]).await.unwrap();
    assert!(outcomes[0].is_ok());
}

async fn a_rebuilt_table_has_the_columns_and_indexes_of_the_old_one(db: Db) {
    // As a later migration may change it.
    let mut tx = db.begin().await.unwrap();
    let add = "alter table views add column message text not null default 'none'";
    query(add).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let before = layout(&db).await;
    assert!(before.iter().any(|column| column[0] == "message"), "{before:?}");
    for token in ["first", "second"] {
        execute(&db, Command::BeginRebuild { token: token.into() }).await;
        execute(&db, Command::FinishRebuild { token: token.into() }).await;
        assert_eq!(layout(&db).await, before);
    }
}
