//! The payments' table. All SQL of this service is in this file.

use crate::domain::{Command, Payment, PaymentEvent, Payments, Status};
use chassis::base::clock::now;
use chassis::listing::{Field, Listing};
use chassis::storage::rows::{insert, look_up, read, select};
use chassis::storage::{Db, IdSequence, Schema, Tx};
use common_events::{CartId, PaymentId, status};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;

/// Decided payments, as they are listed.
pub const PAYMENTS: Listing = Listing {
    collection: "payments",
    singular: "payment",
    columns: "cart_id, id, amount, status, cancel_wanted, reason, traceparent",
    from: "from payments where id is not null",
    fields: &[
        Field::unique("id", "id"),
        Field::unique("cartId", "cart_id"),
        Field::new("amount", "amount"),
        Field::new("status", "status"),
        Field::new("reason", "reason"),
    ],
    searchable: true,
};

#[derive(Deserialize)]
#[serde(remote = "Payment")]
struct PaymentRow {
    cart_id: CartId,
    id: Option<PaymentId>,
    amount: Option<i64>,
    #[serde(deserialize_with = "known_status")]
    status: Status,
    #[serde(deserialize_with = "flag")]
    cancel_wanted: bool,
    reason: Option<String>,
    #[serde(rename = "traceparent")]
    trace: Option<String>,
}

/// A payment as it is read.
#[derive(Deserialize)]
pub struct OnePayment(#[serde(with = "PaymentRow")] pub Payment);

fn known_status<'de, D: Deserializer<'de>>(status: D) -> Result<Status, D::Error> {
    let status = String::deserialize(status)?;
    let known = [Status::Requested, Status::Approved, Status::Declined, Status::Cancelled];
    let known = known.into_iter().find(|known| text(*known) == status);
    known.ok_or_else(|| D::Error::custom("an unknown status of a payment"))
}

fn flag<'de, D: Deserializer<'de>>(flag: D) -> Result<bool, D::Error> {
    Ok(i64::deserialize(flag)? == 1)
}

const REQUESTED: &str = "Requested";

/// The tables.
pub fn schema() -> Schema {
    Schema::new(&[
        (1001, "payment", include_str!("../migrations/1001_payment.sql")),
        (1002, "to do", include_str!("../migrations/1002_to_do.sql")),
    ])
}

/// Reads what the commands name, in order and locked.
pub async fn load(tx: &mut Tx<'_>, db: &Db, commands: &[&Command]) -> anyhow::Result<Payments> {
    // Always, and first: a row that is not there yet cannot be locked, and two replicas that made it at
    // once would lose what the first wrote.
    let counter = IdSequence::load(tx, db, PAYMENTS.collection).await?;
    let mut payments =
        Payments { last_id: counter.last_id, live: counter.live, ..Payments::default() };
    let ids: BTreeSet<i64> = commands.iter().map(|command| command.cart_id().0).collect();
    let lock = db.for_update();
    let of = |among: &str| format!("from payments where cart_id {among} order by cart_id{lock}");
    let ids = Vec::from_iter(ids);
    for OnePayment(payment) in look_up(tx, &ids, PAYMENTS.columns, of).await? {
        payments.payments.insert(payment.cart_id, payment);
    }
    Ok(payments)
}

/// Writes what `events` changed.
pub fn save(tx: &mut Tx<'_>, payments: &Payments, events: &[PaymentEvent]) -> sqlx::Result<()> {
    let changed: BTreeSet<CartId> = events.iter().map(PaymentEvent::cart_id).collect();
    save_payments(tx, changed.iter().filter_map(|id| payments.payments.get(id)))?;
    let counts = |event: &PaymentEvent| {
        !matches!(event, PaymentEvent::Requested { .. } | PaymentEvent::CancelWanted { .. })
    };
    if events.iter().any(counts) {
        let counter = IdSequence { last_id: payments.last_id, live: payments.live };
        counter.save(tx, PAYMENTS.collection);
    }
    Ok(())
}

fn save_payments<'p>(
    tx: &mut Tx<'_>,
    payments: impl Iterator<Item = &'p Payment>,
) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        cart_id: CartId,
        id: Option<PaymentId>,
        amount: Option<i64>,
        status: &'static str,
        cancel_wanted: i64,
        reason: Option<&'a str>,
        traceparent: Option<&'a str>,
        changed_at: i64,
    }
    let changed_at = now();
    let rows = payments.map(|payment| Row {
        cart_id: payment.cart_id,
        id: payment.id,
        amount: payment.amount,
        status: text(payment.status),
        cancel_wanted: i64::from(payment.cancel_wanted),
        reason: payment.reason.as_deref(),
        traceparent: payment.trace.as_deref(),
        changed_at,
    });
    let set = "on conflict (cart_id) do update set id = excluded.id, amount = excluded.amount, \
               status = excluded.status, cancel_wanted = excluded.cancel_wanted, \
               reason = excluded.reason, traceparent = excluded.traceparent, \
               changed_at = excluded.changed_at";
    insert(tx, "payments", &rows.collect::<Vec<_>>(), set)
}

/// Payments about which the provider is to be asked something.
pub async fn to_do(db: &Db, most: i64) -> sqlx::Result<Vec<Payment>> {
    // `+ 0`, or SQLite would prepare the statement anew for every value of the limit.
    let of = format!(
        "from payments where (status = '{REQUESTED}' and amount is not null) \
         or (status = '{}' and cancel_wanted = 1) limit $1 + 0",
        status::PAYMENT_APPROVED
    );
    let payments = read(select(db.dialect(), PAYMENTS.columns, &of).bind(most), db);
    Ok(payments.await?.into_iter().map(|OnePayment(payment)| payment).collect())
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
    let of = format!("{} and {column} = $1", PAYMENTS.from);
    let one = select(db.dialect(), PAYMENTS.columns, &of).bind(value);
    Ok(read(one, db).await?.pop().map(|OnePayment(payment)| payment))
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
