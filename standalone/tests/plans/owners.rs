//! The statements of lists that one owner asks for, or somebody who reads everything. Requests of the shop are guests'.

use axum::http::HeaderMap;
use chassis::auth::Principal;
use chassis::http::{BaseUrl, Query};
use chassis::listing::{Listing, Scope};
use chassis::storage::Schema;
use chassis::testing::{TestDb, principal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Deserialize, Serialize)]
struct Row {
    id: i64,
}

/// Asks each listing of what has owners for pages, items and the newest, as alice and as an MD.
pub(crate) async fn send_statements(databases: &BTreeMap<&str, TestDb>) {
    let listings: [(&str, Schema, &Listing); 3] = [
        ("cart", cart::store::schema(), &cart::store::CARTS),
        ("payment", payment::store::schema(), &payment::store::PAYMENTS),
        ("mypage", mypage::store::schema(), &mypage::store::MYPAGES),
    ];
    for (service, schema, listing) in listings {
        ask(&databases[service], &schema, listing).await;
    }
}

async fn ask(database: &TestDb, schema: &Schema, listing: &Listing) {
    let db = database.open(schema).await;
    let base = BaseUrl::of(&HeaderMap::new());
    let unique = if listing.search.is_some() { "cartId" } else { "id" };
    let pages = |principal: Principal, owner: &'static str| {
        let sorts = ["id", "id,desc", unique].into_iter();
        let sorted = sorts.flat_map(|sort| {
            ["", "&page=1", "&after=1", "&before=2"].map(|page| format!("sort={sort}{page}"))
        });
        sorted.map(move |asked| (principal.clone(), format!("size=1&{asked}{owner}")))
    };
    let of_alice = "&owner=https%3A%2F%2Fid.example%23alice";
    let asked = pages(principal("alice"), "")
        .chain(pages(principal("md"), ""))
        .chain(pages(principal("md"), of_alice));
    for (principal, asked) in asked {
        let query = Query::parse(&asked).unwrap();
        let read = |row: Row| (row.id, row);
        let page = listing.page(&db, &base, &principal, &query, read).await;
        assert!(page.is_ok(), "{}: {asked}", listing.collection);
    }
    for principal in [principal("alice"), principal("md")] {
        let scope = Scope::of(&principal);
        let _: Option<Row> = listing.find(&db, &scope, "id", 1).await.unwrap();
        let _: Vec<Row> = listing.newest(&db, &scope, 20).await.unwrap();
    }
}
