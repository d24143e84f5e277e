//! The carts' tables. All SQL of this service is in this file.

use crate::domain::{Cart, CartEvent, Carts, Command, Intent, Key, No, Outcome, Status};
use chassis::base::clock::now;
use chassis::listing::{Field, Listing};
use chassis::mailbox::retention::RetentionRule;
use chassis::storage::rows::{Value, insert, insert_stamped, look_up, of_each, read, select};
use chassis::storage::{Db, IdSequence, Schema, Tx};
use common_events::{CartId, GifticonId, ReservationId, status};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a key was answered with is of use for a day: who tries again does so within minutes.
pub const IDEMPOTENCY_KEY_RETENTION: RetentionRule = RetentionRule {
    table: "idempotency_keys",
    key: "idempotency_key",
    after: Duration::from_hours(24),
};

/// Live carts, as they are listed.
pub const CARTS: Listing = Listing {
    collection: "carts",
    singular: "cart",
    columns: "id, gifticon_id, quantity, reservation_id, name, price, status, added_at",
    from: "from carts where status <> 'CartRemoved'",
    fields: &[
        Field::unique("id", "id"),
        Field::new("gifticonId", "gifticon_id"),
        Field::new("quantity", "quantity"),
        Field::new("status", "status"),
        Field::new("name", "name"),
        Field::new("price", "price"),
        Field::new("amount", "price * quantity"),
    ],
    searchable: false,
};

#[derive(Deserialize)]
#[serde(remote = "Cart")]
struct CartRow {
    id: CartId,
    gifticon_id: GifticonId,
    quantity: i64,
    reservation_id: ReservationId,
    name: String,
    price: i64,
    #[serde(deserialize_with = "known_status")]
    status: Status,
    added_at: i64,
}

/// A cart as it is read.
#[derive(Deserialize)]
pub struct OneCart(#[serde(with = "CartRow")] pub Cart);

fn known_status<'de, D: Deserializer<'de>>(status: D) -> Result<Status, D::Error> {
    let status = String::deserialize(status)?;
    let known = [Status::Added, Status::Paid, Status::Removed];
    let known = known.into_iter().find(|known| text(*known) == status);
    known.ok_or_else(|| D::Error::custom("an unknown status of a cart"))
}

#[derive(Deserialize)]
#[serde(remote = "Intent")]
struct IntentRow {
    reservation_id: ReservationId,
    gifticon_id: GifticonId,
    quantity: i64,
    #[serde(rename = "idempotency_key")]
    key: Option<String>,
    #[serde(rename = "status", deserialize_with = "is_abandoned")]
    abandoned: bool,
}

#[derive(Deserialize)]
struct OneIntent(#[serde(with = "IntentRow")] Intent);

fn is_abandoned<'de, D: Deserializer<'de>>(status: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(status)? == ABANDONED)
}

#[derive(Deserialize)]
struct KeyRow {
    idempotency_key: String,
    gifticon_id: GifticonId,
    quantity: i64,
    outcome: String,
    cart_id: Option<CartId>,
    available: Option<i64>,
}

impl KeyRow {
    fn outcome(&self) -> sqlx::Result<Outcome> {
        Ok(match (self.outcome.as_str(), self.cart_id, self.available) {
            (PENDING, ..) => Outcome::Pending,
            ("Added", Some(id), _) => Outcome::Added(id),
            ("NoGifticon", ..) => Outcome::Refused(No::NoGifticon),
            ("Short", _, Some(available)) => Outcome::Refused(No::Short { available }),
            (other, ..) => {
                return Err(sqlx::Error::Decode(format!("an unknown outcome: {other}").into()));
            }
        })
    }
}

const INTENT: &str = "reservation_id, gifticon_id, quantity, idempotency_key, status";
const KEY: &str = "idempotency_key, gifticon_id, quantity, outcome, cart_id, available";
const PENDING: &str = "Pending";
const ABANDONED: &str = "Abandoned";

/// The tables.
pub fn schema() -> Schema {
    Schema::new(&[
        (1001, "cart", include_str!("../migrations/1001_cart.sql")),
        (1002, "retention", include_str!("../migrations/1002_retention.sql")),
        (1004, "running time", include_str!("../migrations/1004_running_time.sql")),
    ])
    .on_sqlite(&[(1003, "clustered", include_str!("../migrations/1003_clustered.sql"))])
}

/// Reads what the commands name, in the order keys, intents, carts, each in order and locked.
pub async fn load(tx: &mut Tx<'_>, db: &Db, commands: &[&Command]) -> anyhow::Result<Carts> {
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
            Command::Remove { id, .. } | Command::Decline { id } => {
                counts = true;
                ids.insert(*id);
            }
            Command::MarkPaid { id } => {
                ids.insert(*id);
            }
        }
    }
    // Names of reservations are known for what is reserved; the keys of those must be there too.
    let names: Vec<String> = reservations.iter().map(ReservationId::to_string).collect();
    let intents = locked(tx, db, INTENT, "intents", "reservation_id", &names).await?;
    for OneIntent(intent) in intents {
        keys.extend(intent.key.clone());
        carts.intents.insert(intent.reservation_id, intent);
    }
    let keys = Vec::from_iter(keys);
    let keys: Vec<KeyRow> =
        locked(tx, db, KEY, "idempotency_keys", "idempotency_key", &keys).await?;
    for row in keys {
        let outcome = row.outcome()?;
        if let Outcome::Added(id) = outcome {
            ids.insert(id);
        }
        let (gifticon_id, quantity) = (row.gifticon_id, row.quantity);
        carts.keys.insert(row.idempotency_key, Key { gifticon_id, quantity, outcome });
    }
    // An intent is deleted in the transaction that makes its cart: where it is there, the cart is not.
    let ended = reservations.iter().filter(|id| !carts.intents.contains_key(id));
    let ended: Vec<String> = ended.map(ReservationId::to_string).collect();
    let ids: Vec<i64> = ids.into_iter().map(|id| id.0).collect();
    let mut found: Vec<OneCart> = locked(tx, db, CARTS.columns, "carts", "id", &ids).await?;
    found.extend(locked(tx, db, CARTS.columns, "carts", "reservation_id", &ended).await?);
    carts.carts = found.into_iter().map(|OneCart(cart)| (cart.id, cart)).collect();
    if counts {
        let counter = IdSequence::load(tx, db, CARTS.collection).await?;
        (carts.last_id, carts.live) = (counter.last_id, counter.live);
    }
    Ok(carts)
}

/// Rows of `table` whose `column` is one of `ids`, in order and locked.
async fn locked<T: Value, R: DeserializeOwned>(
    tx: &mut Tx<'_>,
    db: &Db,
    columns: &str,
    table: &str,
    column: &str,
    ids: &[T],
) -> sqlx::Result<Vec<R>> {
    let lock = db.for_update();
    let of = |among: &str| format!("from {table} where {column} {among} order by {column}{lock}");
    look_up(tx, ids, columns, of).await
}

/// Writes what `events` changed.
pub fn save(tx: &mut Tx<'_>, carts: &Carts, events: &[CartEvent]) -> sqlx::Result<()> {
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
    let free: Vec<String> = free.into_iter().cloned().collect();
    on_each(tx, "delete from idempotency_keys where idempotency_key", &free)?;
    on_each(tx, "delete from idempotency_keys where cart_id", &unmade)?;
    let kept = |keys: &BTreeSet<&String>| {
        let key = |name: &&String| Some(((*name).clone(), carts.keys.get(*name)?.clone()));
        keys.iter().filter_map(key).collect::<Vec<_>>()
    };
    insert_keys(tx, &kept(&new_keys), "")?;
    concluded.retain(|key| !new_keys.contains(key));
    let set = " on conflict (idempotency_key) do update set outcome = excluded.outcome, \
               cart_id = excluded.cart_id, available = excluded.available";
    insert_keys(tx, &kept(&concluded), set)?;

    on_each(tx, "delete from intents where reservation_id", &written(&ended))?;
    abandoned.retain(|id| !ended.contains(id));
    let set =
        "update intents set status = 'Abandoned', idempotency_key = null where reservation_id";
    on_each(tx, set, &written(&abandoned))?;
    insert_intents(
        tx,
        &intended.iter().filter_map(|id| carts.intents.get(id)).collect::<Vec<_>>(),
    )?;

    let cart = |id: &CartId| carts.carts.get(id);
    insert_carts(tx, &made.iter().filter_map(cart).collect::<Vec<_>>())?;
    changed.retain(|id| !made.contains(id)); // what was made in this batch is written as it is now
    for status in [Status::Paid, Status::Removed] {
        let ids = changed.iter().filter_map(cart).filter(|cart| cart.status == status);
        set_status(tx, status, &ids.map(|cart| cart.id.0).collect::<Vec<_>>())?;
    }
    let counts = |event: &CartEvent| {
        matches!(event, CartEvent::Confirmed(..) | CartEvent::Removed(_) | CartEvent::Unmade(_))
    };
    if events.iter().any(counts) {
        IdSequence { last_id: carts.last_id, live: carts.live }.save(tx, CARTS.collection);
    }
    Ok(())
}

/// Runs `statement`, which ends with a column, on the rows where that is one of `ids`.
fn on_each<T: Value>(tx: &mut Tx<'_>, statement: &str, ids: &[T]) -> sqlx::Result<()> {
    if !ids.is_empty() {
        let change = of_each(tx, ids, |among| format!("{statement} {among}"))?;
        tx.later(change);
    }
    Ok(())
}

fn set_status(tx: &mut Tx<'_>, status: Status, ids: &[i64]) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let update = of_each(tx, ids, |among| {
        format!("update carts set status = $2, changed_at = $3 where id {among}")
    })?;
    tx.later(update.text(text(status)).number(now()));
    Ok(())
}

/// Writes keys; plainly where they are new, so that one that another replica took meanwhile fails the
/// batch, which then reads it.
fn insert_keys(tx: &mut Tx<'_>, keys: &[(String, Key)], on_conflict: &str) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        idempotency_key: &'a str,
        gifticon_id: GifticonId,
        quantity: i64,
        outcome: &'static str,
        cart_id: Option<CartId>,
        available: Option<i64>,
    }
    let rows = keys.iter().map(|(name, key)| {
        let (outcome, cart_id, available) = match key.outcome {
            Outcome::Pending => (PENDING, None, None),
            Outcome::Added(id) => ("Added", Some(id), None),
            Outcome::Refused(No::NoGifticon) => ("NoGifticon", None, None),
            Outcome::Refused(No::Short { available }) => ("Short", None, Some(available)),
        };
        let (gifticon_id, quantity) = (key.gifticon_id, key.quantity);
        Row { idempotency_key: name, gifticon_id, quantity, outcome, cart_id, available }
    });
    insert_stamped(tx, "idempotency_keys", &rows.collect::<Vec<_>>(), on_conflict)
}

fn insert_intents(tx: &mut Tx<'_>, intents: &[&Intent]) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        reservation_id: ReservationId,
        gifticon_id: GifticonId,
        quantity: i64,
        idempotency_key: Option<&'a str>,
        status: &'static str,
    }
    let rows = intents.iter().map(|intent| Row {
        reservation_id: intent.reservation_id,
        gifticon_id: intent.gifticon_id,
        quantity: intent.quantity,
        idempotency_key: intent.key.as_deref(),
        status: if intent.abandoned { ABANDONED } else { PENDING },
    });
    insert(tx, "intents", &rows.collect::<Vec<_>>(), "")
}

fn insert_carts(tx: &mut Tx<'_>, carts: &[&Cart]) -> sqlx::Result<()> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: CartId,
        gifticon_id: GifticonId,
        quantity: i64,
        reservation_id: ReservationId,
        name: &'a str,
        price: i64,
        status: &'static str,
        added_at: i64,
        changed_at: i64,
    }
    let rows = carts.iter().map(|cart| Row {
        id: cart.id,
        gifticon_id: cart.gifticon_id,
        quantity: cart.quantity,
        reservation_id: cart.reservation_id,
        name: &cart.name,
        price: cart.price,
        status: text(cart.status),
        added_at: cart.added_at,
        changed_at: cart.added_at,
    });
    insert(tx, "carts", &rows.collect::<Vec<_>>(), "")
}

/// A live cart.
pub async fn by_id(db: &Db, id: i64) -> sqlx::Result<Option<Cart>> {
    let of = format!("{} and id = $1", CARTS.from);
    let one = select(db.dialect(), CARTS.columns, &of).bind(id);
    Ok(read(one, db).await?.pop().map(|OneCart(cart)| cart))
}

/// Returns up to `most` intents whose outcome is not known yet, those with the lowest names.
pub async fn pending_intents(db: &Db, most: i64) -> anyhow::Result<Vec<ReservationId>> {
    intents_in(db, PENDING, most).await
}

/// Returns up to `most` intents whose stock is to be released, those with the lowest names.
pub async fn abandoned_intents(db: &Db, most: i64) -> anyhow::Result<Vec<ReservationId>> {
    intents_in(db, ABANDONED, most).await
}

async fn intents_in(db: &Db, status: &str, most: i64) -> anyhow::Result<Vec<ReservationId>> {
    // The table holds what is under way and no more: no index by status is worth its cost.
    let of = "from intents where status = $1 order by reservation_id limit $2 + 0";
    let intents = select(db.dialect(), INTENT, of).bind(status.to_owned()).bind(most);
    let intents = read(intents, db).await?;
    Ok(intents.into_iter().map(|OneIntent(intent)| intent.reservation_id).collect())
}

/// The text of a status in the table, which is also what customers read.
pub fn text(status: Status) -> &'static str {
    match status {
        Status::Added => status::CART_ADDED,
        Status::Paid => status::PAYMENT_APPROVED,
        Status::Removed => status::CART_REMOVED,
    }
}
