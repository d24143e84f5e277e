//! Tables, each written down once: the fields of a row are its columns.

use crate::storage::rows;
use crate::storage::{Db, Tx};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A row of a table. [`table!`](crate::table) writes this down.
pub trait Table: Serialize + DeserializeOwned + Send {
    /// Name of the table.
    const NAME: &'static str;
    /// Names of the columns, with commas between them.
    const COLUMNS: &'static str;

    /// Inserts rows in their order, before the commit. A row that is there already fails the transaction.
    fn insert(tx: &mut Tx<'_>, rows: &[Self]) -> sqlx::Result<()> {
        rows::insert(tx, Self::NAME, rows, "")
    }

    /// Inserts rows in their order, before the commit. A row whose `key` is there already is overwritten.
    fn upsert(tx: &mut Tx<'_>, key: &str, rows: &[Self]) -> sqlx::Result<()> {
        let others = Self::COLUMNS.split(", ").filter(|column| *column != key);
        let set: Vec<String> =
            others.map(|column| format!("{column} = excluded.{column}")).collect();
        let rest = format!("on conflict ({key}) do update set {}", set.join(", "));
        rows::insert(tx, Self::NAME, rows, &rest)
    }

    /// Returns the rows whose `column` is one of `ids`, in the order of that column and locked.
    fn lock<T: rows::Value + Sync>(
        tx: &mut Tx<'_>,
        db: &Db,
        column: &str,
        ids: &[T],
    ) -> impl Future<Output = sqlx::Result<Vec<Self>>> + Send {
        async move {
            let (table, lock) = (Self::NAME, db.for_update());
            let of = |among: &str| {
                format!("from {table} where {column} {among} order by {column}{lock}")
            };
            rows::look_up(tx, ids, Self::COLUMNS, of).await
        }
    }
}

/// Writes a row and its table down once: a struct whose fields are the columns.
///
/// ```
/// chassis::table! {
///     /// A cart, as it is stored.
///     pub struct CartRow in "carts" {
///         id: i64,
///         name: Option<String>,
///     }
/// }
/// use chassis::storage::Table;
/// assert_eq!((CartRow::NAME, CartRow::COLUMNS), ("carts", "id, name"));
/// ```
#[macro_export]
macro_rules! table {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident in $table:literal {
            $(#[$first_meta:meta])* $first:ident: $first_type:ty
            $(, $(#[$field_meta:meta])* $field:ident: $type:ty)* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, ::serde::Serialize, ::serde::Deserialize)]
        $visibility struct $name {
            $(#[$first_meta])* pub $first: $first_type,
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::storage::Table for $name {
            const NAME: &'static str = $table;
            const COLUMNS: &'static str =
                concat!(stringify!($first) $(, ", ", stringify!($field))*);
        }
    };
}
