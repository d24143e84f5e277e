//! The payments' table. All SQL of this service is in this file.

use crate::domain::{Command, Payment, Payments, Status};
use chassis::base::clock::now;
use chassis::listing::{Field, Listing, Scope};
use chassis::storage::rows::{read, select};
use chassis::storage::{Db, Reads, Schema, Table, Tx, ids};
use chassis::table;
use common_events::{CartId, Owner, PaymentId, status};
use std::collections::BTreeSet;

table! {
    /// A payment, as it is stored.
    pub struct PaymentRow in "payments" {
        cart_id: CartId,
        id: Option<PaymentId>,
        amount: Option<i64>,
        status: String,
        /// 1 once the cart is gone, else 0.
        cancel_wanted: i64,
        reason: Option<String>,
        traceparent: Option<String>,
        /// Milliseconds since 1970.
        changed_at: i64,
        owner: Owner,
    }
}

impl PaymentRow {
    fn of(payment: &Payment, changed_at: i64) -> Self {
        Self {
            cart_id: payment.cart_id,
            id: payment.id,
            amount: payment.amount,
            status: text(payment.status).to_owned(),
            cancel_wanted: i64::from(payment.cancel_wanted),
            reason: payment.reason.clone(),
            traceparent: payment.trace.clone(),
            changed_at,
            owner: payment.owner.clone(),
        }
    }
}

impl TryFrom<PaymentRow> for Payment {
    type Error = sqlx::Error;

    fn try_from(row: PaymentRow) -> sqlx::Result<Self> {
        let statuses = [Status::Requested, Status::Approved, Status::Declined, Status::Cancelled];
        let status = statuses.into_iter().find(|status| text(*status) == row.status);
        Ok(Self {
            cart_id: row.cart_id,
            owner: row.owner,
            id: row.id,
            amount: row.amount,
            status: status.ok_or_else(|| {
                sqlx::Error::Decode(format!("unknown status of a payment: {}", row.status).into())
            })?,
            cancel_wanted: row.cancel_wanted == 1,
            reason: row.reason,
            trace: row.traceparent,
        })
    }
}

const REQUESTED: &str = "Requested";

/// Returns the text of a status in the table, which is also what customers read.
fn text(status: Status) -> &'static str {
    match status {
        Status::Requested => REQUESTED,
        Status::Approved => status::PAYMENT_APPROVED,
        Status::Declined => status::PAYMENT_DECLINED,
        Status::Cancelled => status::PAYMENT_CANCELED,
    }
}

/// Decided payments, as they are listed.
pub const PAYMENTS: Listing = Listing {
    collection: "payments",
    singular: "payment",
    columns: PaymentRow::COLUMNS,
    from: "from payments where id is not null",
    owner: Some("owner"),
    fields: &[
        Field::unique("id", "id"),
        Field::unique("cartId", "cart_id"),
        Field::new("amount", "amount"),
        Field::new("status", "status"),
        Field::new("reason", "reason"),
    ],
    search: Some(("findByCartId", "cartId")),
};

/// Returns the tables.
pub fn schema() -> Schema {
    Schema::new(&[
        (1001, "payment", include_str!("../migrations/1001_payment.sql")),
        (1002, "owners", include_str!("../migrations/1002_owners.sql")),
    ])
}

/// Reads the payments that the commands name, in order and locked.
pub async fn load(tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Payments> {
    let mut reads = Reads::of(tx);
    // Always, and first: a row that is not there yet cannot be locked, and two replicas that made it at
    // once would lose what the first wrote.
    let ids = ids::lock(&mut reads, PAYMENTS.collection);
    let carts: BTreeSet<i64> = commands.iter().map(|command| command.cart_id().0).collect();
    let rows = PaymentRow::lock(&mut reads, "cart_id", &Vec::from_iter(carts))?;
    let found = reads.run(tx).await?;
    let mut payments = Payments { ids: ids::read(&found, &ids)?, ..Payments::default() };
    for row in found.of(&rows)? {
        payments.payments.read(row.cart_id, row.try_into()?);
    }
    Ok(payments)
}

/// Writes what was added and changed.
pub fn save(tx: &mut Tx<'_>, Payments { payments, ids }: &Payments) -> sqlx::Result<()> {
    let changed_at = now();
    let rows = payments.added().chain(payments.changed());
    let rows: Vec<_> = rows.map(|payment| PaymentRow::of(payment, changed_at)).collect();
    PaymentRow::upsert(tx, "cart_id", &rows)?;
    ids::save(tx, ids, PAYMENTS.collection);
    Ok(())
}

/// Returns payments about which the provider is to be asked something, `limit` at most.
pub async fn to_do(db: &Db, limit: i64) -> sqlx::Result<Vec<Payment>> {
    // `+ 0`, or SQLite would prepare the statement anew for every value of the limit.
    let rest = format!(
        "from payments where (status = '{REQUESTED}' and amount is not null) \
         or (status = '{}' and cancel_wanted = 1) limit $1 + 0",
        status::PAYMENT_APPROVED
    );
    let select = select(db.dialect(), PaymentRow::COLUMNS, &rest).bind(limit);
    let rows: Vec<PaymentRow> = read(select, db).await?;
    rows.into_iter().map(Payment::try_from).collect()
}

/// Returns the decided payment with this id, unless it is not in `scope`.
pub async fn by_id(db: &Db, scope: &Scope, id: i64) -> sqlx::Result<Option<PaymentRow>> {
    PAYMENTS.find(db, scope, "id", id).await
}

/// Returns the decided payment of a cart, unless it is not in `scope`.
pub async fn by_cart(db: &Db, scope: &Scope, cart_id: i64) -> sqlx::Result<Option<PaymentRow>> {
    PAYMENTS.find(db, scope, "cart_id", cart_id).await
}
