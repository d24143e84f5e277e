//! The tables of stock. All SQL of this service is in this file.

use crate::domain::{Command, Gifticon, Reservation, Stock, StockEvent};
use anyhow::ensure;
use chassis::base::clock::now;
use chassis::listing::{Field, Listing};
use chassis::storage::rows::{insert, look_up, of_each, read, select};
use chassis::storage::{Db, IdSequence, Schema, Statement, Tx};
use common_events::{GifticonId, ReservationId};
use serde::{Deserialize, Deserializer, Serialize};
use sqlx::{Row as _, query};
use std::collections::{BTreeSet, HashSet};

/// Gifticons on sale, as they are listed.
pub const GIFTICONS: Listing = Listing {
    collection: "gifticons",
    singular: "gifticon",
    columns: "id, gifticon_id, name, available, held, price, version",
    from: "from gifticons where true",
    fields: &[
        Field::unique("id", "id"),
        Field::unique("gifticonId", "gifticon_id"),
        Field::new("name", "name"),
        Field::new("availableQuantity", "available"),
        Field::new("price", "price"),
    ],
    searchable: true,
};

#[derive(Deserialize)]
#[serde(remote = "Gifticon")]
struct GifticonRow {
    id: i64,
    gifticon_id: GifticonId,
    name: String,
    available: i64,
    held: i64,
    price: i64,
    version: i64,
}

/// A gifticon as it is read.
#[derive(Deserialize)]
pub struct OneGifticon(#[serde(with = "GifticonRow")] pub Gifticon);

#[derive(Deserialize)]
#[serde(remote = "Reservation")]
struct ReservationRow {
    id: ReservationId,
    gifticon_id: Option<GifticonId>,
    quantity: i64,
    name: String,
    price: i64,
    #[serde(rename = "left_over")]
    left: i64,
    #[serde(rename = "status", deserialize_with = "is_held")]
    held: bool,
}

#[derive(Deserialize)]
struct OneReservation(#[serde(with = "ReservationRow")] Reservation);

fn is_held<'de, D: Deserializer<'de>>(status: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(status)? == HELD)
}

const RESERVATION: &str = "id, gifticon_id, quantity, name, price, left_over, status";
const HELD: &str = "Held";
const RELEASED: &str = "Released";

/// The tables.
pub fn schema() -> Schema {
    Schema::new(&[(1001, "gifticon", include_str!("../migrations/1001_gifticon.sql"))])
        .on_sqlite(&[(1002, "clustered", include_str!("../migrations/1002_clustered.sql"))])
}

/// What commands name.
#[derive(Default)]
struct Named {
    numbers: BTreeSet<i64>,
    rows: BTreeSet<i64>,
    reservations: BTreeSet<ReservationId>,
    released: BTreeSet<ReservationId>,
    /// Whether gifticons come or go.
    counts: bool,
}

impl Named {
    fn by(commands: &[&Command]) -> Self {
        let mut named = Self::default();
        for command in commands {
            match command {
                Command::Register { gifticon_id, .. } => {
                    named.counts = true;
                    named.numbers.insert(gifticon_id.0);
                }
                Command::Change { id, .. } => {
                    named.rows.insert(*id);
                }
                Command::Delete { id, .. } => {
                    named.counts = true;
                    named.rows.insert(*id);
                }
                Command::Reserve { reservation, gifticon_id, .. } => {
                    named.reservations.insert(*reservation);
                    named.numbers.insert(gifticon_id.0);
                }
                Command::Release { reservation } => {
                    named.reservations.insert(*reservation);
                    named.released.insert(*reservation);
                }
            }
        }
        named
    }
}

/// Reads what the commands name, locked: gifticons first, and then their reservations.
///
/// So whoever waited for a gifticon sees all its reservations. The other way round, a question that is
/// asked again at another replica would not see that the first took the last units, and hear a no
/// although they are held.
pub async fn load(tx: &mut Tx<'_>, db: &Db, commands: &[&Command]) -> anyhow::Result<Stock> {
    let mut stock = Stock::default();
    let Named { mut numbers, rows, reservations, released, counts } = Named::by(commands);
    let lock = db.for_update();
    let of = |among: &str| format!("from reservations where id {among}");
    let held: Vec<OneReservation> = look_up(tx, &names(&released), RESERVATION, of).await?;
    numbers.extend(held.iter().filter_map(|held| held.0.gifticon_id).map(|id| id.0));
    for (column, ids) in [("gifticon_id", numbers), ("id", rows)] {
        let of = |among: &str| format!("from gifticons where {column} {among} order by id{lock}");
        let ids = Vec::from_iter(ids);
        for OneGifticon(gifticon) in look_up(tx, &ids, GIFTICONS.columns, of).await? {
            stock.gifticons.insert(gifticon.gifticon_id, gifticon);
        }
    }
    let of = |among: &str| format!("from reservations where id {among} order by id{lock}");
    for OneReservation(reservation) in look_up(tx, &names(&reservations), RESERVATION, of).await? {
        let locked = |of| stock.gifticons.contains_key(&of);
        // Another replica made it just now. The batch is tried again, and finds it in time.
        ensure!(
            !reservation.held || reservation.gifticon_id.is_none_or(locked),
            "reservation {} was made meanwhile",
            reservation.id
        );
        stock.reservations.insert(reservation.id, reservation);
    }
    if counts {
        let counter = IdSequence::load(tx, db, GIFTICONS.collection).await?;
        (stock.last_id, stock.live) = (counter.last_id, counter.live);
    }
    Ok(stock)
}

fn names(ids: &BTreeSet<ReservationId>) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// Writes what `events` changed.
pub fn save(tx: &mut Tx<'_>, stock: &Stock, events: &[StockEvent]) -> sqlx::Result<()> {
    let (mut gifticons, mut made, mut released) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut deleted = HashSet::new();
    let mut counts = false;
    for event in events {
        match event {
            StockEvent::Registered(gifticon) => {
                counts = true;
                gifticons.insert(gifticon.gifticon_id);
            }
            StockEvent::Changed { gifticon_id, .. } => {
                gifticons.insert(*gifticon_id);
            }
            StockEvent::Deleted(gifticon) => {
                counts = true;
                deleted.insert(gifticon.id);
            }
            StockEvent::Reserved(reservation) => {
                made.insert(reservation.id);
                gifticons.extend(reservation.gifticon_id);
            }
            StockEvent::Forestalled(id) => {
                made.insert(*id);
            }
            StockEvent::Released(id) => {
                gifticons.extend(stock.reservations.get(id).and_then(|r| r.gifticon_id));
                released.insert(*id);
            }
        }
    }
    for id in deleted {
        tx.later(Statement::new("delete from gifticons where id = $1").number(id));
    }
    let gifticons: Vec<&Gifticon> =
        gifticons.iter().filter_map(|id| stock.gifticons.get(id)).collect();
    save_gifticons(tx, &gifticons)?;
    released.retain(|id| !made.contains(id)); // what was made in this batch is written as it is now
    let reservations = |ids: BTreeSet<ReservationId>| -> Vec<&Reservation> {
        ids.iter().filter_map(|id| stock.reservations.get(id)).collect()
    };
    insert_reservations(tx, &reservations(made))?;
    release_reservations(tx, &names(&released))?;
    if counts {
        let counter = IdSequence { last_id: stock.last_id, live: stock.live };
        counter.save(tx, GIFTICONS.collection);
    }
    Ok(())
}

fn save_gifticons(tx: &mut Tx<'_>, gifticons: &[&Gifticon]) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: i64,
        gifticon_id: GifticonId,
        name: &'a str,
        available: i64,
        held: i64,
        price: i64,
        version: i64,
    }
    let rows = gifticons.iter().map(|gifticon| Row {
        id: gifticon.id,
        gifticon_id: gifticon.gifticon_id,
        name: &gifticon.name,
        available: gifticon.available,
        held: gifticon.held,
        price: gifticon.price,
        version: gifticon.version,
    });
    let set = "on conflict (id) do update set name = excluded.name, available = excluded.available, \
               held = excluded.held, price = excluded.price, version = excluded.version";
    insert(tx, "gifticons", &rows.collect::<Vec<_>>(), set)
}

/// Writes new reservations. One that another replica made first fails the batch, which then reads it:
/// overwriting the tombstone of a release would leak its stock.
fn insert_reservations(tx: &mut Tx<'_>, reservations: &[&Reservation]) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: ReservationId,
        gifticon_id: Option<GifticonId>,
        quantity: i64,
        name: &'a str,
        price: i64,
        left_over: i64,
        status: &'static str,
        changed_at: i64,
    }
    let changed_at = now();
    let rows = reservations.iter().map(|reservation| Row {
        id: reservation.id,
        gifticon_id: reservation.gifticon_id,
        quantity: reservation.quantity,
        name: &reservation.name,
        price: reservation.price,
        left_over: reservation.left,
        status: if reservation.held { HELD } else { RELEASED },
        changed_at,
    });
    insert(tx, "reservations", &rows.collect::<Vec<_>>(), "")
}

fn release_reservations(tx: &mut Tx<'_>, ids: &[String]) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let update = of_each(tx, ids, |among| {
        format!("update reservations set status = $2, changed_at = $3 where id {among}")
    })?;
    tx.later(update.text(RELEASED).number(now()));
    Ok(())
}

/// The gifticon of a row.
pub async fn by_row(db: &Db, id: i64) -> sqlx::Result<Option<Gifticon>> {
    one(db, "id", id).await
}

/// The gifticon with the MD's number.
pub async fn by_number(db: &Db, number: i64) -> sqlx::Result<Option<Gifticon>> {
    one(db, "gifticon_id", number).await
}

async fn one(db: &Db, column: &str, value: i64) -> sqlx::Result<Option<Gifticon>> {
    let of = format!("from gifticons where {column} = $1");
    let one = select(db.dialect(), GIFTICONS.columns, &of).bind(value);
    Ok(read(one, db).await?.pop().map(|OneGifticon(gifticon)| gifticon))
}

/// Units available and held, of all gifticons.
pub async fn units(db: &Db) -> sqlx::Result<(i64, i64)> {
    let sums = "select cast(coalesce(sum(available), 0) as bigint), \
                cast(coalesce(sum(held), 0) as bigint) from gifticons";
    let row = db.fetch_one(query(sums)).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
