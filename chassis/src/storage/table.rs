//! Tables, each written down once: the fields of a row are its columns.

use crate::storage::rows;
use crate::storage::{Read, Reads, Tx};
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
        rows::insert(tx, Self::NAME, Self::COLUMNS, rows, "")
    }

    /// Inserts rows in their order, before the commit. A row whose `key` is there already is overwritten.
    fn upsert(tx: &mut Tx<'_>, key: &str, rows: &[Self]) -> sqlx::Result<()> {
        rows::insert(tx, Self::NAME, Self::COLUMNS, rows, &Self::on_conflict(key, &[]))
    }

    /// Returns what follows an insert, so that a row whose `key` is there already is overwritten, but for the columns `kept`:
    /// those of an index that never change. SQLite writes an index anew for each of its columns that is set, changed or not.
    fn on_conflict(key: &str, kept: &[&str]) -> String {
        let others = Self::COLUMNS.split(", ");
        let others = others.filter(|column| *column != key && !kept.contains(column));
        let set: Vec<String> =
            others.map(|column| format!("{column} = excluded.{column}")).collect();
        format!("on conflict ({key}) do update set {}", set.join(", "))
    }

    /// Adds a read of the rows whose `column` is one of `ids`, in the order of that column and locked.
    fn lock<T: rows::Value>(
        reads: &mut Reads,
        column: &str,
        ids: &[T],
    ) -> sqlx::Result<Read<Self>> {
        let (table, lock) = (Self::NAME, reads.for_update());
        let of =
            |among: &str| format!("from {table} where {column} {among} order by {column}{lock}");
        reads.look_up(ids, Self::COLUMNS, of)
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
///
/// Columns that are the fields of other structs are named by them: a struct has their names in `FIELDS`, in their order, and serde reads and
/// writes it as a part of the row.
///
/// ```
/// #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
/// pub struct Details {
///     name: Option<String>,
///     price: Option<i64>,
/// }
///
/// impl Details {
///     pub const FIELDS: &str = "name, price";
/// }
///
/// chassis::table! {
///     /// A cart, as it is stored.
///     pub struct CartRow in "carts" {
///         id: i64,
///         ..details: Details,
///     }
/// }
/// use chassis::storage::Table;
/// assert_eq!(CartRow::COLUMNS, "id, name, price");
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
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident in $table:literal {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
            $(#[$group_meta:meta])* ..$group:ident: $group_type:ty
            $(, $(#[$more_meta:meta])* ..$more:ident: $more_type:ty)* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, ::serde::Serialize, ::serde::Deserialize)]
        $visibility struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            $(#[$group_meta])* #[serde(flatten)] pub $group: $group_type,
            $($(#[$more_meta])* #[serde(flatten)] pub $more: $more_type,)*
        }

        impl $crate::storage::Table for $name {
            const NAME: &'static str = $table;
            const COLUMNS: &'static str = {
                const PARTS: &[&str] = &[
                    concat!($(stringify!($field), ", ",)*),
                    <$group_type>::FIELDS $(, ", ", <$more_type>::FIELDS)*
                ];
                const BYTES: [u8; $crate::storage::length(PARTS)] = $crate::storage::joined(PARTS);
                match ::std::str::from_utf8(&BYTES) {
                    Ok(columns) => columns,
                    Err(_) => panic!("texts make a text"),
                }
            };
        }
    };
}

/// Returns the number of bytes of texts.
#[doc(hidden)]
pub const fn length(texts: &[&str]) -> usize {
    let (mut length, mut text) = (0, 0);
    while text < texts.len() {
        length += texts[text].len();
        text += 1;
    }
    length
}

/// Returns the bytes of texts, one after the other. They are `N` together.
#[doc(hidden)]
pub const fn joined<const N: usize>(texts: &[&str]) -> [u8; N] {
    let (mut bytes, mut at, mut text) = ([0; N], 0, 0);
    while text < texts.len() {
        let (from, mut byte) = (texts[text].as_bytes(), 0);
        while byte < from.len() {
            bytes[at] = from[byte];
            at += 1;
            byte += 1;
        }
        text += 1;
    }
    bytes
}
