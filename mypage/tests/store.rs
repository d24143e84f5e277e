//! What the view's tables promise, on each database.

use chassis::Counter;
use chassis::db::Db;
use chassis::on_each_database;
use chassis::testing::carry_out;
use common_events::{CartId, GifticonId, PaymentId};
use mypage::app::ViewDomain;
use mypage::projection::{Details, Fact, Kind};
use mypage::store;

on_each_database!(
    store::schema();
    a_view_comes_back_as_the_sum_of_its_facts,
    a_view_may_begin_with_its_payment,
    a_fact_that_comes_twice_changes_nothing,
    a_batch_of_many_rows_is_one_transaction,
);

fn added(cart: i64) -> Fact {
    let details = Details {
        gifticon_id: Some(GifticonId(1)),
        name: Some("아메리카노".into()),
        price: Some(5000),
        quantity: Some(2),
        amount: Some(10_000),
        payment_id: None,
    };
    Fact { cart_id: CartId(cart), kind: Kind::CartAdded, at: 1_000, details }
}

fn paid(cart: i64) -> Fact {
    let details =
        Details { payment_id: Some(PaymentId(cart)), amount: Some(10_000), ..Details::default() };
    Fact { cart_id: CartId(cart), kind: Kind::PaymentApproved, at: 2_000, details }
}

async fn told(db: &Db, facts: &[Fact]) {
    let outcomes = carry_out(db, &ViewDomain { db: db.clone() }, facts).await.unwrap();
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
}

async fn a_view_comes_back_as_the_sum_of_its_facts(db: Db) {
    told(&db, &[added(7)]).await;
    let first = store::by_cart(&db, 7).await.unwrap().unwrap();
    assert_eq!((first.id, first.status.as_str()), (1, "CartAdded"));
    assert_eq!(first.details, added(7).details);

    told(&db, &[paid(7)]).await;
    let then = store::by_id(&db, 1).await.unwrap().unwrap();
    assert_eq!(
        (then.status.as_str(), then.details.payment_id),
        ("PaymentApproved", Some(PaymentId(7)))
    );
    assert_eq!((then.created_at, then.updated_at), (1_000, 2_000));
    let mut steps = store::steps(&db, CartId(7)).await.unwrap();
    steps.sort();
    assert_eq!(steps, [(Kind::CartAdded, 1_000), (Kind::PaymentApproved, 2_000)]);
}

async fn a_view_may_begin_with_its_payment(db: Db) {
    told(&db, &[paid(7)]).await;
    let first = store::by_cart(&db, 7).await.unwrap().unwrap();
    assert_eq!((first.details.name, first.details.gifticon_id), (None, None));
    told(&db, &[added(7)]).await;
    let then = store::by_cart(&db, 7).await.unwrap().unwrap();
    assert_eq!((then.id, then.status.as_str()), (first.id, "PaymentApproved"));
    assert_eq!(then.details.name.as_deref(), Some("아메리카노"));
}

async fn a_fact_that_comes_twice_changes_nothing(db: Db) {
    told(&db, &[added(7), added(7)]).await;
    let once = store::by_cart(&db, 7).await.unwrap();
    told(&db, &[added(7)]).await;
    assert_eq!(store::by_cart(&db, 7).await.unwrap(), once);
    assert_eq!(Counter::live(&db, "mypages").await.unwrap(), 1);
    assert_eq!(store::steps(&db, CartId(7)).await.unwrap().len(), 1);
}

async fn a_batch_of_many_rows_is_one_transaction(db: Db) {
    let facts: Vec<Fact> = (1..=1_300).flat_map(|cart| [added(cart), paid(cart)]).collect();
    told(&db, &facts).await;
    assert_eq!(Counter::live(&db, "mypages").await.unwrap(), 1_300);
    assert_eq!(store::by_id(&db, 1_300).await.unwrap().unwrap().status, "PaymentApproved");
}
