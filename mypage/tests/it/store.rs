//! What the view's tables promise, on each database.

use axum::http::HeaderMap;
use chassis::auth::Principal;
use chassis::http::{BaseUrl, Query};
use chassis::listing::Scope;
use chassis::on_each_database;
use chassis::storage::{Db, ids};
use chassis::testing::carry_out;
use common_events::{CartId, GifticonId, Owner, PaymentId};
use mypage::app::ViewModel;
use mypage::projection::{Command, Details, Fact, Kind, View};
use mypage::store::{self, ViewRow};
use serde_json::{Value, json};
use std::collections::BTreeMap;

on_each_database!(
    store::schema();
    a_view_comes_back_as_the_sum_of_its_facts,
    a_view_may_begin_with_its_payment,
    a_fact_that_comes_twice_changes_nothing,
    a_batch_of_many_rows_is_one_transaction,
    what_nobody_told_comes_back_as_not_known,
    a_transaction_that_is_dropped_leaves_nothing,
    pages_lead_through_all_in_any_order,
    a_rebuild_takes_the_place_of_the_old_tables_and_keeps_ids,
    a_rebuild_keeps_what_the_topic_no_longer_tells,
    a_rebuild_that_was_overtaken_changes_nothing,
    ; replicas: two_replicas_make_one_row_of_a_cart,
);

fn fact(cart: i64, kind: Kind, at: i64, details: Details) -> Fact {
    Fact { cart_id: CartId(cart), owner: Owner::GUEST, kind, at, details }
}

fn added(cart: i64) -> Fact {
    let details = Details {
        gifticon_id: Some(GifticonId(1)),
        name: Some("아메리카노".into()),
        price: Some(5000),
        quantity: Some(2),
        amount: Some(10_000),
        ..Details::default()
    };
    fact(cart, Kind::CartAdded, 1_000, details)
}

fn paid(cart: i64) -> Fact {
    let details =
        Details { payment_id: Some(PaymentId(cart)), amount: Some(10_000), ..Details::default() };
    fact(cart, Kind::PaymentApproved, 2_000, details)
}

async fn done(db: &Db, commands: &[Command]) {
    let outcomes = carry_out(db, &ViewModel, commands).await.unwrap();
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
}

async fn told(db: &Db, facts: &[Fact]) {
    done(db, &facts.iter().cloned().map(Command::Told).collect::<Vec<_>>()).await;
}

async fn by_cart(db: &Db, cart: i64) -> sqlx::Result<Option<ViewRow>> {
    store::by_cart(db, &Scope::All, cart).await
}

async fn by_id(db: &Db, id: i64) -> sqlx::Result<Option<ViewRow>> {
    store::by_id(db, &Scope::All, id).await
}

fn steps(row: &ViewRow) -> BTreeMap<Kind, i64> {
    View::from(row.clone()).steps
}

async fn a_view_comes_back_as_the_sum_of_its_facts(db: Db) {
    told(&db, &[added(7)]).await;
    let first = by_cart(&db, 7).await.unwrap().unwrap();
    assert_eq!((first.id, first.status.as_str()), (1, "CartAdded"));
    assert_eq!(first.details, added(7).details);

    told(&db, &[paid(7)]).await;
    let then = by_id(&db, 1).await.unwrap().unwrap();
    assert_eq!(
        (then.status.as_str(), then.details.payment_id),
        ("PaymentApproved", Some(PaymentId(7)))
    );
    assert_eq!((then.created_at, then.updated_at), (1_000, 2_000));
    assert_eq!(steps(&then), [(Kind::CartAdded, 1_000), (Kind::PaymentApproved, 2_000)].into());
}

async fn a_view_may_begin_with_its_payment(db: Db) {
    told(&db, &[paid(7)]).await;
    let first = by_cart(&db, 7).await.unwrap().unwrap();
    assert_eq!((first.details.name, first.details.gifticon_id), (None, None));
    told(&db, &[added(7)]).await;
    let then = by_cart(&db, 7).await.unwrap().unwrap();
    assert_eq!((then.id, then.status.as_str()), (first.id, "PaymentApproved"));
    assert_eq!(then.details.name.as_deref(), Some("아메리카노"));
}

async fn a_fact_that_comes_twice_changes_nothing(db: Db) {
    told(&db, &[added(7), added(7)]).await;
    let once = by_cart(&db, 7).await.unwrap();
    told(&db, &[added(7)]).await;
    assert_eq!(by_cart(&db, 7).await.unwrap(), once);
    assert_eq!(ids::count_live(&db, "mypages").await.unwrap(), 1);
    assert_eq!(steps(&once.unwrap()).len(), 1);
}

async fn a_batch_of_many_rows_is_one_transaction(db: Db) {
    let facts: Vec<Fact> = (1..=1_300).flat_map(|cart| [added(cart), paid(cart)]).collect();
    told(&db, &facts).await;
    assert_eq!(ids::count_live(&db, "mypages").await.unwrap(), 1_300);
    assert_eq!(by_id(&db, 1_300).await.unwrap().unwrap().status, "PaymentApproved");
}

async fn a_rebuild_takes_the_place_of_the_old_tables_and_keeps_ids(db: Db) {
    told(&db, &[added(7), added(8), paid(8)]).await;
    let before = [by_cart(&db, 7).await.unwrap(), by_cart(&db, 8).await.unwrap()];
    // Somebody spoiled a row, and lost another.
    let mut tx = db.begin().await.unwrap();
    for spoil in [
        "update views set name = 'spoilt' where cart_id = 7",
        "update views set payment_approved_at = null where cart_id = 8",
    ] {
        sqlx::query(spoil).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();

    for _ in 0..2 {
        let token = uuid::Uuid::new_v4().to_string();
        let replay = |fact| Command::Replayed { token: token.clone(), fact };
        done(&db, &[Command::BeginRebuild { token: token.clone() }]).await;
        done(&db, &[replay(paid(8)), replay(added(8))]).await;
        told(&db, &[added(9)]).await; // a live event meanwhile
        done(&db, &[replay(added(7)), replay(added(9))]).await;
        done(&db, &[Command::FinishRebuild { token: token.clone() }]).await;
        let after = [by_cart(&db, 7).await.unwrap(), by_cart(&db, 8).await.unwrap()];
        assert_eq!(after, before);
        assert_eq!(by_cart(&db, 9).await.unwrap().unwrap().id, 3);
        assert_eq!(ids::count_live(&db, "mypages").await.unwrap(), 3);
    }
    told(&db, &[added(10)]).await;
    assert_eq!(by_cart(&db, 10).await.unwrap().unwrap().id, 4);
}

async fn a_rebuild_keeps_what_the_topic_no_longer_tells(db: Db) {
    told(&db, &[added(1), paid(1), added(2)]).await;
    let before = by_cart(&db, 1).await.unwrap();
    let token = "one".to_owned();
    done(&db, &[Command::BeginRebuild { token: token.clone() }]).await;
    for fact in [paid(1), added(3)] {
        done(&db, &[Command::Replayed { token: token.clone(), fact }]).await;
    }
    done(&db, &[Command::FinishRebuild { token }]).await;

    assert_eq!(by_cart(&db, 1).await.unwrap(), before, "half of its story is there");
    let second = by_cart(&db, 2).await.unwrap().expect("none of its story is there");
    assert_eq!((second.details.clone(), steps(&second).len()), (added(2).details, 1));
    assert_eq!(by_cart(&db, 3).await.unwrap().map(|third| third.id), Some(3));
    assert_eq!(ids::count_live(&db, "mypages").await.unwrap(), 3);
}

async fn a_rebuild_that_was_overtaken_changes_nothing(db: Db) {
    told(&db, &[added(7)]).await;
    let begin = |token: &str| Command::BeginRebuild { token: token.into() };
    done(&db, &[begin("first")]).await;
    done(&db, &[begin("second")]).await;
    let model = ViewModel;
    for late in [
        Command::Replayed { token: "first".into(), fact: added(7) },
        Command::FinishRebuild { token: "first".into() },
    ] {
        assert!(carry_out(&db, &model, &[late]).await.unwrap()[0].is_err());
    }
    assert!(by_cart(&db, 7).await.unwrap().is_some());
}

async fn what_nobody_told_comes_back_as_not_known(db: Db) {
    let (kind, details) = (Kind::CartRemoved, Details::default());
    told(&db, &[fact(7, kind, -1, details.clone())]).await;
    let shown = by_cart(&db, 7).await.unwrap().unwrap();
    assert_eq!((shown.details, shown.status.as_str()), (details, "CartRemoved"));
    assert_eq!((shown.created_at, shown.updated_at), (-1, -1));
    // Every kind of step comes back as itself, and the view is as the last in rank says.
    let facts: Vec<Fact> = Kind::ALL
        .iter()
        .copied()
        .zip(5..)
        .map(|(kind, at)| Fact { kind, at, ..added(8) })
        .collect();
    told(&db, &facts).await;
    let shown = by_cart(&db, 8).await.unwrap().unwrap();
    assert_eq!(steps(&shown), Kind::ALL.iter().copied().zip(5..).collect());
    assert_eq!(shown.status, "PaymentCanceled");
}

async fn a_transaction_that_is_dropped_leaves_nothing(db: Db) {
    told(&db, &[added(7)]).await;
    let before = by_cart(&db, 7).await.unwrap();
    {
        let mut tx = db.begin().await.unwrap();
        let facts = [paid(7), added(8)];
        let commands: Vec<Command> = facts.iter().cloned().map(Command::Told).collect();
        let named: Vec<&Command> = commands.iter().collect();
        let mut tables = store::load(&mut tx, &named).await.unwrap();
        for command in &commands {
            tables.handle(command).unwrap();
        }
        store::save(&mut tx, &tables).await.unwrap();
        tx.flush().await.unwrap();
    }
    assert_eq!(by_cart(&db, 7).await.unwrap(), before);
    assert!(by_cart(&db, 8).await.unwrap().is_none());
    told(&db, &[added(9)]).await;
    assert_eq!(by_cart(&db, 9).await.unwrap().unwrap().id, 2);
}

/// A page, and the carts on it.
async fn page(db: &Db, query: &str) -> (Value, Vec<i64>) {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = Query(pairs.map(|(name, value)| (name.into(), value.into())).collect());
    let read = |row: ViewRow| (row.id, json!({ "cart": row.cart_id }));
    let (base, guest) = (BaseUrl::of(&HeaderMap::new()), Principal::open());
    let page = store::MYPAGES.page(db, &base, &guest, &query, read).await;
    let page = serde_json::to_value(page.unwrap_or_else(|problem| panic!("{problem:?}"))).unwrap();
    let items = page["_embedded"]["mypages"].as_array().unwrap().clone();
    (page, items.iter().map(|item| item["cart"].as_i64().unwrap()).collect())
}

async fn pages_lead_through_all_in_any_order(db: Db) {
    // The carts fall while the rows rise.
    for cart in (1..=25).rev() {
        told(&db, &[added(cart)]).await;
    }
    told(&db, &[paid(3)]).await;
    let all: Vec<i64> = (1..=25).rev().collect();
    let (mut next, mut found) = (Some("size=10".to_owned()), Vec::new());
    while let Some(query) = next {
        let (page, carts) = page(&db, &query).await;
        let total = (&page["page"]["totalElements"], &page["page"]["totalPages"]);
        assert_eq!(total, (&json!(25), &json!(3)));
        found.extend(carts);
        let href = page["_links"]["next"]["href"].as_str();
        next = href.and_then(|href| Some(href.split_once('?')?.1.to_owned()));
    }
    assert_eq!(found, all);
    assert_eq!(page(&db, "size=10&page=2").await.1, all[20..], "the last page");
    assert_eq!(page(&db, "size=2&sort=cartId").await.1, [1, 2]);
    assert_eq!(page(&db, "size=1&sort=status,desc").await.1, [3]);
    assert_eq!(page(&db, "size=1&sort=updatedAt,desc").await.1, [3]);
    // What is null comes somewhere, on either database, and nothing is lost by it.
    let mut sorted = page(&db, "size=25&sort=paymentId").await.1;
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(sorted, all);
}

async fn two_replicas_make_one_row_of_a_cart(one: Db, other: Db) {
    tokio::join!(
        async {
            for cart in 1..=40 {
                told(&one, &[added(cart)]).await;
            }
        },
        async {
            for cart in 1..=40 {
                told(&other, &[paid(cart)]).await;
            }
        },
    );
    for id in 1..=40 {
        let shown = by_id(&one, id).await.unwrap().expect("ids have no gaps");
        assert_eq!(shown.status, "PaymentApproved");
        assert_eq!(shown.details.name.as_deref(), Some("아메리카노"));
        assert_eq!(steps(&shown).len(), 2);
    }
    assert_eq!(ids::count_live(&other, "mypages").await.unwrap(), 40);
}
