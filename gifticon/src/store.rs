//! The tables of stock. All SQL of this service is in this file.

use crate::domain::{Command, Gifticon, Reservation, Stock};
use chassis::base::clock::now;
use chassis::listing::{Field, Listing};
use chassis::model::Tracked;
use chassis::storage::rows::{insert, read, run_on_each, select};
use chassis::storage::{Db, Read, Reads, Schema, Statement, Table, Tx, ids};
use chassis::table;
use chassis::writer::ConflictError;
use common_events::{GifticonId, Owner, ReservationId};
use sqlx::{Row as _, query};
use std::collections::BTreeSet;

table! {
    /// A gifticon, as it is stored.
    pub struct GifticonRow in "gifticons" {
        id: i64,
        gifticon_id: GifticonId,
        name: String,
        available: i64,
        held: i64,
        price: i64,
        version: i64,
    }
}

table! {
    /// A reservation, as it is stored.
    struct ReservationRow in "reservations" {
        id: ReservationId,
        gifticon_id: Option<GifticonId>,
        quantity: i64,
        name: String,
        price: i64,
        left_over: i64,
        status: String,
        /// Milliseconds since 1970.
        changed_at: i64,
        owner: Owner,
    }
}

const HELD: &str = "Held";
const RELEASED: &str = "Released";

impl From<&Gifticon> for GifticonRow {
    fn from(gifticon: &Gifticon) -> Self {
        let Gifticon { id, gifticon_id, ref name, available, held, price, version } = *gifticon;
        Self { id, gifticon_id, name: name.clone(), available, held, price, version }
    }
}

impl From<GifticonRow> for Gifticon {
    fn from(row: GifticonRow) -> Self {
        let GifticonRow { id, gifticon_id, name, available, held, price, version } = row;
        Self { id, gifticon_id, name, available, held, price, version }
    }
}

impl ReservationRow {
    fn of(reservation: &Reservation, changed_at: i64) -> Self {
        Self {
            id: reservation.id,
            gifticon_id: reservation.gifticon_id,
            quantity: reservation.quantity,
            name: reservation.name.clone(),
            price: reservation.price,
            left_over: reservation.left,
            status: if reservation.held { HELD } else { RELEASED }.to_owned(),
            changed_at,
            owner: reservation.owner.clone(),
        }
    }
}

impl From<ReservationRow> for Reservation {
    fn from(row: ReservationRow) -> Self {
        Self {
            id: row.id,
            gifticon_id: row.gifticon_id,
            quantity: row.quantity,
            name: row.name,
            price: row.price,
            left: row.left_over,
            held: row.status == HELD,
            owner: row.owner,
        }
    }
}

/// Gifticons on sale, as they are listed.
pub const GIFTICONS: Listing = Listing {
    owner: None,
    collection: "gifticons",
    singular: "gifticon",
    columns: GifticonRow::COLUMNS,
    from: "from gifticons where true",
    fields: &[
        Field::unique("id", "id"),
        Field::unique("gifticonId", "gifticon_id"),
        Field::new("name", "name"),
        Field::new("availableQuantity", "available"),
        Field::new("price", "price"),
    ],
    search: Some(("findByGifticonId", "gifticonId")),
};

/// Returns the tables.
pub fn schema() -> Schema {
    Schema::new(&[
        (1001, "gifticon", include_str!("../migrations/1001_gifticon.sql")),
        (1002, "owners", include_str!("../migrations/1002_owners.sql")),
    ])
}

/// The ids of the rows that commands name.
#[derive(Default)]
struct Named {
    numbers: BTreeSet<i64>,
    rows: BTreeSet<i64>,
    reservations: BTreeSet<ReservationId>,
    released: BTreeSet<ReservationId>,
    /// True if gifticons come or go, so that their number changes.
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

/// Reads what the commands name, in one round trip unless stock is released. Locks gifticons before their reservations: whoever then holds the lock of a gifticon sees
/// all its reservations. In the other order, a retry at another replica could be told "not enough stock" while its first
/// attempt holds the last units.
pub async fn load(tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Stock> {
    let mut stock = Stock::default();
    let Named { mut numbers, rows, reservations, released, counts } = Named::by(commands);
    let mut reads = Reads::of(tx);
    let rest = |among: &str| format!("from reservations where id {among}");
    let to_release = reads.look_up(&texts(&released), ReservationRow::COLUMNS, rest)?;
    let to_release: Vec<ReservationRow> = reads.run(tx).await?.of(&to_release)?;
    numbers.extend(to_release.iter().filter_map(|row| row.gifticon_id).map(|number| number.0));

    let mut reads = Reads::of(tx);
    let lock = reads.for_update();
    let mut gifticons = |column, ids| {
        // By the same column in both, so that two replicas do not wait for each other.
        let rest = |among: &str| format!("from gifticons where {column} {among} order by id{lock}");
        reads.look_up(&Vec::from_iter(ids), GifticonRow::COLUMNS, rest)
    };
    let gifticons: [Read<GifticonRow>; 2] =
        [gifticons("gifticon_id", numbers)?, gifticons("id", rows)?];
    let reservations = ReservationRow::lock(&mut reads, "id", &texts(&reservations))?;
    let ids = counts.then(|| ids::lock(&mut reads, GIFTICONS.collection));
    let found = reads.run(tx).await?;
    for read in &gifticons {
        for row in found.of(read)? {
            stock.gifticons.read(row.gifticon_id, row.into());
        }
    }
    for row in found.of(&reservations)? {
        let reservation = Reservation::from(row);
        let is_locked = |number| stock.gifticons.get(&number).is_some();
        // Another replica made it just now. The batch is tried again, and finds it in time.
        if reservation.held && !reservation.gifticon_id.is_none_or(is_locked) {
            let id = reservation.id;
            return Err(ConflictError(format!("reservation {id} was made meanwhile")).into());
        }
        stock.reservations.read(reservation.id, reservation);
    }
    if let Some(ids) = &ids {
        stock.ids = ids::read(&found, ids)?;
    }
    Ok(stock)
}

fn texts<'i>(ids: impl IntoIterator<Item = &'i ReservationId>) -> Vec<String> {
    ids.into_iter().map(ToString::to_string).collect()
}

/// Writes what was added, changed and removed.
pub fn save(tx: &mut Tx<'_>, stock: &Stock) -> sqlx::Result<()> {
    save_gifticons(tx, &stock.gifticons)?;
    save_reservations(tx, &stock.reservations)?;
    ids::save(tx, &stock.ids, GIFTICONS.collection);
    Ok(())
}

/// Deletes first: a number may be given again in the same batch.
fn save_gifticons(tx: &mut Tx<'_>, gifticons: &Tracked<GifticonId, Gifticon>) -> sqlx::Result<()> {
    let removed: Vec<i64> = gifticons.removed().map(|gifticon| gifticon.id).collect();
    run_on_each(tx, &removed, |among| format!("delete from gifticons where id {among}"))?;
    let rows = gifticons.added().chain(gifticons.changed());
    let rows: Vec<GifticonRow> = rows.map(Into::into).collect();
    let overwrite = GifticonRow::on_conflict("id", &["gifticon_id"]);
    insert(tx, GifticonRow::NAME, GifticonRow::COLUMNS, &rows, &overwrite)
}

/// Inserts new reservations, and sets the status of those that were released. A new one that another replica made first
/// fails the batch, which then reads it: overwriting the tombstone of a release would leak its stock.
fn save_reservations(
    tx: &mut Tx<'_>,
    reservations: &Tracked<ReservationId, Reservation>,
) -> sqlx::Result<()> {
    let changed_at = now();
    let rows = reservations.added().map(|reservation| ReservationRow::of(reservation, changed_at));
    ReservationRow::insert(tx, &rows.collect::<Vec<_>>())?;
    let released = texts(reservations.changed().map(|reservation| &reservation.id));
    run_on_each(tx, &released, |among| {
        let update =
            format!("update reservations set status = $2, changed_at = $3 where id {among}");
        Statement::new(update).text(RELEASED).number(changed_at)
    })
}

/// Returns the gifticon of a row.
pub async fn by_row(db: &Db, id: i64) -> sqlx::Result<Option<Gifticon>> {
    by(db, "id", id).await
}

/// Returns the gifticon with the number that the MD gave it.
pub async fn by_number(db: &Db, number: i64) -> sqlx::Result<Option<Gifticon>> {
    by(db, "gifticon_id", number).await
}

async fn by(db: &Db, column: &str, value: i64) -> sqlx::Result<Option<Gifticon>> {
    let rest = format!("from gifticons where {column} = $1");
    let select = select(db.dialect(), GifticonRow::COLUMNS, &rest).bind(value);
    let mut rows: Vec<GifticonRow> = read(select, db).await?;
    Ok(rows.pop().map(Gifticon::from))
}

/// Returns the units available and held, of all gifticons.
pub async fn units(db: &Db) -> sqlx::Result<(i64, i64)> {
    let sums = "select cast(coalesce(sum(available), 0) as bigint), \
                cast(coalesce(sum(held), 0) as bigint) from gifticons";
    let row = db.fetch_one(query(sums)).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
