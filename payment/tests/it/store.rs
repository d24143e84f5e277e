//! What the payments' table promises, on each database.

use axum::http::HeaderMap;
use chassis::auth::Principal;
use chassis::http::{BaseUrl, Query};
use chassis::listing::Scope;
use chassis::model::Publications;
use chassis::on_each_database;
use chassis::storage::{Db, ids};
use chassis::testing::carry_out;
use common_events::{CartId, Owner, PaymentId};
use payment::app::PaymentModel;
use payment::domain::{Ask, Command, Payment, Status, Verdict};
use payment::store::{self, PaymentRow};
use serde_json::{Value, json};

on_each_database!(
    store::schema();
    a_payment_is_shown_when_it_is_decided,
    a_cancel_that_comes_first_is_kept_until_its_cart_comes,
    ids_count_from_one_in_the_order_of_decisions,
    a_batch_of_many_rows_is_one_transaction,
    what_is_not_known_comes_back_as_not_known,
    the_provider_is_asked_no_more_at_once_than_wanted,
    a_transaction_that_is_dropped_leaves_nothing,
    pages_lead_through_decided_payments_only,
    ; replicas: two_replicas_count_together_and_lose_no_cancel,
);

fn request(cart: i64) -> Command {
    Command::Request {
        cart_id: CartId(cart),
        owner: Owner::GUEST,
        amount: cart * 100,
        trace: Some(format!("trace {cart}")),
    }
}

fn cancel(cart: i64) -> Command {
    Command::Cancel { cart_id: CartId(cart), owner: Owner::GUEST }
}

fn approve(cart: i64) -> Command {
    Command::Decide { cart_id: CartId(cart), verdict: Verdict::Approved }
}

async fn done(db: &Db, commands: &[Command]) {
    let outcomes = carry_out(db, &PaymentModel, commands).await.unwrap();
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
}

async fn to_do(db: &Db) -> Vec<(i64, Option<Ask>)> {
    let to_do = store::to_do(db, 2_000).await.unwrap();
    to_do.into_iter().map(|payment| (payment.cart_id.0, payment.to_do())).collect()
}

async fn a_payment_is_shown_when_it_is_decided(db: Db) {
    done(&db, &[request(7)]).await;
    assert!(store::by_cart(&db, &Scope::All, 7).await.unwrap().is_none());
    assert_eq!(to_do(&db).await, [(7, Some(Ask::Approve { amount: 700 }))]);

    let reason = "700 won is over the limit".to_owned();
    let declined = Verdict::Declined { reason: reason.clone() };
    done(&db, &[Command::Decide { cart_id: CartId(7), verdict: declined }]).await;
    let shown = store::by_cart(&db, &Scope::All, 7).await.unwrap().unwrap();
    assert_eq!(store::by_id(&db, &Scope::All, 1).await.unwrap().unwrap().cart_id, CartId(7));
    assert_eq!((shown.id, shown.amount), (Some(PaymentId(1)), Some(700)));
    assert_eq!((shown.status.as_str(), shown.reason), ("PaymentDeclined", Some(reason)));
    assert_eq!(shown.traceparent.as_deref(), Some("trace 7"));
    assert!(to_do(&db).await.is_empty());
}

async fn a_cancel_that_comes_first_is_kept_until_its_cart_comes(db: Db) {
    let cart_id = CartId(3);
    done(&db, &[cancel(cart_id.0)]).await;
    assert!(to_do(&db).await.is_empty(), "there is nothing to give back yet");
    done(&db, &[request(3)]).await;
    assert_eq!(to_do(&db).await, [(3, Some(Ask::Cancel))]);
    done(&db, &[Command::GivenBack { cart_id }]).await;
    let shown = store::by_cart(&db, &Scope::All, 3).await.unwrap().unwrap();
    assert_eq!((shown.status.as_str(), shown.amount), ("PaymentCanceled", Some(300)));
    assert!(to_do(&db).await.is_empty());
}

async fn ids_count_from_one_in_the_order_of_decisions(db: Db) {
    done(&db, &[request(5), request(6)]).await;
    done(&db, &[approve(6)]).await;
    done(&db, &[approve(5), approve(6), approve(99)]).await;
    assert_eq!(store::by_cart(&db, &Scope::All, 6).await.unwrap().unwrap().id, Some(PaymentId(1)));
    assert_eq!(store::by_cart(&db, &Scope::All, 5).await.unwrap().unwrap().id, Some(PaymentId(2)));
    assert_eq!(ids::count_live(&db, "payments").await.unwrap(), 2);
    // Cancelling keeps the id.
    done(&db, &[cancel(6)]).await;
    done(&db, &[Command::GivenBack { cart_id: CartId(6) }]).await;
    let cancelled = store::by_id(&db, &Scope::All, 1).await.unwrap().unwrap();
    assert_eq!((cancelled.cart_id, cancelled.status.as_str()), (CartId(6), "PaymentCanceled"));
    assert_eq!(ids::count_live(&db, "payments").await.unwrap(), 2);
}

async fn a_batch_of_many_rows_is_one_transaction(db: Db) {
    done(&db, &(1..=1_300).map(request).collect::<Vec<_>>()).await;
    assert_eq!(to_do(&db).await.len(), 1_300);
    done(&db, &(1..=1_300).map(approve).collect::<Vec<_>>()).await;
    assert!(to_do(&db).await.is_empty());
    assert_eq!(
        store::by_id(&db, &Scope::All, 1_300).await.unwrap().unwrap().cart_id,
        CartId(1_300)
    );
}

async fn what_is_not_known_comes_back_as_not_known(db: Db) {
    let owner = Owner::GUEST;
    let request = Command::Request { cart_id: CartId(1), owner, amount: 0, trace: None };
    done(&db, &[request, cancel(2)]).await;
    let commands = [approve(1), approve(2)];
    let mut tx = db.begin().await.unwrap();
    let read = store::load(&mut tx, &commands.iter().collect::<Vec<_>>()).await.unwrap();
    let [requested, cancelled] = [1, 2].map(|cart| read.payments.get(&CartId(cart)).unwrap());
    assert_eq!((requested.amount, requested.cancel_wanted), (Some(0), false));
    assert_eq!((cancelled.amount, cancelled.cancel_wanted), (None, true));
    for payment in [requested, cancelled] {
        assert_eq!((payment.id, payment.status), (None, Status::Requested));
        assert_eq!((&payment.reason, &payment.trace), (&None, &None));
    }
}

async fn the_provider_is_asked_no_more_at_once_than_wanted(db: Db) {
    done(&db, &(1..=5).map(request).collect::<Vec<_>>()).await;
    done(&db, &[approve(1), approve(2), cancel(2), cancel(3)]).await;
    assert_eq!(store::to_do(&db, 2).await.unwrap().len(), 2);
    let mut to_do = to_do(&db).await;
    to_do.sort_by_key(|(cart, _)| *cart);
    let amount = |amount| Some(Ask::Approve { amount });
    let wanted =
        [(2, Some(Ask::Cancel)), (3, Some(Ask::Cancel)), (4, amount(400)), (5, amount(500))];
    assert_eq!(to_do, wanted);
}

async fn a_transaction_that_is_dropped_leaves_nothing(db: Db) {
    done(&db, &[request(1)]).await;
    {
        let mut tx = db.begin().await.unwrap();
        let commands = [approve(1), request(2)];
        let named: Vec<&Command> = commands.iter().collect();
        let mut payments = store::load(&mut tx, &named).await.unwrap();
        for command in &commands {
            payments.handle(command, &mut Publications::default());
        }
        store::save(&mut tx, &payments).unwrap();
        tx.flush().await.unwrap();
    }
    assert_eq!(to_do(&db).await, [(1, Some(Ask::Approve { amount: 100 }))]);
    assert_eq!(ids::count_live(&db, "payments").await.unwrap(), 0);
    done(&db, &[approve(1)]).await;
    assert_eq!(store::by_cart(&db, &Scope::All, 1).await.unwrap().unwrap().id, Some(PaymentId(1)));
}

/// A page, and the carts on it.
async fn page(db: &Db, query: &str) -> (Value, Vec<i64>) {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = Query(pairs.map(|(name, value)| (name.into(), value.into())).collect());
    let read = |row: PaymentRow| (row.id.map_or(0, |id| id.0), json!({ "cart": row.cart_id }));
    let (base, guest) = (BaseUrl::of(&HeaderMap::new()), Principal::open());
    let page = store::PAYMENTS.page(db, &base, &guest, &query, read).await;
    let page = serde_json::to_value(page.unwrap_or_else(|problem| panic!("{problem:?}"))).unwrap();
    let items = page["_embedded"]["payments"].as_array().unwrap().clone();
    (page, items.iter().map(|item| item["cart"].as_i64().unwrap()).collect())
}

async fn pages_lead_through_decided_payments_only(db: Db) {
    done(&db, &(1..=25).map(request).collect::<Vec<_>>()).await;
    // Decided in falling order, so that the order of ids is not that of carts.
    done(&db, &(1..=22).rev().map(approve).collect::<Vec<_>>()).await;
    let decided: Vec<i64> = (1..=22).rev().collect();
    let (mut next, mut found) = (Some("size=10".to_owned()), Vec::new());
    while let Some(query) = next {
        let (page, carts) = page(&db, &query).await;
        assert_eq!(page["page"]["totalElements"], 22);
        found.extend(carts);
        let href = page["_links"]["next"]["href"].as_str();
        next = href.and_then(|href| Some(href.split_once('?')?.1.to_owned()));
    }
    assert_eq!(found, decided);
    assert_eq!(page(&db, "size=10&page=2").await.1, decided[20..], "the last page");
    assert_eq!(page(&db, "size=3&sort=cartId").await.1, [1, 2, 3]);
    assert_eq!(page(&db, "size=2&sort=amount,desc").await.1, [22, 21]);
}

async fn two_replicas_count_together_and_lose_no_cancel(one: Db, other: Db) {
    done(&one, &(1..=40).map(request).collect::<Vec<_>>()).await;
    // One asks the provider while the other hears that the carts are gone.
    tokio::join!(
        async {
            for cart in 1..=40 {
                done(&one, &[approve(cart)]).await;
            }
        },
        async {
            for cart in 1..=40 {
                done(&other, &[cancel(cart)]).await;
            }
        },
    );
    let to_do = to_do(&one).await;
    assert_eq!(to_do.len(), 40);
    assert!(to_do.iter().all(|(_, ask)| *ask == Some(Ask::Cancel)), "{to_do:?}");
    for id in 1..=40 {
        assert!(
            store::by_id(&one, &Scope::All, id).await.unwrap().is_some(),
            "there is a gap at {id}"
        );
    }
    // A cart and its removal come to both at once: neither may overwrite the other.
    for cart in 101..=140 {
        let (add, remove) = ([request(cart)], [cancel(cart)]);
        tokio::join!(done(&one, &add), done(&other, &remove));
        let payment = store::to_do(&one, 1_000).await.unwrap();
        let payment = payment.iter().find(|payment| payment.cart_id == CartId(cart));
        assert_eq!(payment.and_then(Payment::to_do), Some(Ask::Cancel), "cart {cart}");
    }
    // Both ask at once, as when the lease changes hands: each payment gets one id all the same.
    done(&one, &(41..=60).map(request).collect::<Vec<_>>()).await;
    let decide = async |replica: &Db| {
        for cart in 41..=60 {
            done(replica, &[approve(cart)]).await;
        }
    };
    tokio::join!(decide(&one), decide(&other));
    assert_eq!(ids::count_live(&one, "payments").await.unwrap(), 60);
    assert!(store::by_id(&one, &Scope::All, 60).await.unwrap().is_some());
}
