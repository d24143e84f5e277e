//! The view's tables. All SQL of this service is in this file.

use crate::app::{Rebuilt, Tables};
use crate::projection::{Command, Details, Fact, Kind, View, Views};
use chassis::Counter;
use chassis::db::{Db, Dialect, Schema, Tx};
use chassis::listing::Listing;
use chassis::rows::{insert, look_up, read, select};
use common_events::{CartId, GifticonId, PaymentId};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sqlx::{AssertSqlSafe, Row as _, query, raw_sql};
use std::collections::{BTreeMap, BTreeSet};

/// Views, as they are listed.
pub const MYPAGES: Listing = Listing {
    collection: "mypages",
    singular: "mypage",
    columns: "id, cart_id, gifticon_id, name, price, quantity, amount, payment_id, status, \
              created_at, updated_at",
    from: "from views where true",
    fields: &[
        ("id", "id"),
        ("cartId", "cart_id"),
        ("gifticonId", "gifticon_id"),
        ("name", "name"),
        ("price", "price"),
        ("quantity", "quantity"),
        ("amount", "amount"),
        ("paymentId", "payment_id"),
        ("status", "status"),
        ("createdAt", "created_at"),
        ("updatedAt", "updated_at"),
    ],
    searchable: true,
};

const MIGRATION: &str = include_str!("../migrations/1001_mypage.sql");

/// The tables.
pub fn schema() -> Schema {
    let rebuild = include_str!("../migrations/1002_rebuild.sql");
    Schema::new(&[(1001, "mypage", MIGRATION), (1002, "rebuild", rebuild)]).on_sqlite(&[(
        1003,
        "clustered",
        include_str!("../migrations/1003_clustered.sql"),
    )])
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
}

impl From<ViewRow> for Shown {
    fn from(row: ViewRow) -> Self {
        let ViewRow { gifticon_id, name, price, quantity, amount, payment_id, .. } = row;
        Self {
            id: row.id,
            cart_id: row.cart_id,
            details: Details { gifticon_id, name, price, quantity, amount, payment_id },
            status: row.status,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A step as it is read.
#[derive(Deserialize)]
struct StepRow {
    cart_id: CartId,
    #[serde(rename = "event_type", deserialize_with = "known_kind")]
    kind: Kind,
    at: i64,
}

fn known_kind<'de, D: Deserializer<'de>>(event_type: D) -> Result<Kind, D::Error> {
    let event_type = String::deserialize(event_type)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.event_type() == event_type);
    kind.ok_or_else(|| D::Error::custom(format!("an unknown kind of step: {event_type}")))
}

const STEP: &str = "cart_id, event_type, at";

/// The tables that customers see, and those of a rebuild.
const SHOWN: Names = Names { views: "views", steps: "steps" };
const REBUILT: Names = Names { views: "views_rebuilt", steps: "steps_rebuilt" };

#[derive(Clone, Copy)]
struct Names {
    views: &'static str,
    steps: &'static str,
}

/// Reads the views that the commands are about, in order and locked.
pub async fn load(tx: &mut Tx<'_>, db: &Db, commands: &[&Command]) -> anyhow::Result<Tables> {
    let counter = Counter::load(tx, db, MYPAGES.collection).await?;
    let about = |command: &&Command| match command {
        Command::Told(fact) | Command::Replayed { fact, .. } => Some(fact.cart_id.0),
        Command::BeginRebuild { .. } | Command::FinishRebuild { .. } => None,
    };
    let ids: Vec<i64> =
        commands.iter().filter_map(about).collect::<BTreeSet<_>>().into_iter().collect();
    let mut shown = views(tx, db, SHOWN, &ids).await?;
    (shown.last_id, shown.live) = (counter.last_id, counter.live);
    let token = query("select token from rebuilds").fetch_optional(&mut **tx).await?;
    let rebuilt = match token {
        Some(row) => {
            Some(Rebuilt { token: row.try_get(0)?, views: views(tx, db, REBUILT, &ids).await? })
        }
        None => None,
    };
    Ok(Tables { shown, rebuilt })
}

async fn views(tx: &mut Tx<'_>, db: &Db, tables: Names, ids: &[i64]) -> anyhow::Result<Views> {
    let mut views = Views::default();
    let (lock, of_views, of_steps) = (db.for_update(), tables.views, tables.steps);
    let of = |among: &str| format!("from {of_views} where cart_id {among} order by cart_id{lock}");
    for shown in look_up(tx, ids, MYPAGES.columns, of).await? {
        let Shown { id, cart_id, details, .. } = shown;
        views.views.insert(cart_id, View { id, cart_id, details, steps: BTreeMap::new() });
    }
    let of = |among: &str| format!("from {of_steps} where cart_id {among}");
    for StepRow { cart_id, kind, at } in look_up(tx, ids, STEP, of).await? {
        if let Some(view) = views.views.get_mut(&cart_id) {
            view.steps.insert(kind, at);
        }
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
    Counter { last_id: tables.shown.last_id, live: tables.shown.live }.save(tx, MYPAGES.collection);
    if commands.iter().any(|command| matches!(command, Command::FinishRebuild { .. })) {
        tx.flush().await?; // into the tables that change places now
        finish_rebuild(tx, db).await?;
    }
    Ok(())
}

/// Makes the new tables, as the migration makes the old.
async fn begin_rebuild(tx: &mut Tx<'_>, db: &Db, token: &str) -> anyhow::Result<()> {
    let (views, _) = MIGRATION.split_once("insert into counters").unwrap_or((MIGRATION, ""));
    let tables = db.dialect().expand(views);
    let tables = tables.replace("create table views", "create table views_rebuilt");
    let mut tables = tables.replace("create table steps", "create table steps_rebuilt");
    if db.dialect() == Dialect::Sqlite {
        let key = "primary key (cart_id, event_type)\n)";
        tables = tables.replace(key, &format!("{key} without rowid")); // as 1003_clustered.sql has it
    }
    let drop = "drop table if exists views_rebuilt; drop table if exists steps_rebuilt;";
    raw_sql(AssertSqlSafe(format!("{drop} {tables}"))).execute(&mut **tx).await?;
    query("delete from rebuilds").execute(&mut **tx).await?;
    query("insert into rebuilds (token) values ($1)").bind(token).execute(&mut **tx).await?;
    Ok(())
}

/// Has the new tables take the place of the old.
///
/// A step that only the old ones know is of an event that the topic no longer holds: its view stays as it
/// was, and so does the step.
async fn finish_rebuild(tx: &mut Tx<'_>, db: &Db) -> anyhow::Result<()> {
    if db.dialect() == Dialect::Postgres {
        // As long as it takes: nothing else of this service writes meanwhile anyway.
        query("set local statement_timeout = 0").execute(&mut **tx).await?;
        query("set local enable_seqscan = on").execute(&mut **tx).await?; // it does read all
    }
    let swap = "
        delete from views_rebuilt where cart_id in (
            select o.cart_id from steps o where not exists (
                select 1 from steps_rebuilt n
                where n.cart_id = o.cart_id and n.event_type = o.event_type));
        insert into views_rebuilt select * from views o where not exists (
            select 1 from views_rebuilt n where n.cart_id = o.cart_id);
        insert into steps_rebuilt select * from steps o where not exists (
            select 1 from steps_rebuilt n
            where n.cart_id = o.cart_id and n.event_type = o.event_type);
        drop table views;
        alter table views_rebuilt rename to views;
        drop table steps;
        alter table steps_rebuilt rename to steps;
        delete from rebuilds;
        update counters set live = (select count(*) from views) where name = 'mypages'";
    raw_sql(swap).execute(&mut **tx).await?;
    Ok(())
}

fn save_views(tx: &mut Tx<'_>, tables: Names, views: &Views, facts: &[&Fact]) -> sqlx::Result<()> {
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
    }
    #[derive(Serialize)]
    struct Step {
        cart_id: CartId,
        event_type: &'static str,
        at: i64,
    }
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
    });
    let set = "on conflict (cart_id) do update set gifticon_id = excluded.gifticon_id, \
               name = excluded.name, price = excluded.price, quantity = excluded.quantity, \
               amount = excluded.amount, payment_id = excluded.payment_id, status = excluded.status, \
               created_at = excluded.created_at, updated_at = excluded.updated_at";
    insert(tx, tables.views, &changed.collect::<Vec<_>>(), set)?;

    let at = |fact: &&Fact| {
        let at = views.views.get(&fact.cart_id)?.steps.get(&fact.kind)?;
        Some(((fact.cart_id, fact.kind), *at))
    };
    let steps: BTreeMap<(CartId, Kind), i64> = facts.iter().filter_map(at).collect();
    let steps = steps.into_iter().map(|((cart_id, kind), at)| Step {
        cart_id,
        event_type: kind.event_type(),
        at,
    });
    let set = "on conflict (cart_id, event_type) do update set at = excluded.at";
    insert(tx, tables.steps, &steps.collect::<Vec<_>>(), set)
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
    Ok(read(one, db.reader()).await?.pop())
}

/// The steps of a cart, as they come.
pub async fn steps(db: &Db, cart_id: CartId) -> sqlx::Result<Vec<(Kind, i64)>> {
    let steps = select(db.dialect(), STEP, "from steps where cart_id = $1").bind(cart_id.0);
    let steps: Vec<StepRow> = read(steps, db.reader()).await?;
    Ok(steps.into_iter().map(|step| (step.kind, step.at)).collect())
}
