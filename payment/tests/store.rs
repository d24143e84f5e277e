//! What the payments' table promises, on each database.

use chassis::Counter;
use chassis::db::Db;
use chassis::on_each_database;
use chassis::testing::carry_out;
use common_events::{CartId, PaymentId};
use payment::app::PaymentDomain;
use payment::domain::{Ask, Command, Status, Verdict};
use payment::store;

on_each_database!(
    store::schema();
    a_payment_is_shown_when_it_is_decided,
    a_cancel_that_comes_first_is_kept_until_its_cart_comes,
    ids_count_from_one_in_the_order_of_decisions,
    a_batch_of_many_rows_is_one_transaction,
);

fn request(cart: i64) -> Command {
    Command::Request {
        cart_id: CartId(cart),
        amount: cart * 100,
        trace: Some(format!("trace {cart}")),
    }
}

fn approve(cart: i64) -> Command {
    Command::Decide { cart_id: CartId(cart), verdict: Verdict::Approved }
}

async fn done(db: &Db, commands: &[Command]) {
    let outcomes = carry_out(db, &PaymentDomain { db: db.clone() }, commands).await.unwrap();
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
}

async fn to_do(db: &Db) -> Vec<(i64, Option<Ask>)> {
    let to_do = store::to_do(db, 2_000).await.unwrap();
    to_do.into_iter().map(|payment| (payment.cart_id.0, payment.to_do())).collect()
}

async fn a_payment_is_shown_when_it_is_decided(db: Db) {
    done(&db, &[request(7)]).await;
    assert!(store::by_cart(&db, 7).await.unwrap().is_none());
    assert_eq!(to_do(&db).await, [(7, Some(Ask::Approve { amount: 700 }))]);

    let reason = "700 won is over the limit".to_owned();
    let declined = Verdict::Declined { reason: reason.clone() };
    done(&db, &[Command::Decide { cart_id: CartId(7), verdict: declined }]).await;
    let shown = store::by_cart(&db, 7).await.unwrap().unwrap();
    assert_eq!(store::by_id(&db, 1).await.unwrap().unwrap(), shown);
    assert_eq!((shown.id, shown.amount), (Some(PaymentId(1)), Some(700)));
    assert_eq!((shown.status, shown.reason), (Status::Declined, Some(reason)));
    assert_eq!(shown.trace.as_deref(), Some("trace 7"));
    assert!(to_do(&db).await.is_empty());
}

async fn a_cancel_that_comes_first_is_kept_until_its_cart_comes(db: Db) {
    let cart_id = CartId(3);
    done(&db, &[Command::Cancel { cart_id }]).await;
    assert!(to_do(&db).await.is_empty(), "there is nothing to give back yet");
    done(&db, &[request(3)]).await;
    assert_eq!(to_do(&db).await, [(3, Some(Ask::Cancel))]);
    done(&db, &[Command::GivenBack { cart_id }]).await;
    let shown = store::by_cart(&db, 3).await.unwrap().unwrap();
    assert_eq!((shown.status, shown.amount), (Status::Cancelled, Some(300)));
    assert!(to_do(&db).await.is_empty());
}

async fn ids_count_from_one_in_the_order_of_decisions(db: Db) {
    done(&db, &[request(5), request(6)]).await;
    done(&db, &[approve(6)]).await;
    done(&db, &[approve(5), approve(6), approve(99)]).await;
    assert_eq!(store::by_cart(&db, 6).await.unwrap().unwrap().id, Some(PaymentId(1)));
    assert_eq!(store::by_cart(&db, 5).await.unwrap().unwrap().id, Some(PaymentId(2)));
    assert_eq!(Counter::live(&db, "payments").await.unwrap(), 2);
    // Cancelling keeps the id.
    done(&db, &[Command::Cancel { cart_id: CartId(6) }]).await;
    done(&db, &[Command::GivenBack { cart_id: CartId(6) }]).await;
    let cancelled = store::by_id(&db, 1).await.unwrap().unwrap();
    assert_eq!((cancelled.cart_id, cancelled.status), (CartId(6), Status::Cancelled));
    assert_eq!(Counter::live(&db, "payments").await.unwrap(), 2);
}

async fn a_batch_of_many_rows_is_one_transaction(db: Db) {
    done(&db, &(1..=1_300).map(request).collect::<Vec<_>>()).await;
    assert_eq!(to_do(&db).await.len(), 1_300);
    done(&db, &(1..=1_300).map(approve).collect::<Vec<_>>()).await;
    assert!(to_do(&db).await.is_empty());
    assert_eq!(store::by_id(&db, 1_300).await.unwrap().unwrap().cart_id, CartId(1_300));
}
