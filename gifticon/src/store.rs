//! The tables of stock. All SQL of this service is in this file.

use crate::domain::{Command, Gifticon, Reservation, Stock, StockEvent};
use anyhow::ensure;
use chassis::Counter;
use chassis::db::{Db, Schema, Tx, now};
use chassis::listing::Listing;
use chassis::places::{Places, look_up, pieces, rounded};
use common_events::{GifticonId, ReservationId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row, query};
use std::collections::{BTreeSet, HashSet};

/// Gifticons on sale, as they are listed.
pub const GIFTICONS: Listing = Listing {
    collection: "gifticons",
    singular: "gifticon",
    select: "select id, gifticon_id, name, available, held, price, version from gifticons where 1 = 1",
    fields: &[
        ("id", "id"),
        ("gifticonId", "gifticon_id"),
        ("name", "name"),
        ("availableQuantity", "available"),
        ("price", "price"),
    ],
    searchable: true,
};

const HELD: &str = "Held";
const RELEASED: &str = "Released";

/// The tables.
pub fn schema() -> Schema {
    Schema::new(&[(1001, "gifticon", include_str!("../migrations/1001_gifticon.sql"))])
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
                Command::Delete { id } => {
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
pub async fn load(tx: &mut Tx, db: &Db, commands: &[&Command]) -> anyhow::Result<Stock> {
    let mut stock = Stock::default();
    let Named { mut numbers, rows, reservations, released, counts } = Named::by(commands);
    let names =
        |ids: BTreeSet<ReservationId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let lock = db.for_update();
    let of = |places: &str| {
        format!(
            "select distinct gifticon_id from reservations where id in ({places}) and gifticon_id is not null"
        )
    };
    for row in look_up(tx, &names(released), of).await? {
        numbers.insert(row.try_get(0)?);
    }
    for (column, ids) in [("gifticon_id", numbers), ("id", rows)] {
        let select = |places: &str| {
            format!("{} and {column} in ({places}) order by id{lock}", GIFTICONS.select)
        };
        for row in look_up(tx, &Vec::from_iter(ids), select).await? {
            let gifticon = gifticon(&row)?;
            stock.gifticons.insert(gifticon.gifticon_id, gifticon);
        }
    }
    let select = |places: &str| {
        format!(
            "select id, gifticon_id, quantity, name, price, left_over, status from reservations \
             where id in ({places}) order by id{lock}"
        )
    };
    for row in look_up(tx, &names(reservations), select).await? {
        let reservation = reservation(&row)?;
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
        let counter = Counter::load(tx, db, GIFTICONS.collection).await?;
        (stock.last_id, stock.live) = (counter.last_id, counter.live);
    }
    Ok(stock)
}

/// Writes what `events` changed.
pub async fn save(tx: &mut Tx, stock: &Stock, events: &[StockEvent]) -> anyhow::Result<()> {
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
        query("delete from gifticons where id = $1").bind(id).execute(&mut **tx).await?;
    }
    let gifticons: Vec<&Gifticon> =
        gifticons.iter().filter_map(|id| stock.gifticons.get(id)).collect();
    save_gifticons(tx, &gifticons).await?;
    released.retain(|id| !made.contains(id)); // what was made in this batch is written as it is now
    let reservations = |ids: BTreeSet<ReservationId>| -> Vec<&Reservation> {
        ids.iter().filter_map(|id| stock.reservations.get(id)).collect()
    };
    insert_reservations(tx, &reservations(made)).await?;
    release_reservations(tx, &released.into_iter().collect::<Vec<_>>()).await?;
    if counts {
        let counter = Counter { last_id: stock.last_id, live: stock.live };
        counter.save(tx, GIFTICONS.collection).await?;
    }
    Ok(())
}

async fn save_gifticons(tx: &mut Tx, gifticons: &[&Gifticon]) -> sqlx::Result<()> {
    for piece in pieces(gifticons) {
        let sql = format!(
            "insert into gifticons (id, gifticon_id, name, available, held, price, version) values {} \
             on conflict (id) do update set name = excluded.name, available = excluded.available, \
             held = excluded.held, price = excluded.price, version = excluded.version",
            Places::of(tx).rows(piece.len(), 7)
        );
        let mut insert = query(AssertSqlSafe(sql));
        for gifticon in piece {
            insert =
                insert.bind(gifticon.id).bind(gifticon.gifticon_id.0).bind(gifticon.name.as_str());
            insert = insert.bind(gifticon.available).bind(gifticon.held);
            insert = insert.bind(gifticon.price).bind(gifticon.version);
        }
        insert.execute(&mut **tx).await?;
    }
    Ok(())
}

/// Writes new reservations. One that another replica made first fails the batch, which then reads it:
/// overwriting the tombstone of a release would leak its stock.
async fn insert_reservations(tx: &mut Tx, reservations: &[&Reservation]) -> sqlx::Result<()> {
    for piece in pieces(reservations) {
        let sql = format!(
            "insert into reservations \
             (id, gifticon_id, quantity, name, price, left_over, status, changed_at) values {}",
            Places::of(tx).rows(piece.len(), 8)
        );
        let mut insert = query(AssertSqlSafe(sql));
        for reservation in piece {
            insert = insert
                .bind(reservation.id.to_string())
                .bind(reservation.gifticon_id.map(|id| id.0))
                .bind(reservation.quantity)
                .bind(reservation.name.as_str())
                .bind(reservation.price)
                .bind(reservation.left)
                .bind(if reservation.held { HELD } else { RELEASED })
                .bind(now());
        }
        insert.execute(&mut **tx).await?;
    }
    Ok(())
}

async fn release_reservations(tx: &mut Tx, ids: &[ReservationId]) -> sqlx::Result<()> {
    for ids in rounded(ids) {
        let mut places = Places::of(tx);
        let sql = format!(
            "update reservations set status = {}, changed_at = {} where id in ({})",
            places.one(),
            places.one(),
            places.list(ids.len())
        );
        let mut update = query(AssertSqlSafe(sql)).bind(RELEASED).bind(now());
        for id in ids {
            update = update.bind(id.to_string());
        }
        update.execute(&mut **tx).await?;
    }
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
    let sql = AssertSqlSafe(format!("{} and {column} = $1", GIFTICONS.select));
    query(sql).bind(value).fetch_optional(db.reader()).await?.map(|row| gifticon(&row)).transpose()
}

/// Units available and held, of all gifticons.
pub async fn units(db: &Db) -> sqlx::Result<(i64, i64)> {
    let sums = "select cast(coalesce(sum(available), 0) as bigint), \
                cast(coalesce(sum(held), 0) as bigint) from gifticons";
    let row = query(sums).fetch_one(db.reader()).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Reads a row of [`GIFTICONS`].
pub fn gifticon(row: &AnyRow) -> sqlx::Result<Gifticon> {
    Ok(Gifticon {
        id: row.try_get(0)?,
        gifticon_id: GifticonId(row.try_get(1)?),
        name: row.try_get(2)?,
        available: row.try_get(3)?,
        held: row.try_get(4)?,
        price: row.try_get(5)?,
        version: row.try_get(6)?,
    })
}

fn reservation(row: &AnyRow) -> anyhow::Result<Reservation> {
    Ok(Reservation {
        id: ReservationId(row.try_get::<&str, _>(0)?.parse()?),
        gifticon_id: row.try_get::<Option<i64>, _>(1)?.map(GifticonId),
        quantity: row.try_get(2)?,
        name: row.try_get(3)?,
        price: row.try_get(4)?,
        left: row.try_get(5)?,
        held: row.try_get::<&str, _>(6)? == HELD,
    })
}
