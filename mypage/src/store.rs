//! The view's tables. All SQL of this service is in this file.

use crate::projection::{Command, Details, Rebuilt, Tables, Times, View};
use chassis::listing::{Field, Listing, Scope};
use chassis::model::Tracked;
use chassis::storage::rows::{insert, read, read_each, select};
use chassis::storage::{
    Db, Dialect, Read, Reads, Schema, Statement, Table, Tx, create_like, ids, indexes_not_copied,
};
use chassis::table;
use common_events::{CartId, Owner};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::{AssertSqlSafe, Row as _, query, raw_sql};
use std::collections::BTreeSet;

table! {
    /// A view, as it is stored. Times are in milliseconds since 1970.
    #[derive(PartialEq, Eq)]
    pub struct ViewRow in "views" {
        id: i64,
        cart_id: CartId,
        status: String,
        created_at: i64,
        updated_at: i64,
        owner: Owner,
        ..times: Times,
        ..details: Details,
    }
}

impl From<&View> for ViewRow {
    fn from(view: &View) -> Self {
        Self {
            id: view.id,
            cart_id: view.cart_id,
            status: view.status().to_owned(),
            created_at: view.created_at(),
            updated_at: view.updated_at(),
            owner: view.owner.clone(),
            times: Times::from(&view.steps),
            details: view.details.clone(),
        }
    }
}

impl From<ViewRow> for View {
    fn from(row: ViewRow) -> Self {
        let steps = row.times.into();
        Self { id: row.id, cart_id: row.cart_id, owner: row.owner, details: row.details, steps }
    }
}

/// Views, as they are listed.
pub const MYPAGES: Listing = Listing {
    collection: "mypages",
    singular: "mypage",
    columns: ViewRow::COLUMNS,
    from: "from views where true",
    owner: Some("owner"),
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
    search: Some(("findByCartId", "cartId")),
};

/// Returns the tables.
pub fn schema() -> Schema {
    Schema::new(&[
        (1001, "mypage", include_str!("../migrations/1001_mypage.sql")),
        (1002, "changes", include_str!("../migrations/1002_changes.sql")),
        (1003, "owners", include_str!("../migrations/1003_owners.sql")),
    ])
}

/// The changes that are kept. At 20 batches a second, as under load, they are those of three minutes.
const CHANGES_KEPT: i64 = 4_096;

/// The new table of a rebuild.
const REBUILT: &str = "views_rebuilt";

/// Reads the views that the commands are about, in order and locked.
pub async fn load(tx: &mut Tx<'_>, commands: &[&Command]) -> anyhow::Result<Tables> {
    let cart = |command: &&Command| match command {
        Command::Told(fact) | Command::Replayed { fact, .. } => Some(fact.cart_id.0),
        Command::BeginRebuild { .. } | Command::FinishRebuild { .. } => None,
    };
    let carts: BTreeSet<i64> = commands.iter().filter_map(cart).collect();
    let carts = Vec::from_iter(carts);
    let mut reads = Reads::of(tx);
    let ids = ids::lock(&mut reads, MYPAGES.collection);
    let shown = lock_views(&mut reads, ViewRow::NAME, &carts)?;
    let token: Read<RebuildRow> = reads.select("token", Statement::new("from rebuild"));
    let found = reads.run(tx).await?;
    let rebuilt = match found.of(&token)?.pop() {
        Some(RebuildRow { token }) => {
            let mut reads = Reads::of(tx);
            let rows = lock_views(&mut reads, REBUILT, &carts)?;
            let views = views(reads.run(tx).await?.of(&rows)?);
            Some(Rebuilt { token, is_new: false, views })
        }
        None => None,
    };
    let (shown, ids) = (views(found.of(&shown)?), ids::read(&found, &ids)?);
    Ok(Tables { shown, ids, rebuilt, ..Tables::default() })
}

/// A row of the table `rebuild`.
#[derive(Debug, Deserialize)]
struct RebuildRow {
    token: String,
}

fn lock_views(reads: &mut Reads, table: &str, carts: &[i64]) -> sqlx::Result<Read<ViewRow>> {
    let lock = reads.for_update();
    let rest = |among: &str| format!("from {table} where cart_id {among} order by cart_id{lock}");
    reads.look_up(carts, ViewRow::COLUMNS, rest)
}

fn views(rows: Vec<ViewRow>) -> Tracked<CartId, View> {
    let mut views = Tracked::default();
    for row in rows {
        views.read(row.cart_id, row.into());
    }
    views
}

/// Writes what was added and changed, and begins and finishes a rebuild.
pub async fn save(tx: &mut Tx<'_>, tables: &Tables) -> anyhow::Result<()> {
    if let Some(Rebuilt { token, is_new: true, .. }) = &tables.rebuilt {
        begin_rebuild(tx, token).await?;
    }
    save_views(tx, ViewRow::NAME, &tables.shown, &tables.owned)?;
    if let Some(rebuilt) = &tables.rebuilt {
        save_views(tx, REBUILT, &rebuilt.views, &tables.owned)?;
    }
    ids::save(tx, &tables.ids, MYPAGES.collection);
    save_change(tx, tables)?;
    if tables.finished {
        tx.flush().await?; // into the tables that change places now
        finish_rebuild(tx).await?;
    }
    Ok(())
}

/// Writes which views changed.
fn save_change(tx: &mut Tx<'_>, tables: &Tables) -> sqlx::Result<()> {
    const NEXT: &str = "insert into changes (seq, carts) \
        select coalesce(max(seq), 0) + 1, cast($1 as text) from changes";
    const NEXT_OF_ALL: &str =
        "insert into changes (seq) select coalesce(max(seq), 0) + 1 from changes";
    let changed: Vec<_> = tables.shown.added().chain(tables.shown.changed()).collect();
    if tables.finished {
        tx.later(Statement::new(NEXT_OF_ALL));
    } else if !changed.is_empty() {
        let carts: Vec<CartId> = changed.iter().map(|view| view.cart_id).collect();
        let carts =
            serde_json::to_string(&carts).map_err(|error| sqlx::Error::Encode(error.into()))?;
        tx.later(Statement::new(NEXT).text(carts));
        // Now and then is enough: ids count up, so it is one batch in a few.
        if tables.shown.added().any(|view| view.id % 64 == 0) {
            tx.later(
                Statement::new(
                    "delete from changes where seq <= (select max(seq) from changes) - $1",
                )
                .number(CHANGES_KEPT),
            );
        }
    }
    Ok(())
}

/// Makes the new table like the old one, as the migrations left it.
async fn begin_rebuild(tx: &mut Tx<'_>, token: &str) -> anyhow::Result<()> {
    query("drop table if exists views_rebuilt").execute(&mut **tx).await?;
    create_like(tx, REBUILT, ViewRow::NAME).await?;
    query("delete from rebuild").execute(&mut **tx).await?;
    query("insert into rebuild (token) values ($1)").bind(token).execute(&mut **tx).await?;
    Ok(())
}

/// Replaces the old table by the new one.
///
/// A step that only the old table has came from an event that the topic no longer holds. Its view stays as it was, and takes
/// nothing from the topic. So does that of an owner whom only the old table has.
async fn finish_rebuild(tx: &mut Tx<'_>) -> anyhow::Result<()> {
    if tx.dialect() == Dialect::Postgres {
        // It may take minutes, and nothing else of this service writes meanwhile anyway.
        query("set local statement_timeout = 0").execute(&mut **tx).await?;
        query("set local enable_seqscan = on").execute(&mut **tx).await?; // it does read all
    }
    let lost = Times::FIELDS.split(", ");
    let lost = lost.map(|column| format!("o.{column} is not null and n.{column} is null"));
    let lost = lost.chain(["o.owner <> n.owner and n.owner = 'guest'".to_owned()]);
    let lost = lost.collect::<Vec<_>>().join(" or ");
    let indexes = indexes_not_copied(tx, ViewRow::NAME).await?.join(";\n");
    let swap = format!(
        "delete from views_rebuilt where cart_id in (
            select o.cart_id from views o join views_rebuilt n on n.cart_id = o.cart_id
            where {lost});
        insert into views_rebuilt select * from views o where not exists (
            select 1 from views_rebuilt n where n.cart_id = o.cart_id);
        drop table views;
        alter table views_rebuilt rename to views;
        {indexes};
        delete from rebuild;
        update counters set live = (select count(*) from views),
            owned = (select count(*) from views where owner <> '{guest}')
        where name = 'mypages'",
        guest = Owner::GUEST,
    );
    raw_sql(AssertSqlSafe(swap)).execute(&mut **tx).await?;
    Ok(())
}

/// Writes views. The owner of one that was there is written only if its cart is among `owned`.
fn save_views(
    tx: &mut Tx<'_>,
    table: &str,
    views: &Tracked<CartId, View>,
    owned: &BTreeSet<CartId>,
) -> sqlx::Result<()> {
    let rows = views.added().chain(views.changed()).map(ViewRow::from);
    let (owned, rows): (Vec<_>, Vec<_>) = rows.partition(|row| owned.contains(&row.cart_id));
    for (rows, kept) in [(rows, &["id", "owner"][..]), (owned, &["id"])] {
        let on_conflict = ViewRow::on_conflict("cart_id", kept);
        insert(tx, table, ViewRow::COLUMNS, &rows, &on_conflict)?;
    }
    Ok(())
}

/// One batch that changed views.
#[derive(Clone, Debug, Deserialize)]
pub struct Change {
    pub seq: i64,
    carts: Option<String>,
}

impl Change {
    /// Returns the carts whose views changed, or `None` if any may have.
    pub fn carts(&self) -> Option<Vec<i64>> {
        serde_json::from_str(self.carts.as_deref()?).ok()
    }
}

/// Returns the number of the last change, 0 if there was none.
pub async fn last_change(db: &Db) -> sqlx::Result<i64> {
    db.fetch_one(query("select coalesce(max(seq), 0) from changes")).await?.try_get(0)
}

/// Returns the changes after `seq` in order: `limit`, or all that there are if they are fewer.
pub async fn changes_after(db: &Db, seq: i64, limit: i64) -> sqlx::Result<Vec<Change>> {
    let rest = "from changes where seq > $1 order by seq limit $2 + 0";
    read(select(db.dialect(), "seq, carts", rest).bind(seq).bind(limit), db).await
}

/// Returns the newest `count` views in `scope`, the oldest of them first.
pub async fn newest(db: &Db, scope: &Scope, count: i64) -> sqlx::Result<Vec<View>> {
    let rows: Vec<ViewRow> = MYPAGES.newest(db, scope, count).await?;
    Ok(rows.into_iter().map(View::from).collect())
}

/// Returns the views of these carts that are in `scope`, in the order of their ids.
pub async fn of_carts(db: &Db, scope: &Scope, carts: &[i64]) -> sqlx::Result<Vec<View>> {
    let rest = |among: &str| format!("{} and cart_id {among} order by id", MYPAGES.from);
    let rows: Vec<ViewRow> = read_each(db, carts, ViewRow::COLUMNS, rest).await?;
    // Not in SQL: the database might read all that the owner has, to find those of these carts among them.
    let own = rows.into_iter().filter(|row| scope.includes(&row.owner));
    Ok(own.map(View::from).collect())
}

/// Returns the view with this id, unless it is not in `scope`. `R` has the columns that it needs as its fields.
pub async fn by_id<R: DeserializeOwned>(
    db: &Db,
    scope: &Scope,
    id: i64,
) -> sqlx::Result<Option<R>> {
    MYPAGES.find(db, scope, "id", id).await
}

/// Returns the view of a cart, unless it is not in `scope`. `R` has the columns that it needs as its fields.
pub async fn by_cart<R: DeserializeOwned>(
    db: &Db,
    scope: &Scope,
    cart_id: i64,
) -> sqlx::Result<Option<R>> {
    MYPAGES.find(db, scope, "cart_id", cart_id).await
}
