//! What a page of live carts costs where most carts are gone, on each database.

use axum::http::HeaderMap;
use cart::store::{self, CARTS};
use chassis::auth::{Principal, Role};
use chassis::http::{BaseUrl, Query};
use chassis::on_each_database;
use chassis::storage::{Db, Dialect};
use common_events::Owner;
use serde::Deserialize;
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row, query};

on_each_database!(
    store::schema();
    live_carts_are_sorted_without_a_look_at_the_others,
);

#[derive(Deserialize)]
struct Id {
    id: i64,
}

async fn live_carts_are_sorted_without_a_look_at_the_others(db: Db) {
    let fill = "insert into carts (id, gifticon_id, quantity, reservation_id, name, price, status, \
                added_at, changed_at, removed_at) with recursive n (i) as \
                (select 1 union all select i + 1 from n where i < 20000) \
                select i, 1, 1, 'r' || i, 'Americano', 5000, \
                case when i % 1000 = 0 then 'CartAdded' else 'CartRemoved' end, 0, 0, case when i % 1000 = 0 then null else 0 end from n";
    let mut tx = db.begin().await.unwrap();
    query(fill).execute(&mut *tx).await.unwrap();
    query("update counters set live = 20 where name = 'carts'").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();

    let explain = match db.dialect() {
        Dialect::Sqlite => "explain query plan",
        Dialect::Postgres => "explain",
    };
    let sql = format!("{explain} select id, name {} order by name, id limit 21", CARTS.from);
    let plan = db.fetch_all(query(AssertSqlSafe(sql))).await.unwrap();
    let uses_index = |row: &AnyRow| {
        let text = |column| row.try_get::<String, _>(column);
        (0..row.len()).any(|column| text(column).is_ok_and(|text| text.contains("carts_live")))
    };
    assert!(plan.iter().any(uses_index), "it reads what is gone too");

    let asked = Query(vec![("sort".into(), "name".into()), ("size".into(), "3".into())]);
    let read = |Id { id }| (id, json!({ "id": id }));
    let (base, md) =
        (BaseUrl::of(&HeaderMap::new()), Principal::new(Owner::from_text("md".into()), [Role::Md]));
    let page = CARTS.page(&db, &base, &md, &asked, read).await.unwrap();
    let page = serde_json::to_value(page).unwrap();
    let ids = page["_embedded"]["carts"].as_array().unwrap().iter().map(|cart| &cart["id"]);
    assert_eq!(ids.collect::<Vec<_>>(), [1_000, 2_000, 3_000]);
}
