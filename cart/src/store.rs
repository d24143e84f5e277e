//! The carts' tables. All SQL of this service is in this file.

use crate::domain::{Cart, CartEvent, Carts, Command, Intent, Key, No, Outcome, Status};
use chassis::Counter;
use chassis::db::{Db, Schema, Tx, now};
use chassis::listing::Listing;
use chassis::places::{Places, Value, look_up, pieces, rounded};
use chassis::retention::Old;
use common_events::{CartId, GifticonId, ReservationId, status};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row, query};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a key was answered with is of use for a day: who tries again does so within minutes.
pub const KEYS_FORGOTTEN: Old = Old {
    table: "idempotency_keys",
    key: "idempotency_key",
    since: "at",
    after: Duration::from_hours(24),
};

/// Live carts, as they are listed.
pub const CARTS: Listing = Listing {
    collection: "carts",
    singular: "cart",
    select: "select id, gifticon_id, quantity, reservation_id, name, price, status, added_at \
             from carts where status <> 'CartRemoved'",
    fields: &[
        ("id", "id"),
        ("gifticonId", "gifticon_id"),
        ("quantity", "quantity"),
        ("status", "status"),
    ],
    searchable: false,
};

const ANY_CART: &str =
    "select id, gifticon_id, quantity, reservation_id, name, price, status, added_at from carts";
const PENDING: &str = "Pending";
const ABANDONED: &str = "Abandoned";

/// The tables.
pub fn schema() -> Schema {
    Schema::new(&[
        (1001, "cart", include_str!("../migrations/1001_cart.sql")),
        (1002, "retention", include_str!("../migrations/1002_retention.sql")),
    ])
}

/// Reads what the commands name, in the order keys, intents, carts, each in order and locked.
pub async fn load(tx: &mut Tx, db: &Db, commands: &[&Command]) -> anyhow::Result<Carts> {
    let mut carts = Carts::default();
    let (mut keys, mut reservations, mut ids) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut counts = false;
    for command in commands {
        match command {
            Command::Intend(intent) => keys.extend(intent.key.clone()),
            Command::Confirm { reservation, .. } | Command::Abandon { reservation } => {
                counts = true;
                reservations.insert(*reservation);
            }
            Command::Refuse { reservation, .. }
            | Command::GiveUp { reservation }
            | Command::Forget { reservation } => {
                reservations.insert(*reservation);
            }
            Command::Remove { id } | Command::Decline { id } => {
                counts = true;
                ids.insert(*id);
            }
            Command::MarkPaid { id } => {
                ids.insert(*id);
            }
        }
    }
    // Names of reservations are known for what is reserved; the keys of those must be there too.
    let reservations: Vec<String> = reservations.iter().map(ReservationId::to_string).collect();
    let intents =
        "select reservation_id, gifticon_id, quantity, idempotency_key, status, since from intents";
    for row in select(tx, db, intents, "reservation_id", &reservations).await? {
        let intent = intent(&row)?;
        keys.extend(intent.key.clone());
        carts.intents.insert(intent.reservation_id, intent);
    }
    let outcomes = "select idempotency_key, gifticon_id, quantity, outcome, cart_id, available from idempotency_keys";
    for row in
        select(tx, db, outcomes, "idempotency_key", &keys.into_iter().collect::<Vec<_>>()).await?
    {
        let key = key(&row)?;
        if let Outcome::Added(id) = key.outcome {
            ids.insert(id);
        }
        carts.keys.insert(row.try_get(0)?, key);
    }
    let ids: Vec<i64> = ids.into_iter().map(|id| id.0).collect();
    let mut rows = select(tx, db, ANY_CART, "id", &ids).await?;
    rows.extend(select(tx, db, ANY_CART, "reservation_id", &reservations).await?);
    for row in rows {
        let cart = cart(&row)?;
        carts.carts.insert(cart.id, cart);
    }
    if counts {
        let counter = Counter::load(tx, db, CARTS.collection).await?;
        (carts.last_id, carts.live) = (counter.last_id, counter.live);
    }
    Ok(carts)
}

/// Rows whose `column` is one of `ids`, in order and locked.
async fn select<T: Value>(
    tx: &mut Tx,
    db: &Db,
    select: &str,
    column: &str,
    ids: &[T],
) -> sqlx::Result<Vec<AnyRow>> {
    let lock = db.for_update();
    look_up(tx, ids, |places| {
        format!("{select} where {column} in ({places}) order by {column}{lock}")
    })
    .await
}

/// Writes what `events` changed.
pub async fn save(tx: &mut Tx, carts: &Carts, events: &[CartEvent]) -> anyhow::Result<()> {
    let (mut intended, mut abandoned, mut ended) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut new_keys, mut concluded, mut free) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut made, mut changed, mut unmade) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for event in events {
        match event {
            CartEvent::Intended(intent) => {
                intended.insert(intent.reservation_id);
                new_keys.extend(intent.key.as_ref());
            }
            CartEvent::Confirmed(cart, key) => {
                ended.insert(cart.reservation_id);
                made.insert(cart.id);
                concluded.extend(key);
            }
            CartEvent::Refused(reservation, key, _) => {
                ended.insert(*reservation);
                concluded.extend(key);
            }
            CartEvent::Abandoned(reservation, key) => {
                abandoned.insert(*reservation);
                free.extend(key);
            }
            CartEvent::Forgotten(reservation, key) => {
                ended.insert(*reservation);
                free.extend(key);
            }
            CartEvent::Removed(id) | CartEvent::Paid(id) => {
                changed.insert(*id);
            }
            CartEvent::Unmade(id) => {
                changed.insert(*id);
                unmade.push(id.0);
            }
        }
    }
    let written = |ids: &BTreeSet<ReservationId>| {
        let before = ids.iter().filter(|id| !intended.contains(id));
        before.map(ToString::to_string).collect::<Vec<_>>()
    };
    let free = free.into_iter().cloned().collect();
    on_each(tx, "delete from idempotency_keys where idempotency_key in", free).await?;
    on_each(tx, "delete from idempotency_keys where cart_id in", unmade).await?;
    let kept = |keys: &BTreeSet<&String>| {
        let key = |name: &&String| Some(((*name).clone(), carts.keys.get(*name)?.clone()));
        keys.iter().filter_map(key).collect::<Vec<_>>()
    };
    insert_keys(tx, &kept(&new_keys), "").await?;
    concluded.retain(|key| !new_keys.contains(key));
    let set = " on conflict (idempotency_key) do update set outcome = excluded.outcome, \
               cart_id = excluded.cart_id, available = excluded.available";
    insert_keys(tx, &kept(&concluded), set).await?;

    on_each(tx, "delete from intents where reservation_id in", written(&ended)).await?;
    abandoned.retain(|id| !ended.contains(id));
    let set =
        "update intents set status = 'Abandoned', idempotency_key = null where reservation_id in";
    on_each(tx, set, written(&abandoned)).await?;
    insert_intents(tx, &intended.iter().filter_map(|id| carts.intents.get(id)).collect::<Vec<_>>())
        .await?;

    let cart = |id: &CartId| carts.carts.get(id);
    insert_carts(tx, &made.iter().filter_map(cart).collect::<Vec<_>>()).await?;
    changed.retain(|id| !made.contains(id)); // what was made in this batch is written as it is now
    for (status, text) in
        [(Status::Paid, status::PAYMENT_APPROVED), (Status::Removed, status::CART_REMOVED)]
    {
        let ids = changed.iter().filter_map(cart).filter(|cart| cart.status == status);
        let set = format!("update carts set status = '{text}', changed_at = {} where id in", now());
        on_each(tx, &set, ids.map(|cart| cart.id.0).collect()).await?;
    }
    let counts = |event: &CartEvent| {
        matches!(event, CartEvent::Confirmed(..) | CartEvent::Removed(_) | CartEvent::Unmade(_))
    };
    if events.iter().any(counts) {
        Counter { last_id: carts.last_id, live: carts.live }.save(tx, CARTS.collection).await?;
    }
    Ok(())
}

/// Runs `statement`, which ends with `in`, on the rows of `ids`.
async fn on_each<T: Value>(tx: &mut Tx, statement: &str, ids: Vec<T>) -> sqlx::Result<()> {
    for ids in rounded(&ids) {
        let places = Places::of(tx).list(ids.len());
        let mut run = query(AssertSqlSafe(format!("{statement} ({places})")));
        for id in ids {
            run = run.bind(id);
        }
        run.execute(&mut **tx).await?;
    }
    Ok(())
}

/// Writes keys; plainly where they are new, so that one that another replica took meanwhile fails the
/// batch, which then reads it.
async fn insert_keys(tx: &mut Tx, keys: &[(String, Key)], on_conflict: &str) -> sqlx::Result<()> {
    for piece in pieces(keys) {
        let sql = format!(
            "insert into idempotency_keys \
             (idempotency_key, gifticon_id, quantity, outcome, cart_id, available, at) values {}{on_conflict}",
            Places::of(tx).rows(piece.len(), 7)
        );
        let mut insert = query(AssertSqlSafe(sql));
        for (name, key) in piece {
            let (outcome, cart, available) = match key.outcome {
                Outcome::Pending => (PENDING, None, None),
                Outcome::Added(id) => ("Added", Some(id.0), None),
                Outcome::Refused(No::NoGifticon) => ("NoGifticon", None, None),
                Outcome::Refused(No::Short { available }) => ("Short", None, Some(available)),
            };
            insert = insert.bind(name.as_str()).bind(key.gifticon_id.0).bind(key.quantity);
            insert = insert.bind(outcome).bind(cart).bind(available).bind(now());
        }
        insert.execute(&mut **tx).await?;
    }
    Ok(())
}

async fn insert_intents(tx: &mut Tx, intents: &[&Intent]) -> sqlx::Result<()> {
    for piece in pieces(intents) {
        let sql = format!(
            "insert into intents (reservation_id, gifticon_id, quantity, idempotency_key, status, since) \
             values {}",
            Places::of(tx).rows(piece.len(), 6)
        );
        let mut insert = query(AssertSqlSafe(sql));
        for intent in piece {
            insert = insert
                .bind(intent.reservation_id.to_string())
                .bind(intent.gifticon_id.0)
                .bind(intent.quantity)
                .bind(intent.key.as_deref())
                .bind(if intent.abandoned { ABANDONED } else { PENDING })
                .bind(intent.since);
        }
        insert.execute(&mut **tx).await?;
    }
    Ok(())
}

async fn insert_carts(tx: &mut Tx, carts: &[&Cart]) -> sqlx::Result<()> {
    for piece in pieces(carts) {
        let sql = format!(
            "insert into carts (id, gifticon_id, quantity, reservation_id, name, price, status, \
             added_at, changed_at) values {}",
            Places::of(tx).rows(piece.len(), 9)
        );
        let mut insert = query(AssertSqlSafe(sql));
        for cart in piece {
            insert = insert
                .bind(cart.id.0)
                .bind(cart.gifticon_id.0)
                .bind(cart.quantity)
                .bind(cart.reservation_id.to_string())
                .bind(cart.name.as_str())
                .bind(cart.price)
                .bind(text(cart.status))
                .bind(cart.added_at)
                .bind(cart.added_at);
        }
        insert.execute(&mut **tx).await?;
    }
    Ok(())
}

/// A live cart.
pub async fn by_id(db: &Db, id: i64) -> sqlx::Result<Option<Cart>> {
    let sql = AssertSqlSafe(format!("{} and id = $1", CARTS.select));
    query(sql).bind(id).fetch_optional(db.reader()).await?.map(|row| cart(&row)).transpose()
}

/// Intents that wait since before `since`, oldest first.
pub async fn stale_intents(db: &Db, since: i64, most: i64) -> anyhow::Result<Vec<ReservationId>> {
    intents_in(db, PENDING, since, most).await
}

/// Intents whose stock is to be released, oldest first.
pub async fn abandoned_intents(db: &Db, most: i64) -> anyhow::Result<Vec<ReservationId>> {
    intents_in(db, ABANDONED, i64::MAX, most).await
}

async fn intents_in(
    db: &Db,
    status: &str,
    before: i64,
    most: i64,
) -> anyhow::Result<Vec<ReservationId>> {
    let ids = "select reservation_id from intents where status = $1 and since < $2 order by since limit $3";
    let rows = query(ids).bind(status).bind(before).bind(most).fetch_all(db.reader()).await?;
    rows.iter().map(|row| Ok(ReservationId(row.try_get::<&str, _>(0)?.parse()?))).collect()
}

/// The text of a status in the table, which is also what customers read.
pub fn text(status: Status) -> &'static str {
    match status {
        Status::Added => status::CART_ADDED,
        Status::Paid => status::PAYMENT_APPROVED,
        Status::Removed => status::CART_REMOVED,
    }
}

/// Reads a row of [`CARTS`].
pub fn cart(row: &AnyRow) -> sqlx::Result<Cart> {
    let id: &str = row.try_get(3)?;
    let status: &str = row.try_get(6)?;
    let status =
        [Status::Added, Status::Paid, Status::Removed].into_iter().find(|one| text(*one) == status);
    Ok(Cart {
        id: CartId(row.try_get(0)?),
        gifticon_id: GifticonId(row.try_get(1)?),
        quantity: row.try_get(2)?,
        reservation_id: ReservationId(
            id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        ),
        name: row.try_get(4)?,
        price: row.try_get(5)?,
        status: status.ok_or_else(|| sqlx::Error::Decode("an unknown status of a cart".into()))?,
        added_at: row.try_get(7)?,
    })
}

fn intent(row: &AnyRow) -> anyhow::Result<Intent> {
    Ok(Intent {
        reservation_id: ReservationId(row.try_get::<&str, _>(0)?.parse()?),
        gifticon_id: GifticonId(row.try_get(1)?),
        quantity: row.try_get(2)?,
        key: row.try_get(3)?,
        abandoned: row.try_get::<&str, _>(4)? == ABANDONED,
        since: row.try_get(5)?,
    })
}

fn key(row: &AnyRow) -> anyhow::Result<Key> {
    let outcome: String = row.try_get(3)?;
    Ok(Key {
        gifticon_id: GifticonId(row.try_get(1)?),
        quantity: row.try_get(2)?,
        outcome: match outcome.as_str() {
            PENDING => Outcome::Pending,
            "Added" => Outcome::Added(CartId(row.try_get(4)?)),
            "NoGifticon" => Outcome::Refused(No::NoGifticon),
            "Short" => Outcome::Refused(No::Short { available: row.try_get(5)? }),
            other => anyhow::bail!("an unknown outcome of a key: {other}"),
        },
    })
}
