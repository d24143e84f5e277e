//! The view's tables. All SQL of this service is in this file.

use crate::projection::{Command, Details, Fact, Kind, View, Views};
use crate::tables::{Rebuilt, Tables};
use anyhow::Context;
use chassis::listing::{Field, Listing};
use chassis::storage::rows::{insert, look_up, read, select};
use chassis::storage::{Db, Dialect, IdSequence, Schema, Tx};
use common_events::{CartId, GifticonId, PaymentId};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row as _, query, raw_sql};
use std::collections::{BTreeMap, BTreeSet};

/// Views, as they are listed.
pub const MYPAGES: Listing = Listing {
    collection: "mypages",
    singular: "mypage",
    columns: "id, cart_id, gifticon_id, name, price, quantity, amount, payment_id, status, \
              created_at, updated_at, cart_added_at, payment_approved_at, cart_removed_at, \
              payment_declined_at, payment_cancelled_at",
    from: "from views where true",
    fields: &[
        Field::unique("id", "id"),
        Field::unique("cartId", "cart_id"),
        Field::new("gifticonId", "gifticon_id"),
        Field::new("name", "name"),
        Field::new("price", "price"),
        Field::new("quantity", "quantity"),
        Field::new("amount", "amount"),
        Field::new("paymentId", "payment_id"),
        Field::new("status", "status"),
        Field::new("createdAt", "created_at"),
        Field::new("updatedAt", "updated_at"),
    ],
    searchable: true,
};

const STEPS: &str = include_str!("../migrations/1004_steps.sql");

/// The tables.
pub fn schema() -> Schema {
    Schema::new(&[
        (1001, "mypage", include_str!("../migrations/1001_mypage.sql")),
        (1002, "rebuild", include_str!("../migrations/1002_rebuild.sql")),
        (1004, "steps", STEPS),
    ])
    .on_sqlite(&[(1003, "clustered", include_str!("../migrations/1003_clustered.sql"))])
}

/// A row as customers see it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "ViewRow")]
pub struct Shown {
    pub id: i64,
    pub cart_id: CartId,
    pub details: Details,
    pub status: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub updated_at: i64,
    /// When each kind of fact happened, in milliseconds since 1970.
    pub steps: BTreeMap<Kind, i64>,
}

#[derive(Deserialize)]
struct ViewRow {
    id: i64,
    cart_id: CartId,
    gifticon_id: Option<GifticonId>,
    name: Option<String>,
    price: Option<i64>,
    quantity: Option<i64>,
    amount: Option<i64>,
    payment_id: Option<PaymentId>,
    status: String,
    created_at: i64,
    updated_at: i64,
    cart_added_at: Option<i64>,
    payment_approved_at: Option<i64>,
    cart_removed_at: Option<i64>,
    payment_declined_at: Option<i64>,
    payment_cancelled_at: Option<i64>,
}

impl From<ViewRow> for Shown {
    fn from(row: ViewRow) -> Self {
        let steps = [
            (Kind::CartAdded, row.cart_added_at),
            (Kind::PaymentApproved, row.payment_approved_at),
            (Kind::CartRemoved, row.cart_removed_at),
            (Kind::PaymentDeclined, row.payment_declined_at),
            (Kind::PaymentCancelled, row.payment_cancelled_at),
        ];
        let steps = steps.into_iter().filter_map(|(kind, at)| Some((kind, at?))).collect();
        let ViewRow { gifticon_id, name, price, quantity, amount, payment_id, .. } = row;
        Self {
            id: row.id,
            cart_id: row.cart_id,
            details: Details { gifticon_id, name, price, quantity, amount, payment_id },
            status: row.status,
            created_at: row.created_at,
            updated_at: row.updated_at,
            steps,
        }
    }
}

/// The table that customers see, and that of a rebuild.
const SHOWN: &str = "views";
const REBUILT: &str = "views_rebuilt";

/// Reads the views that the commands are about, in order and locked.
pub async fn load(tx: &mut Tx<'_>, db: &Db, commands: &[&Command]) -> anyhow::Result<Tables> {
    let counter = IdSequence::load(tx, db, MYPAGES.collection).await?;
    let about = |command: &&Command| match command {
        Command::Told(fact) | Command::Replayed { fact, .. } => Some(fact.cart_id.0),
        Command::BeginRebuild { .. } | Command::FinishRebuild { .. } => None,
    };
    let ids: Vec<i64> =
        commands.iter().filter_map(about).collect::<BTreeSet<_>>().into_iter().collect();
    let mut shown = views(tx, db, SHOWN, &ids).await?;
    (shown.last_id, shown.live) = (counter.last_id, counter.live);
    let token = query("select token from rebuild").fetch_optional(&mut **tx).await?;
    let rebuilt = match token {
        Some(row) => {
            Some(Rebuilt { token: row.try_get(0)?, views: views(tx, db, REBUILT, &ids).await? })
        }
        None => None,
    };
    Ok(Tables { shown, rebuilt })
}

async fn views(tx: &mut Tx<'_>, db: &Db, table: &str, ids: &[i64]) -> anyhow::Result<Views> {
    let mut views = Views::default();
    let lock = db.for_update();
    let of = |among: &str| format!("from {table} where cart_id {among} order by cart_id{lock}");
    for shown in look_up(tx, ids, MYPAGES.columns, of).await? {
        let Shown { id, cart_id, details, steps, .. } = shown;
        views.views.insert(cart_id, View { id, cart_id, details, steps });
    }
    Ok(views)
}

/// Writes what `commands` changed.
pub async fn save(
    tx: &mut Tx<'_>,
    db: &Db,
    tables: &Tables,
    commands: &[Command],
) -> anyhow::Result<()> {
    let (mut told, mut replayed) = (Vec::new(), Vec::new());
    for command in commands {
        match command {
            Command::Told(fact) => {
                told.push(fact);
                replayed.push(fact);
            }
            Command::Replayed { fact, .. } => replayed.push(fact),
            Command::BeginRebuild { token } => begin_rebuild(tx, db, token).await?,
            Command::FinishRebuild { .. } => {}
        }
    }
    save_views(tx, SHOWN, &tables.shown, &told)?;
    if let Some(rebuilt) = &tables.rebuilt {
        save_views(tx, REBUILT, &rebuilt.views, &replayed)?;
    }
    IdSequence { last_id: tables.shown.last_id, live: tables.shown.live }
        .save(tx, MYPAGES.collection);
    if commands.iter().any(|command| matches!(command, Command::FinishRebuild { .. })) {
        tx.flush().await?; // into the tables that change places now
        finish_rebuild(tx, db).await?;
    }
    Ok(())
}

/// Makes the new table, as the migration makes the old.
async fn begin_rebuild(tx: &mut Tx<'_>, db: &Db, token: &str) -> anyhow::Result<()> {
    let table = STEPS.split(';').find(|statement| statement.contains("create table views ("));
    let table = db.dialect().expand(table.context("the migration makes the table")?);
    let table = table.replace("create table views (", "create table views_rebuilt (");
    let make = format!("drop table if exists views_rebuilt; {table}");
    raw_sql(AssertSqlSafe(make)).execute(&mut **tx).await?;
    query("delete from rebuild").execute(&mut **tx).await?;
    query("insert into rebuild (token) values ($1)").bind(token).execute(&mut **tx).await?;
    Ok(())
}

/// Has the new table take the place of the old.
///
/// A step that only the old one knows is of an event that the topic no longer holds: its view stays as it was, and
/// takes nothing from the topic.
async fn finish_rebuild(tx: &mut Tx<'_>, db: &Db) -> anyhow::Result<()> {
    if db.dialect() == Dialect::Postgres {
        // As long as it takes: nothing else of this service writes meanwhile anyway.
        query("set local statement_timeout = 0").execute(&mut **tx).await?;
        query("set local enable_seqscan = on").execute(&mut **tx).await?; // it does read all
    }
    let swap = "
        delete from views_rebuilt where cart_id in (
            select o.cart_id from views o join views_rebuilt n on n.cart_id = o.cart_id
            where o.cart_added_at is not null and n.cart_added_at is null
                or o.payment_approved_at is not null and n.payment_approved_at is null
                or o.cart_removed_at is not null and n.cart_removed_at is null
                or o.payment_declined_at is not null and n.payment_declined_at is null
                or o.payment_cancelled_at is not null and n.payment_cancelled_at is null);
        insert into views_rebuilt select * from views o where not exists (
            select 1 from views_rebuilt n where n.cart_id = o.cart_id);
        drop table views;
        alter table views_rebuilt rename to views;
        delete from rebuild;
        update counters set live = (select count(*) from views) where name = 'mypages'";
    raw_sql(swap).execute(&mut **tx).await?;
    Ok(())
}

fn save_views(tx: &mut Tx<'_>, table: &str, views: &Views, facts: &[&Fact]) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: i64,
        cart_id: CartId,
        gifticon_id: Option<GifticonId>,
        name: Option<&'a str>,
        price: Option<i64>,
        quantity: Option<i64>,
        amount: Option<i64>,
        payment_id: Option<PaymentId>,
        status: &'static str,
        created_at: i64,
        updated_at: i64,
        cart_added_at: Option<i64>,
        payment_approved_at: Option<i64>,
        cart_removed_at: Option<i64>,
        payment_declined_at: Option<i64>,
        payment_cancelled_at: Option<i64>,
    }
    let at = |view: &View, kind| view.steps.get(&kind).copied();
    let ids: BTreeSet<CartId> = facts.iter().map(|fact| fact.cart_id).collect();
    let changed = ids.iter().filter_map(|id| views.views.get(id)).map(|view| Row {
        id: view.id,
        cart_id: view.cart_id,
        gifticon_id: view.details.gifticon_id,
        name: view.details.name.as_deref(),
        price: view.details.price,
        quantity: view.details.quantity,
        amount: view.details.amount,
        payment_id: view.details.payment_id,
        status: view.status(),
        created_at: view.created_at(),
        updated_at: view.updated_at(),
        cart_added_at: at(view, Kind::CartAdded),
        payment_approved_at: at(view, Kind::PaymentApproved),
        cart_removed_at: at(view, Kind::CartRemoved),
        payment_declined_at: at(view, Kind::PaymentDeclined),
        payment_cancelled_at: at(view, Kind::PaymentCancelled),
    });
    let set = "on conflict (cart_id) do update set gifticon_id = excluded.gifticon_id, \
               name = excluded.name, price = excluded.price, quantity = excluded.quantity, \
               amount = excluded.amount, payment_id = excluded.payment_id, status = excluded.status, \
               created_at = excluded.created_at, updated_at = excluded.updated_at, \
               cart_added_at = excluded.cart_added_at, \
               payment_approved_at = excluded.payment_approved_at, \
               cart_removed_at = excluded.cart_removed_at, \
               payment_declined_at = excluded.payment_declined_at, \
               payment_cancelled_at = excluded.payment_cancelled_at";
    insert(tx, table, &changed.collect::<Vec<_>>(), set)
}

/// The view of an id.
pub async fn by_id(db: &Db, id: i64) -> sqlx::Result<Option<Shown>> {
    one(db, "id", id).await
}

/// The view of a cart.
pub async fn by_cart(db: &Db, cart_id: i64) -> sqlx::Result<Option<Shown>> {
    one(db, "cart_id", cart_id).await
}

async fn one(db: &Db, column: &str, value: i64) -> sqlx::Result<Option<Shown>> {
    let of = format!("{} and {column} = $1", MYPAGES.from);
    let one = select(db.dialect(), MYPAGES.columns, &of).bind(value);
    Ok(read(one, db).await?.pop())
}
