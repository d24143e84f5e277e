//! Pages of a table, small and large, on each database.

use axum::http::HeaderMap;
use chassis::auth::Principal;
use chassis::base::problem::Problem;
use chassis::http::{BaseUrl, Query};
use chassis::listing::{Field, Listing};
use chassis::on_each_database;
use chassis::storage::{Db, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AssertSqlSafe, query};

on_each_database!(
    Schema::new(&[(1001, "things", TABLE)]);
    links_lead_through_every_order_in_both_directions_each_item_once,
    a_large_table_is_sorted_by_unique_fields_only_and_each_item_comes_once,
    a_page_number_deep_in_a_large_table_is_refused,
    a_page_that_is_reached_by_a_key_written_by_hand_links_back,
);

pub(crate) const TABLE: &str =
    "create table things (id {id}, number bigint not null unique, colour bigint not null,
        owner text not null default 'guest');
    create index things_by_owner on things (owner, id);
    create index things_by_owner_and_number on things (owner, number);
    insert into counters (name, last_id, live) values ('things', 0, 0)";

const THINGS: Listing = Listing {
    collection: "things",
    singular: "thing",
    columns: "id, number, colour",
    from: "from things where true",
    owner: Some("owner"),
    fields: &[
        Field::unique("id", "id"),
        Field::unique("number", "number"),
        Field::new("colour", "colour"),
    ],
    search: None,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(crate) struct Thing {
    pub(crate) id: i64,
    number: i64,
    colour: i64,
}

/// Fills the table: numbers fall while ids rise, and there are seven colours.
pub(crate) async fn fill(db: &Db, count: i64) {
    let mut tx = db.begin().await.unwrap();
    for sql in [
        format!(
            "insert into things (id, number, colour) with recursive n (i) as \
             (select 1 union all select i + 1 from n where i < {count}) \
             select i, {count} + 1 - i, i % 7 from n"
        ),
        format!("update counters set last_id = {count}, live = {count} where name = 'things'"),
    ] {
        query(AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn ask(db: &Db, asked: &str) -> Result<(Value, Vec<Thing>), Problem> {
    ask_as(db, &Principal::open(), asked).await
}

pub(crate) async fn ask_as(
    db: &Db,
    principal: &Principal,
    asked: &str,
) -> Result<(Value, Vec<Thing>), Problem> {
    let asked = Query::parse(asked).unwrap();
    let read = |thing: Thing| (thing.id, thing);
    let base = BaseUrl::of(&HeaderMap::new());
    let page = THINGS.page(db, &base, principal, &asked, read).await?;
    let page = serde_json::to_value(page).unwrap();
    let things = serde_json::from_value(page["_embedded"]["things"].clone()).unwrap();
    Ok((page, things))
}

async fn page(db: &Db, asked: &str) -> (Value, Vec<Thing>) {
    ask(db, asked).await.unwrap_or_else(|problem| panic!("{asked}: {problem:?}"))
}

/// The query behind a link of a page.
pub(crate) fn link(page: &Value, name: &str) -> Option<String> {
    let href = page["_links"][name]["href"].as_str()?;
    Some(href.split_once('?')?.1.to_owned())
}

/// All items, by following `next` from the first page.
async fn forwards(db: &Db, asked: &str) -> Vec<Thing> {
    forwards_as(db, &Principal::open(), asked).await
}

pub(crate) async fn forwards_as(db: &Db, principal: &Principal, asked: &str) -> Vec<Thing> {
    let (mut next, mut found) = (Some(asked.to_owned()), Vec::new());
    while let Some(asked) = next {
        let (page, things) = ask_as(db, principal, &asked).await.unwrap();
        assert!(!things.is_empty(), "{asked} leads nowhere");
        found.extend(things);
        next = link(&page, "next");
    }
    found
}

/// All items, by following `prev` from the last page.
async fn backwards(db: &Db, asked: &str) -> Vec<Thing> {
    backwards_as(db, &Principal::open(), asked).await
}

pub(crate) async fn backwards_as(db: &Db, principal: &Principal, asked: &str) -> Vec<Thing> {
    let (first, _) = ask_as(db, principal, asked).await.unwrap();
    let (mut prev, mut found) = (link(&first, "last"), Vec::new());
    while let Some(asked) = prev {
        let (page, things) = ask_as(db, principal, &asked).await.unwrap();
        assert!(!things.is_empty(), "{asked} leads nowhere");
        found.splice(0..0, things);
        prev = link(&page, "prev");
    }
    found
}

async fn links_lead_through_every_order_in_both_directions_each_item_once(db: Db) {
    fill(&db, 1_050).await;
    let by = |order: fn(&Thing) -> (i64, i64)| {
        let mut all: Vec<Thing> =
            (1..=1_050).map(|id| Thing { id, number: 1_051 - id, colour: id % 7 }).collect();
        all.sort_by_key(order);
        all
    };
    for (sort, wanted) in [
        ("", by(|thing| (thing.id, 0))),
        ("&sort=id,desc", by(|thing| (-thing.id, 0))),
        ("&sort=number", by(|thing| (thing.number, 0))),
        ("&sort=number,desc&sort=colour", by(|thing| (-thing.number, 0))),
        ("&sort=colour", by(|thing| (thing.colour, thing.id))),
        ("&sort=colour,desc", by(|thing| (-thing.colour, -thing.id))),
        ("&sort=colour,desc&sort=number", by(|thing| (-thing.colour, thing.number))),
        ("&sort=colour&sort=colour,desc", by(|thing| (thing.colour, thing.id))),
    ] {
        let asked = format!("size=100{sort}");
        assert_eq!(forwards(&db, &asked).await, wanted, "{sort}");
        assert_eq!(backwards(&db, &asked).await, wanted, "{sort}");
    }
    let (beyond, things) = page(&db, "size=100&page=1000000000").await;
    assert!(things.is_empty() && link(&beyond, "next").is_none(), "{beyond}");
    assert_eq!(link(&beyond, "prev").unwrap(), "page=10&size=100");
}

async fn a_large_table_is_sorted_by_unique_fields_only_and_each_item_comes_once(db: Db) {
    fill(&db, 10_000).await;
    assert_eq!(page(&db, "sort=colour&size=3").await.1.len(), 3, "so many are sorted");
    query_all(&db, "delete from things").await;
    fill(&db, 10_001).await;
    for sort in ["colour", "colour,desc", "colour,id"] {
        let problem = ask(&db, &format!("sort={sort}")).await.unwrap_err();
        assert_eq!(problem.status(), 400, "{sort}");
        assert!(format!("{problem:?}").contains("id, number"), "it says what is free: {problem:?}");
    }
    for sort in ["", "&sort=id,desc", "&sort=number", "&sort=number,desc"] {
        let asked = format!("size=1000{sort}");
        let mut found = forwards(&db, &asked).await;
        assert_eq!(backwards(&db, &asked).await, found, "{sort}");
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 10_001, "{sort}");
    }
}

pub(crate) async fn query_all(db: &Db, sql: &'static str) {
    let mut tx = db.begin().await.unwrap();
    query(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_page_number_deep_in_a_large_table_is_refused(db: Db) {
    fill(&db, 250_000).await;
    let first = async |asked: &str| page(&db, asked).await.1.first().map(|thing| thing.id);
    for sort in ["", "&sort=number,desc"] {
        for (number, id) in [(0, 1), (100, 100_001), (200, 200_001), (249, 249_001)] {
            let asked = format!("size=1000&page={number}{sort}");
            assert_eq!(first(&asked).await, Some(id), "{asked}");
        }
        let problem = ask(&db, &format!("size=1000&page=125{sort}")).await.unwrap_err();
        assert_eq!(problem.status(), 400);
        assert_eq!(first(&format!("size=1000&page=250{sort}")).await, None);
    }
    assert_eq!(first("size=1000&page=125&after=125000").await, Some(125_001));
    assert_eq!(first("size=1000&page=124&before=125001").await, Some(124_001));
    // Links of a page deep down lead on, in both directions.
    let (deep, _) = page(&db, "size=1000&page=125&after=125000").await;
    for (name, id) in [("next", 126_001), ("prev", 124_001), ("self", 125_001), ("last", 249_001)] {
        assert_eq!(first(&link(&deep, name).unwrap()).await, Some(id), "{name}");
    }
}

async fn a_page_that_is_reached_by_a_key_written_by_hand_links_back(db: Db) {
    fill(&db, 50).await;
    for (asked, before) in [
        ("size=10&after=20", Some((11, 20))),
        ("size=10&after=5", Some((1, 5))),
        ("size=10&before=41", Some((21, 30))),
        ("size=10&sort=id,desc&after=31", Some((40, 31))),
        ("size=10&after=1000", Some((41, 50))),
        ("size=10&after=0", None),
        ("size=10&before=5", None),
        ("size=10&before=1", None),
    ] {
        let (shown, _) = page(&db, asked).await;
        let prev = link(&shown, "prev");
        assert_eq!(prev.is_some(), before.is_some(), "{asked}: {prev:?}");
        if let Some((prev, before)) = prev.zip(before) {
            let (_, things) = page(&db, &prev).await;
            let ends = things.first().zip(things.last());
            assert_eq!(ends.map(|(first, last)| (first.id, last.id)), Some(before), "{asked}");
        }
    }
}
