//! The view's tables. All SQL of this service is in this file.

use crate::app::{Rebuilt, Tables};
use crate::projection::{Command, Details, Fact, Kind, View, Views};
use chassis::Counter;
use chassis::db::{Db, Dialect, Schema, Tx};
use chassis::listing::Listing;
use chassis::places::{Places, look_up, pieces};
use common_events::{CartId, GifticonId, PaymentId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row, query, raw_sql};
use std::collections::{BTreeMap, BTreeSet};

/// Views, as they are listed.
pub const MYPAGES: Listing = Listing {
    collection: "mypages",
    singular: "mypage",
    select: "select id, cart_id, gifticon_id, name, price, quantity, amount, payment_id, status, \
             created_at, updated_at from views where 1 = 1",
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
    Schema::new(&[(1001, "mypage", MIGRATION), (1002, "rebuild", rebuild)])
}

/// A row as customers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The tables that customers see, and those of a rebuild.
const SHOWN: Names = Names { views: "views", steps: "steps" };
const REBUILT: Names = Names { views: "views_rebuilt", steps: "steps_rebuilt" };

#[derive(Clone, Copy)]
struct Names {
    views: &'static str,
    steps: &'static str,
}

/// Reads the views that the commands are about, in order and locked.
pub async fn load(tx: &mut Tx, db: &Db, commands: &[&Command]) -> anyhow::Result<Tables> {
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

async fn views(tx: &mut Tx, db: &Db, tables: Names, ids: &[i64]) -> anyhow::Result<Views> {
    let mut views = Views::default();
    let select = MYPAGES.select.replace("from views", &format!("from {}", tables.views));
    let lock = db.for_update();
    let rows = |places: &str| format!("{select} and cart_id in ({places}) order by cart_id{lock}");
    for row in look_up(tx, ids, rows).await? {
        let Shown { id, cart_id, details, .. } = shown(&row)?;
        views.views.insert(cart_id, View { id, cart_id, details, steps: BTreeMap::new() });
    }
    let steps = |places: &str| {
        format!("select cart_id, event_type, at from {} where cart_id in ({places})", tables.steps)
    };
    for row in look_up(tx, ids, steps).await? {
        let (kind, at) = (kind(row.try_get(1)?)?, row.try_get(2)?);
        if let Some(view) = views.views.get_mut(&CartId(row.try_get(0)?)) {
            view.steps.insert(kind, at);
        }
    }
    Ok(views)
}

/// Writes what `commands` changed.
pub async fn save(
    tx: &mut Tx,
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
    save_views(tx, SHOWN, &tables.shown, &told).await?;
    if let Some(rebuilt) = &tables.rebuilt {
        save_views(tx, REBUILT, &rebuilt.views, &replayed).await?;
    }
    Counter { last_id: tables.shown.last_id, live: tables.shown.live }
        .save(tx, MYPAGES.collection)
        .await?;
    if commands.iter().any(|command| matches!(command, Command::FinishRebuild { .. })) {
        finish_rebuild(tx, db).await?;
    }
    Ok(())
}

/// Makes the new tables, as the migration makes the old.
async fn begin_rebuild(tx: &mut Tx, db: &Db, token: &str) -> anyhow::Result<()> {
    let (views, _) = MIGRATION.split_once("insert into counters").unwrap_or((MIGRATION, ""));
    let tables = db.dialect().expand(views);
    let tables = tables.replace("create table views", "create table views_rebuilt");
    let tables = tables.replace("create table steps", "create table steps_rebuilt");
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
async fn finish_rebuild(tx: &mut Tx, db: &Db) -> anyhow::Result<()> {
    if db.dialect() == Dialect::Postgres {
        // As long as it takes: nothing else of this service writes meanwhile anyway.
        query("set local statement_timeout = 0").execute(&mut **tx).await?;
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

async fn save_views(
    tx: &mut Tx,
    tables: Names,
    views: &Views,
    facts: &[&Fact],
) -> anyhow::Result<()> {
    let ids: BTreeSet<CartId> = facts.iter().map(|fact| fact.cart_id).collect();
    let changed: Vec<&View> = ids.iter().filter_map(|id| views.views.get(id)).collect();
    for piece in pieces(&changed) {
        let sql = format!(
            "insert into {} (id, cart_id, gifticon_id, name, price, quantity, amount, payment_id, \
             status, created_at, updated_at) values {} \
             on conflict (cart_id) do update set gifticon_id = excluded.gifticon_id, \
             name = excluded.name, price = excluded.price, quantity = excluded.quantity, \
             amount = excluded.amount, payment_id = excluded.payment_id, status = excluded.status, \
             created_at = excluded.created_at, updated_at = excluded.updated_at",
            tables.views,
            Places::of(tx).rows(piece.len(), 11)
        );
        let mut insert = query(AssertSqlSafe(sql));
        for view in piece {
            let details = &view.details;
            insert = insert
                .bind(view.id)
                .bind(view.cart_id.0)
                .bind(details.gifticon_id.map(|id| id.0))
                .bind(details.name.as_deref())
                .bind(details.price)
                .bind(details.quantity)
                .bind(details.amount)
                .bind(details.payment_id.map(|id| id.0))
                .bind(view.status())
                .bind(view.created_at())
                .bind(view.updated_at());
        }
        insert.execute(&mut **tx).await?;
    }
    let step = |fact: &&Fact| {
        let at = views.views.get(&fact.cart_id)?.steps.get(&fact.kind)?;
        Some(((fact.cart_id, fact.kind), *at))
    };
    let steps: BTreeMap<(CartId, Kind), i64> = facts.iter().filter_map(step).collect();
    for piece in pieces(&steps.into_iter().collect::<Vec<_>>()) {
        let sql = format!(
            "insert into {} (cart_id, event_type, at) values {} \
             on conflict (cart_id, event_type) do update set at = excluded.at",
            tables.steps,
            Places::of(tx).rows(piece.len(), 3)
        );
        let mut insert = query(AssertSqlSafe(sql));
        for ((cart_id, kind), at) in piece {
            insert = insert.bind(cart_id.0).bind(kind.event_type()).bind(*at);
        }
        insert.execute(&mut **tx).await?;
    }
    Ok(())
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
    let sql = AssertSqlSafe(format!("{} and {column} = $1", MYPAGES.select));
    query(sql).bind(value).fetch_optional(db.reader()).await?.map(|row| shown(&row)).transpose()
}

/// The steps of a cart, as they come.
pub async fn steps(db: &Db, cart_id: CartId) -> anyhow::Result<Vec<(Kind, i64)>> {
    let rows = query("select event_type, at from steps where cart_id = $1").bind(cart_id.0);
    let rows = rows.fetch_all(db.reader()).await?;
    rows.iter().map(|row| Ok((kind(row.try_get(0)?)?, row.try_get(1)?))).collect()
}

/// Reads a row of [`MYPAGES`].
pub fn shown(row: &AnyRow) -> sqlx::Result<Shown> {
    Ok(Shown {
        id: row.try_get(0)?,
        cart_id: CartId(row.try_get(1)?),
        details: Details {
            gifticon_id: row.try_get::<Option<i64>, _>(2)?.map(GifticonId),
            name: row.try_get(3)?,
            price: row.try_get(4)?,
            quantity: row.try_get(5)?,
            amount: row.try_get(6)?,
            payment_id: row.try_get::<Option<i64>, _>(7)?.map(PaymentId),
        },
        status: row.try_get(8)?,
        created_at: row.try_get(9)?,
        updated_at: row.try_get(10)?,
    })
}

fn kind(event_type: &str) -> anyhow::Result<Kind> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.event_type() == event_type);
    kind.ok_or_else(|| anyhow::anyhow!("an unknown kind of step: {event_type}"))
}
