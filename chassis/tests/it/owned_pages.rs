//! Pages of what belongs to one owner, on each database.

use crate::pages::{TABLE, ask_as, backwards_as, fill, forwards_as, link, query_all};
use chassis::auth::{Principal, Role};
use chassis::on_each_database;
use chassis::storage::{Db, Schema};
use chassis::testing::principal;
use serde_json::json;

on_each_database!(
    Schema::new(&[(1001, "things", TABLE)]);
    everybody_pages_through_what_is_theirs_in_every_order,
    what_one_owner_has_is_counted_up_to_a_bound,
);

/// Returns true for the ids of what somebody sees.
type IsTheirs<'f> = &'f dyn Fn(&i64) -> bool;

/// Fills the table: of three things in a row, the first is alice's and the second bob's.
async fn fill_with_owners(db: &Db, count: i64) {
    fill(db, count).await;
    query_all(
        db,
        "update things set owner = case id % 3 when 1 then 'https://id.example#alice' \
         when 2 then 'https://id.example#bob' else 'guest' end",
    )
    .await;
    query_all(
        db,
        "update counters set owned = (select count(*) from things where owner <> 'guest') \
         where name = 'things'",
    )
    .await;
}

async fn everybody_pages_through_what_is_theirs_in_every_order(db: Db) {
    fill_with_owners(&db, 300).await;
    let of_bob = "&owner=https%3A%2F%2Fid.example%23bob";
    let nobody = "&owner=nobody";
    let everything = |_: &i64| true;
    let of = |rest: i64| move |id: &i64| id % 3 == rest;
    let whose: [(Principal, &str, IsTheirs<'_>); 9] = [
        (principal("alice"), "", &of(1)),
        (principal("alice"), of_bob, &of(1)),
        (principal("bob"), "", &of(2)),
        (Principal::open(), "", &of(0)),
        (Principal::open(), of_bob, &of(0)),
        (principal("md"), "", &everything),
        (principal("md"), of_bob, &of(2)),
        (principal("operator"), "&owner=guest", &of(0)),
        (Principal::new(principal("bob").owner().clone(), [Role::Md]), of_bob, &of(2)),
    ];
    for (principal, owner, is_theirs) in whose {
        for sort in [
            "",
            "&sort=id,desc",
            "&sort=number",
            "&sort=number,desc",
            "&sort=colour",
            "&sort=colour,desc&sort=number",
        ] {
            let asked = format!("size=7{sort}{owner}");
            let found = forwards_as(&db, &principal, &asked).await;
            assert_eq!(backwards_as(&db, &principal, &asked).await, found, "{asked}");
            let wanted: Vec<i64> = (1..=300).collect();
            let mut ids: Vec<i64> = found.iter().map(|thing| thing.id).collect();
            ids.sort_unstable();
            assert_eq!(ids, wanted.into_iter().filter(is_theirs).collect::<Vec<_>>(), "{asked}");
            let (page, _) = ask_as(&db, &principal, &asked).await.unwrap();
            assert_eq!(page["page"]["totalElements"], json!(ids.len()), "{asked}");
        }
    }
    let (page, things) = ask_as(&db, &principal("md"), nobody).await.unwrap();
    assert_eq!((things.len(), &page["page"]["totalElements"]), (0, &json!(0)));
    let (page, _) = ask_as(&db, &principal("carol"), "").await.unwrap();
    assert_eq!(page["page"]["totalElements"], 0);
}

async fn what_one_owner_has_is_counted_up_to_a_bound(db: Db) {
    fill(&db, 100_050).await;
    query_all(&db, "update things set owner = 'https://id.example#alice'").await;
    query_all(&db, "update counters set owned = live where name = 'things'").await;
    let alice = principal("alice");
    let (page, _) = ask_as(&db, &alice, "size=1000").await.unwrap();
    assert_eq!(page["page"]["totalElements"], 100_000);
    let (last, things) = ask_as(&db, &alice, &link(&page, "last").unwrap()).await.unwrap();
    assert_eq!((things[0].id, things.len()), (99_001, 1_000));
    // It leads on to what was not counted.
    let (_, things) = ask_as(&db, &alice, &link(&last, "next").unwrap()).await.unwrap();
    assert_eq!((things[0].id, things.len()), (100_001, 50));
    let (page, _) = ask_as(&db, &principal("md"), "").await.unwrap();
    assert_eq!(
        page["page"]["totalElements"], 100_050,
        "everything is counted as it comes and goes"
    );
    let (page, _) = ask_as(&db, &Principal::open(), "").await.unwrap();
    assert_eq!(page["page"]["totalElements"], 0);
}
