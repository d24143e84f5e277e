//! The payments' table. All SQL of this service is in this file.

use crate::domain::{Command, Payment, PaymentEvent, Payments, Status};
use chassis::Counter;
use chassis::db::{Db, Schema, Tx, now};
use chassis::listing::Listing;
use chassis::places::{Places, look_up, pieces};
use common_events::{CartId, PaymentId, status};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row, query};
use std::collections::BTreeSet;

/// Decided payments, as they are listed.
pub const PAYMENTS: Listing = Listing {
    collection: "payments",
    singular: "payment",
    select: "select cart_id, id, amount, status, cancel_wanted, reason, traceparent from payments where id is not null",
    fields: &[("id", "id"), ("cartId", "cart_id"), ("amount", "amount"), ("status", "status")],
    searchable: true,
};

const ANY: &str =
    "select cart_id, id, amount, status, cancel_wanted, reason, traceparent from payments";
const REQUESTED: &str = "Requested";

/// The tables.
pub fn schema() -> Schema {
    Schema::new(&[(1001, "payment", include_str!("../migrations/1001_payment.sql"))])
}

/// Reads what the commands name, in order and locked.
pub async fn load(tx: &mut Tx, db: &Db, commands: &[&Command]) -> anyhow::Result<Payments> {
    // Always, and first: a row that is not there yet cannot be locked, and two replicas that made it at
    // once would lose what the first wrote.
    let counter = Counter::load(tx, db, PAYMENTS.collection).await?;
    let mut payments =
        Payments { last_id: counter.last_id, live: counter.live, ..Payments::default() };
    let ids: BTreeSet<i64> = commands.iter().map(|command| command.cart_id().0).collect();
    let lock = db.for_update();
    let select = |places: &str| format!("{ANY} where cart_id in ({places}) order by cart_id{lock}");
    for row in look_up(tx, &Vec::from_iter(ids), select).await? {
        let payment = payment(&row)?;
        payments.payments.insert(payment.cart_id, payment);
    }
    Ok(payments)
}

/// Writes what `events` changed.
pub async fn save(tx: &mut Tx, payments: &Payments, events: &[PaymentEvent]) -> anyhow::Result<()> {
    let changed: BTreeSet<CartId> = events.iter().map(PaymentEvent::cart_id).collect();
    let changed: Vec<&Payment> =
        changed.iter().filter_map(|id| payments.payments.get(id)).collect();
    for piece in pieces(&changed) {
        let sql = format!(
            "insert into payments (cart_id, id, amount, status, cancel_wanted, reason, traceparent, changed_at) values {} \
             on conflict (cart_id) do update set id = excluded.id, amount = excluded.amount, \
             status = excluded.status, cancel_wanted = excluded.cancel_wanted, reason = excluded.reason, \
             traceparent = excluded.traceparent, changed_at = excluded.changed_at",
            Places::of(tx).rows(piece.len(), 8)
        );
        let mut insert = query(AssertSqlSafe(sql));
        for payment in piece {
            insert = insert
                .bind(payment.cart_id.0)
                .bind(payment.id.map(|id| id.0))
                .bind(payment.amount)
                .bind(text(payment.status))
                .bind(i64::from(payment.cancel_wanted))
                .bind(payment.reason.as_deref())
                .bind(payment.trace.as_deref())
                .bind(now());
        }
        insert.execute(&mut **tx).await?;
    }
    let counts = |event: &PaymentEvent| {
        !matches!(event, PaymentEvent::Requested { .. } | PaymentEvent::CancelWanted { .. })
    };
    if events.iter().any(counts) {
        let counter = Counter { last_id: payments.last_id, live: payments.live };
        counter.save(tx, PAYMENTS.collection).await?;
    }
    Ok(())
}

/// Payments about which the provider is to be asked something.
pub async fn to_do(db: &Db, most: i64) -> sqlx::Result<Vec<Payment>> {
    let sql = format!(
        "{ANY} where (status = '{REQUESTED}' and amount is not null) \
         or (status = '{}' and cancel_wanted = 1) limit $1",
        status::PAYMENT_APPROVED
    );
    let rows = query(AssertSqlSafe(sql)).bind(most).fetch_all(db.reader()).await?;
    rows.iter().map(payment).collect()
}

/// The decided payment of an id.
pub async fn by_id(db: &Db, id: i64) -> sqlx::Result<Option<Payment>> {
    one(db, "id", id).await
}

/// The decided payment of a cart.
pub async fn by_cart(db: &Db, cart_id: i64) -> sqlx::Result<Option<Payment>> {
    one(db, "cart_id", cart_id).await
}

async fn one(db: &Db, column: &str, value: i64) -> sqlx::Result<Option<Payment>> {
    let sql = AssertSqlSafe(format!("{} and {column} = $1", PAYMENTS.select));
    query(sql).bind(value).fetch_optional(db.reader()).await?.map(|row| payment(&row)).transpose()
}

/// The text of a status in the table, which is also what customers read.
pub fn text(status: Status) -> &'static str {
    match status {
        Status::Requested => REQUESTED,
        Status::Approved => status::PAYMENT_APPROVED,
        Status::Declined => status::PAYMENT_DECLINED,
        Status::Cancelled => status::PAYMENT_CANCELED,
    }
}

/// Reads a row of [`PAYMENTS`].
pub fn payment(row: &AnyRow) -> sqlx::Result<Payment> {
    let status: &str = row.try_get(3)?;
    let all = [Status::Requested, Status::Approved, Status::Declined, Status::Cancelled];
    let status = all.into_iter().find(|one| text(*one) == status);
    Ok(Payment {
        cart_id: CartId(row.try_get(0)?),
        id: row.try_get::<Option<i64>, _>(1)?.map(PaymentId),
        amount: row.try_get(2)?,
        status: status
            .ok_or_else(|| sqlx::Error::Decode("an unknown status of a payment".into()))?,
        cancel_wanted: row.try_get::<i64, _>(4)? == 1,
        reason: row.try_get(5)?,
        trace: row.try_get(6)?,
    })
}
