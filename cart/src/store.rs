//! Reads and writes the carts' tables. All SQL of this service is in this file.

use crate::domain::{Attempt, Block, Cart, Carts, Command, IdempotencyKey, Outcome, Status};
use crate::rows::{AttemptRow, BlockRow, CANCELLED, CartRow, KeyRow, PENDING, StoredCart};
use chassis::base::clock::now;
use chassis::listing::{Field, Listing, Scope};
use chassis::mailbox::retention::RetentionRule;
use chassis::storage::rows::{insert_stamped, read, run_on_each, select};
use chassis::storage::{Db, Reads, Schema, Statement, Table, Tx, ids};
use common_events::{CartId, ReservationId};
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::time::Duration;

/// Idempotency keys are kept for a day: who tries again does so within minutes.
pub const IDEMPOTENCY_KEY_RETENTION: RetentionRule =
    RetentionRule { table: KeyRow::NAME, key: "idempotency_key", after: Duration::from_hours(24) };

/// Live carts, as they are listed. An item is a [`StoredCart`].
pub const CARTS: Listing = Listing {
    collection: "carts",
    singular: "cart",
    columns: CartRow::COLUMNS,
    from: "from carts where removed_at is null",
    owner: Some("owner"),
    fields: &[
        Field::unique("id", "id"),
        Field::new("gifticonId", "gifticon_id"),
        Field::new("quantity", "quantity"),
        Field::new("status", "status"),
        Field::new("name", "name"),
        Field::new("price", "price"),
        Field::new("amount", "price * quantity"),
    ],
    search: None,
};

/// Returns the tables.
pub fn schema() -> Schema {
    Schema::new(&[
        (1001, "cart", include_str!("../migrations/1001_cart.sql")),
        (1002, "owners", include_str!("../migrations/1002_owners.sql")),
        (1003, "blocks", include_str!("../migrations/1003_blocks.sql")),
    ])
}

/// What the commands of a batch name.
#[derive(Debug, Default)]
struct Named {
    keys: BTreeSet<String>,
    blocks: BTreeSet<Block>,
    /// Of attempts.
    attempts: BTreeSet<ReservationId>,
    /// Of attempts that may have become carts.
    reservations: BTreeSet<ReservationId>,
    carts: BTreeSet<CartId>,
    /// Some of them may change how many carts there are.
    counts: bool,
}

impl Named {
    fn add(&mut self, command: &Command) {
        match command {
            Command::BeginAttempt(attempt) => self.keys.extend(attempt.key.clone()),
            // A new block has nothing to be read.
            Command::OpenBlock(_) => {}
            Command::Confirm { attempt, .. } => {
                self.counts = true;
                match attempt.block() {
                    // No cart is looked for: a request confirms again only after the writer said that nothing was written. Else
                    // the table would refuse a second cart with its reservation.
                    Some(block) => {
                        self.blocks.insert(block);
                        self.attempts.insert(attempt.reservation_id)
                    }
                    None => self.reservations.insert(attempt.reservation_id),
                };
            }
            Command::CancelAttempt(attempt) => {
                self.counts = true;
                self.blocks.extend(attempt.block());
                self.reservations.insert(attempt.reservation_id);
            }
            Command::CloseBlock(block) => {
                self.blocks.insert(*block);
            }
            Command::ExpireBlock(block) => {
                self.blocks.insert(*block);
                self.reservations.extend(block.reservations());
            }
            Command::Refuse { reservation, .. }
            | Command::ExpireAttempt { reservation }
            | Command::CloseAttempt { reservation } => {
                self.reservations.insert(*reservation);
            }
            Command::Remove { id, .. } | Command::Decline { id } => {
                self.counts = true;
                self.carts.insert(*id);
            }
            Command::MarkPaid { id } => {
                self.carts.insert(*id);
            }
        }
    }
}

/// Reads what the commands name, the rows of each table in order and locked. Carts without a key take one round trip.
///
/// Blocks come first: where two replicas end the same block, the one that waits for its lock then sees the carts that were made.
pub async fn load(tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Carts> {
    let (mut state, mut named) = (Carts::default(), Named::default());
    commands.iter().for_each(|command| named.add(command));

    let reservations = texts(named.attempts.union(&named.reservations));
    let mut reads = Reads::of(tx);
    let blocks = texts(named.blocks.iter().map(|block| block.first()));
    let blocks = BlockRow::lock(&mut reads, "first_reservation_id", &blocks)?;
    let attempts = AttemptRow::lock(&mut reads, "reservation_id", &reservations)?;
    let ids = named.counts.then(|| ids::lock(&mut reads, CARTS.collection));
    let by_id = CartRow::lock(&mut reads, "id", &numbers(&named.carts))?;
    let found = reads.run(tx).await?;
    for row in found.of(&blocks)? {
        let block = Block::of(row.first_reservation_id);
        state.blocks.read(block, block);
    }
    for row in found.of(&attempts)? {
        named.keys.extend(row.idempotency_key.clone()); // what ends an attempt decides its key
        state.attempts.read(row.reservation_id, Attempt::from(row));
    }
    if let Some(ids) = &ids {
        state.ids = ids::read(&found, ids)?;
    }
    let mut carts = found.of(&by_id)?;

    let mut reads = Reads::of(tx);
    let keys: Vec<String> = named.keys.into_iter().collect();
    let keys = KeyRow::lock(&mut reads, "idempotency_key", &keys)?;
    let mut added = BTreeSet::new();
    for row in reads.run(tx).await?.of(&keys)? {
        let key = IdempotencyKey::try_from(row)?;
        if let Outcome::Added(id) = key.outcome
            && !named.carts.contains(&id)
        {
            added.insert(id);
        }
        state.keys.read(key.key.clone(), key);
    }
    // An attempt is deleted in the transaction that makes its cart: where it is there, the cart is not.
    let ended = named.reservations.iter().filter(|id| state.attempts.get(id).is_none());
    let ended = texts(ended);
    let mut reads = Reads::of(tx);
    let added = CartRow::lock(&mut reads, "id", &numbers(&added))?;
    let ended = CartRow::lock(&mut reads, "reservation_id", &ended)?;
    let found = reads.run(tx).await?;
    carts.extend(found.of(&added)?);
    carts.extend(found.of(&ended)?);
    for row in carts {
        let StoredCart(cart) = StoredCart::try_from(row)?;
        state.read_cart(cart);
    }
    Ok(state)
}

/// Writes what became of the state.
pub fn save(tx: &mut Tx<'_>, state: &Carts) -> sqlx::Result<()> {
    save_keys(tx, state)?;
    save_attempts(tx, state)?;
    save_blocks(tx, state)?;
    save_carts(tx, state)
}

fn save_keys(tx: &mut Tx<'_>, state: &Carts) -> sqlx::Result<()> {
    let freed: Vec<&str> = state.keys.removed().map(|key| key.key.as_str()).collect();
    run_on_each(tx, &freed, |among| {
        format!("delete from idempotency_keys where idempotency_key {among}")
    })?;
    let rolled_back: Vec<i64> = state.rolled_back.iter().map(|id| id.0).collect();
    run_on_each(tx, &rolled_back, |among| {
        format!("delete from idempotency_keys where cart_id {among}")
    })?;
    // Plainly: a key that another replica took meanwhile fails the batch, which then reads it.
    let taken: Vec<KeyRow> = state.keys.added().map(KeyRow::from).collect();
    insert_stamped(tx, KeyRow::NAME, KeyRow::COLUMNS, &taken, "")?;
    let concluded: Vec<KeyRow> = state.keys.changed().map(KeyRow::from).collect();
    let set = " on conflict (idempotency_key) do update set outcome = excluded.outcome, \
               cart_id = excluded.cart_id, available = excluded.available";
    insert_stamped(tx, KeyRow::NAME, KeyRow::COLUMNS, &concluded, set)
}

fn save_attempts(tx: &mut Tx<'_>, state: &Carts) -> sqlx::Result<()> {
    let ended = texts(state.attempts.removed().map(|attempt| &attempt.reservation_id));
    run_on_each(tx, &ended, |among| format!("delete from intents where reservation_id {among}"))?;
    let cancelled = texts(state.attempts.changed().map(|attempt| &attempt.reservation_id));
    run_on_each(tx, &cancelled, |among| {
        format!(
            "update intents set status = '{CANCELLED}', idempotency_key = null \
             where reservation_id {among}"
        )
    })?;
    AttemptRow::insert(tx, &state.attempts.added().map(AttemptRow::from).collect::<Vec<_>>())
}

fn save_blocks(tx: &mut Tx<'_>, state: &Carts) -> sqlx::Result<()> {
    let row = |block: &Block| BlockRow { first_reservation_id: block.first() };
    BlockRow::insert(tx, &state.blocks.added().map(row).collect::<Vec<_>>())?;
    let ended = texts(state.blocks.removed().map(|block| block.first()));
    run_on_each(tx, &ended, |among| {
        format!("delete from attempt_blocks where first_reservation_id {among}")
    })
}

fn save_carts(tx: &mut Tx<'_>, state: &Carts) -> sqlx::Result<()> {
    let made: Vec<CartRow> = state.carts.added().map(CartRow::from).collect();
    CartRow::insert(tx, &made)?;
    let changed_to = |status| {
        let carts = state.carts.changed().filter(move |cart| cart.status == status);
        carts.map(|cart| cart.id.0).collect::<Vec<_>>()
    };
    let (paid, removed) = (changed_to(Status::Paid), changed_to(Status::Removed));
    set_status(tx, Status::Paid, "", &paid)?;
    set_status(tx, Status::Removed, ", removed_at = $3", &removed)?;
    ids::save(tx, &state.ids, CARTS.collection);
    Ok(())
}

/// Returns the texts of ids.
fn texts(ids: impl IntoIterator<Item = impl Borrow<ReservationId>>) -> Vec<String> {
    ids.into_iter().map(|id| id.borrow().to_string()).collect()
}

/// Returns the numbers of ids.
fn numbers<'a>(ids: impl IntoIterator<Item = &'a CartId>) -> Vec<i64> {
    ids.into_iter().map(|id| id.0).collect()
}

/// Sets the status of carts, and what else it changes.
fn set_status(tx: &mut Tx<'_>, status: Status, and: &str, ids: &[i64]) -> sqlx::Result<()> {
    run_on_each(tx, ids, |among| {
        let update = format!("update carts set status = $2, changed_at = $3{and} where id {among}");
        Statement::new(update).text(status.text()).number(now())
    })
}

/// Returns the live cart with this id, unless it is not in `scope`.
pub async fn by_id(db: &Db, scope: &Scope, id: i64) -> sqlx::Result<Option<Cart>> {
    Ok(CARTS.find(db, scope, "id", id).await?.map(|StoredCart(cart)| cart))
}

/// Returns up to `most` attempts whose outcome is not known yet, those with the lowest ids.
pub async fn pending_attempts(db: &Db, most: i64) -> anyhow::Result<Vec<ReservationId>> {
    attempts_in(db, PENDING, most).await
}

/// Returns up to `most` attempts whose stock is to be released, those with the lowest ids.
pub async fn cancelled_attempts(db: &Db, most: i64) -> anyhow::Result<Vec<ReservationId>> {
    attempts_in(db, CANCELLED, most).await
}

/// Returns up to `most` blocks, those with the lowest ids.
pub async fn blocks(db: &Db, most: i64) -> anyhow::Result<Vec<Block>> {
    let from = "from attempt_blocks order by first_reservation_id limit $1 + 0";
    let select = select(db.dialect(), BlockRow::COLUMNS, from);
    let rows: Vec<BlockRow> = read(select.bind(most), db).await?;
    Ok(rows.into_iter().map(|row| Block::of(row.first_reservation_id)).collect())
}

async fn attempts_in(db: &Db, status: &str, most: i64) -> anyhow::Result<Vec<ReservationId>> {
    // The table holds what is under way, or what a crash left, and no more: no index by status is worth its cost.
    let from = "from intents where status = $1 order by reservation_id limit $2 + 0";
    let select = select(db.dialect(), AttemptRow::COLUMNS, from);
    let rows: Vec<AttemptRow> = read(select.bind(status.to_owned()).bind(most), db).await?;
    Ok(rows.into_iter().map(|row| row.reservation_id).collect())
}
