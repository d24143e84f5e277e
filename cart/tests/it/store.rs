//! What the carts' tables promise, on each database.

use axum::http::HeaderMap;
use cart::domain::{Attempt, Block, Cart, Command, Outcome, Refusal, Rejection, Reply, Status};
use cart::model::CartModel;
use cart::rows::StoredCart;
use cart::store;
use chassis::auth::Principal;
use chassis::http::{BaseUrl, Query};
use chassis::listing::Scope;
use chassis::model::Publications;
use chassis::on_each_database;
use chassis::storage::{Db, ids};
use chassis::testing::carry_out;
use common_events::{CartId, ExpectedVersions, GifticonId, Owner};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, query};
use uuid::Uuid;

on_each_database!(
    store::schema();
    a_cart_comes_back_as_it_was_made,
    ids_count_from_one_without_gaps,
    a_batch_of_many_rows_is_one_transaction,
    attempts_wait_until_they_are_ended,
    what_is_gone_is_not_shown,
    a_transaction_that_is_dropped_leaves_nothing,
    the_table_refuses_what_no_cart_can_be,
    no_more_attempts_are_read_than_wanted,
    pages_lead_through_the_live_carts_only,
    ; replicas: two_replicas_never_both_get_their_way,
);

/// A new attempt, and what a request writes before it asks gifticon. One without a key has a block of its own.
pub(crate) fn begin(key: Option<&str>) -> (Attempt, Command) {
    let block = Block::unused();
    let attempt = Attempt {
        reservation_id: block.first(),
        owner: Owner::GUEST,
        gifticon_id: GifticonId(1),
        quantity: 3,
        key: key.map(Into::into),
        cancelled: false,
    };
    let begin = match key {
        None => Command::OpenBlock(block),
        Some(_) => Command::BeginAttempt(attempt.clone()),
    };
    (attempt, begin)
}

pub(crate) fn confirm(attempt: &Attempt) -> Command {
    let (attempt, name) = (attempt.clone(), "아메리카노".into());
    Command::Confirm { attempt, name, price: 5000, at: 2_000 }
}

pub(crate) fn cancel(attempt: &Attempt) -> Command {
    Command::CancelAttempt(attempt.clone())
}

pub(crate) fn remove(id: CartId) -> Command {
    Command::Remove { id, owner: Owner::GUEST, expected: ExpectedVersions::default() }
}

pub(crate) async fn outcomes(db: &Db, commands: &[Command]) -> Vec<Result<Reply, Refusal>> {
    carry_out(db, &CartModel, commands).await.unwrap()
}

pub(crate) async fn done(db: &Db, command: Command) -> Reply {
    outcomes(db, &[command]).await.remove(0).unwrap()
}

/// Adds a cart in two transactions, as a request does.
pub(crate) async fn add(db: &Db, key: Option<&str>) -> Cart {
    let (attempt, begun) = begin(key);
    assert_eq!(done(db, begun).await, Reply::Begun);
    match done(db, confirm(&attempt)).await {
        Reply::Cart(cart) => cart,
        other => panic!("{other:?}"),
    }
}

async fn a_cart_comes_back_as_it_was_made(db: Db) {
    let (attempt, begun) = begin(Some("k"));
    done(&db, begun).await;
    let Reply::Cart(made) = done(&db, confirm(&attempt)).await else { panic!("no cart") };
    assert_eq!(store::by_id(&db, &Scope::All, 1).await.unwrap().unwrap(), made);
    assert_eq!((made.name.as_str(), made.amount(), made.added_at), ("아메리카노", 15_000, 2_000));
    assert_eq!(done(&db, confirm(&attempt)).await, Reply::Cart(made), "confirmed twice is once");
    done(&db, Command::MarkPaid { id: CartId(1) }).await;
    assert_eq!(store::by_id(&db, &Scope::All, 1).await.unwrap().unwrap().status, Status::Paid);
    assert!(store::by_id(&db, &Scope::All, 2).await.unwrap().is_none());
}

async fn ids_count_from_one_without_gaps(db: Db) {
    for wanted in 1..=3 {
        let (refused, begun) = begin(Some(&format!("key {wanted}")));
        done(&db, begun).await;
        let (reservation, rejection) = (refused.reservation_id, Rejection::UnknownGifticon);
        done(&db, Command::Refuse { reservation, rejection }).await;
        assert_eq!(add(&db, None).await.id, CartId(wanted));
    }
}

async fn a_batch_of_many_rows_is_one_transaction(db: Db) {
    let (ids, attempts): (Vec<_>, Vec<_>) =
        (0..1_300).map(|n| begin(Some(&format!("key {n}")))).unzip();
    assert!(outcomes(&db, &attempts).await.into_iter().all(|one| one == Ok(Reply::Begun)));
    let confirms: Vec<Command> = ids.iter().map(confirm).collect();
    assert!(outcomes(&db, &confirms).await.into_iter().all(|one| one.is_ok()));
    assert_eq!(ids::count_live(&db, "carts").await.unwrap(), 1_300);
    let removes: Vec<Command> = (1..=1_300).map(|id| remove(CartId(id))).collect();
    assert!(outcomes(&db, &removes).await.into_iter().all(|one| one.is_ok()));
    assert_eq!(ids::count_live(&db, "carts").await.unwrap(), 0);
    assert!(store::pending_attempts(&db, 10).await.unwrap().is_empty());
}

async fn attempts_wait_until_they_are_ended(db: Db) {
    let (attempt, begun) = begin(Some("k"));
    let id = attempt.reservation_id;
    done(&db, begun).await;
    assert_eq!(store::pending_attempts(&db, 10).await.unwrap(), [id]);
    assert!(store::cancelled_attempts(&db, 10).await.unwrap().is_empty());

    done(&db, cancel(&attempt)).await;
    assert!(store::pending_attempts(&db, 10).await.unwrap().is_empty());
    assert_eq!(store::cancelled_attempts(&db, 10).await.unwrap(), [id]);
    assert_eq!(outcomes(&db, &[confirm(&attempt)]).await, [Err(Refusal::AttemptCancelled)]);

    done(&db, Command::CloseAttempt { reservation: id }).await;
    assert!(store::cancelled_attempts(&db, 10).await.unwrap().is_empty());
}

async fn what_is_gone_is_not_shown(db: Db) {
    let made = add(&db, None).await;
    done(&db, remove(made.id)).await;
    assert!(store::by_id(&db, &Scope::All, made.id.0).await.unwrap().is_none());
    assert_eq!(outcomes(&db, &[remove(made.id)]).await, [Err(Refusal::Absent)]);
    done(&db, Command::MarkPaid { id: made.id }).await;
    assert!(
        store::by_id(&db, &Scope::All, made.id.0).await.unwrap().is_none(),
        "what is gone stays gone"
    );
    assert_eq!(add(&db, None).await.id, CartId(2), "ids are not given again");
}

async fn a_transaction_that_is_dropped_leaves_nothing(db: Db) {
    let made = add(&db, None).await;
    let (_, begun) = begin(Some("k"));
    let commands = [begun.clone(), remove(made.id)];
    {
        let mut tx = db.begin().await.unwrap();
        let mut carts = store::load(&mut tx, &[&commands[0], &commands[1]]).await.unwrap();
        for command in &commands {
            carts.handle(command, &mut Publications::default()).unwrap();
        }
        store::save(&mut tx, &carts).unwrap();
    }
    assert_eq!(store::by_id(&db, &Scope::All, 1).await.unwrap().unwrap(), made);
    assert!(store::pending_attempts(&db, 10).await.unwrap().is_empty());
    assert_eq!(ids::count_live(&db, "carts").await.unwrap(), 1);
    assert_eq!(done(&db, begun).await, Reply::Begun, "the key was not taken");
}

async fn the_table_refuses_what_no_cart_can_be(db: Db) {
    let made = add(&db, None).await;
    let cart = |id: i64, quantity: i64, reservation: String| {
        format!(
            "insert into carts (id, gifticon_id, quantity, reservation_id, name, price, status, \
             added_at, changed_at) values ({id}, 1, {quantity}, '{reservation}', 'x', 1, 'CartAdded', 0, 0)"
        )
    };
    for (sql, taken) in [
        (cart(2, 0, Uuid::new_v4().to_string()), false),
        (cart(2, 1, made.reservation_id.to_string()), false),
        (cart(1, 1, Uuid::new_v4().to_string()), false),
        (cart(2, 1, Uuid::new_v4().to_string()), true),
    ] {
        let mut tx = db.begin().await.unwrap();
        let inserted = query(AssertSqlSafe(sql.clone())).execute(&mut *tx).await;
        assert_eq!(inserted.is_ok(), taken, "{sql}");
    }
}

async fn no_more_attempts_are_read_than_wanted(db: Db) {
    let (mut attempts, begun): (Vec<_>, Vec<_>) =
        (0..3).map(|n| begin(Some(&format!("key {n}")))).unzip();
    outcomes(&db, &begun).await;
    attempts.sort_by_key(|attempt| attempt.reservation_id);
    let ids: Vec<_> = attempts.iter().map(|attempt| attempt.reservation_id).collect();
    assert_eq!(store::pending_attempts(&db, 10).await.unwrap(), ids);
    assert_eq!(store::pending_attempts(&db, 1).await.unwrap(), ids[..1]);
    for attempt in &attempts {
        done(&db, cancel(attempt)).await;
    }
    assert_eq!(store::cancelled_attempts(&db, 2).await.unwrap(), ids[..2]);
}

/// A page, and the ids on it.
async fn page(db: &Db, query: &str) -> (Value, Vec<i64>) {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = Query(pairs.map(|(name, value)| (name.into(), value.into())).collect());
    let read = |StoredCart(cart)| (cart.id.0, json!({ "id": cart.id }));
    let (base, guest) = (BaseUrl::of(&HeaderMap::new()), Principal::open());
    let page = store::CARTS.page(db, &base, &guest, &query, read).await;
    let page = serde_json::to_value(page.unwrap_or_else(|problem| panic!("{problem:?}"))).unwrap();
    let items = page["_embedded"]["carts"].as_array().unwrap().clone();
    (page, items.iter().map(|item| item["id"].as_i64().unwrap()).collect())
}

async fn pages_lead_through_the_live_carts_only(db: Db) {
    let (ids, attempts): (Vec<_>, Vec<_>) = (0..45).map(|_| begin(None)).unzip();
    outcomes(&db, &attempts).await;
    outcomes(&db, &ids.iter().map(confirm).collect::<Vec<_>>()).await;
    let gone = (1..=45).filter(|id| id % 9 == 0).map(|id| remove(CartId(id)));
    outcomes(&db, &gone.collect::<Vec<_>>()).await;
    outcomes(&db, &[Command::MarkPaid { id: CartId(44) }]).await;
    let live: Vec<i64> = (1..=45).filter(|id| id % 9 != 0).collect();

    let (mut next, mut found) = (Some("size=15".to_owned()), Vec::new());
    while let Some(query) = next {
        let (page, ids) = page(&db, &query).await;
        let total = (&page["page"]["totalElements"], &page["page"]["totalPages"]);
        assert_eq!(total, (&json!(40), &json!(3)));
        found.extend(ids);
        let href = page["_links"]["next"]["href"].as_str();
        next = href.and_then(|href| Some(href.split_once('?')?.1.to_owned()));
    }
    assert_eq!(found, live);
    assert_eq!(page(&db, "size=15&page=2").await.1, live[30..], "the last page");
    assert_eq!(page(&db, "size=15&page=1").await.1, live[15..30]);
    assert_eq!(page(&db, "size=2&sort=id,desc").await.1, [44, 43]);
    assert_eq!(page(&db, "size=1&sort=status,desc").await.1, [44]);
    let (empty, ids) = page(&db, "size=15&page=3").await;
    assert!(ids.is_empty() && empty["_links"]["next"].is_null(), "{empty}");
}

/// What a replica makes of a command, which it tries again once where the other was in its way.
async fn at(replica: &Db, command: Command) -> Result<Reply, Refusal> {
    let (model, commands) = (CartModel, [command]);
    match carry_out(replica, &model, &commands).await {
        Ok(mut outcomes) => outcomes.remove(0),
        Err(_) => carry_out(replica, &model, &commands).await.unwrap().remove(0),
    }
}

async fn two_replicas_never_both_get_their_way(one: Db, other: Db) {
    tokio::join!(
        async {
            for _ in 0..20 {
                add(&one, None).await;
            }
        },
        async {
            for _ in 0..20 {
                add(&other, None).await;
            }
        },
    );
    for id in 1..=40 {
        assert!(
            store::by_id(&one, &Scope::All, id).await.unwrap().is_some(),
            "there is a gap at {id}"
        );
    }
    for n in 0..20 {
        let key = format!("key {n}");
        let (first_attempt, first) = begin(Some(&key));
        let (twin, second) = begin(Some(&key));
        let replies = tokio::join!(at(&one, first), at(&other, second));
        let attempt = match replies {
            (Ok(Reply::Begun), Ok(Reply::Repeated(Outcome::Pending, None))) => first_attempt,
            (Ok(Reply::Repeated(Outcome::Pending, None)), Ok(Reply::Begun)) => twin,
            both => panic!("one key, and {both:?}"),
        };
        // The request goes on at one while it is cancelled at the other.
        let (confirmed, cancelled) =
            tokio::join!(at(&one, confirm(&attempt)), at(&other, cancel(&attempt)));
        cancelled.unwrap();
        assert!(matches!(confirmed, Ok(Reply::Cart(_)) | Err(Refusal::AttemptCancelled)));
        let live = ids::count_live(&one, "carts").await.unwrap();
        assert_eq!(live, 40, "nobody was told of a cart");
        let waits = store::cancelled_attempts(&one, 100).await.unwrap();
        let waits = waits.contains(&attempt.reservation_id);
        assert_eq!(waits, confirmed.is_err(), "its stock goes back in one way");

        let id = CartId(n + 1);
        let cancels = tokio::join!(at(&one, remove(id)), at(&other, remove(id)), async {
            at(&other, Command::MarkPaid { id }).await.unwrap()
        },);
        assert!(cancels.0.is_ok() != cancels.1.is_ok(), "{cancels:?}");
        assert!(store::by_id(&one, &Scope::All, id.0).await.unwrap().is_none());
        add(&one, None).await;
    }
}
