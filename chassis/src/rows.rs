//! Statements of many rows: the places of their values, and how many rows go into one.

use crate::db::Tx;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, query};
use std::fmt::Write as _;

/// Rows a statement: few enough that none exceeds SQLite's 32,766 bound values.
const ROWS: usize = 512;

/// The places of the values in a statement, in the order in which they are bound.
///
/// Postgres numbers them. For SQLite a number is a name, which it looks up among all others, for each
/// value once when it prepares the statement and once when sqlx binds it: 256 rows of 7 columns took
/// 11 ms with numbers and 0.5 ms without. (`QueryBuilder<Any>` writes `?` for both, which Postgres refuses.)
#[derive(Debug)]
pub struct Places {
    numbered: bool,
    last: usize,
}

impl Places {
    /// Places in a statement of this transaction.
    pub fn of(tx: &Tx) -> Self {
        Self { numbered: tx.backend_name() != "SQLite", last: 0 }
    }

    fn write_one(&mut self, text: &mut String) {
        self.last += 1;
        if self.numbered {
            let _ = write!(text, "${}", self.last);
        } else {
            text.push('?');
        }
    }

    /// The next one.
    pub fn one(&mut self) -> String {
        self.list(1)
    }

    /// The next `count`, with commas: for `in (…)`.
    pub fn list(&mut self, count: usize) -> String {
        let mut text = String::with_capacity(count * 4);
        for place in 0..count {
            if place > 0 {
                text.push(',');
            }
            self.write_one(&mut text);
        }
        text
    }

    /// Those of `count` rows of `columns` columns: for `values …`.
    pub fn rows(&mut self, count: usize, columns: usize) -> String {
        let mut text = String::with_capacity(count * columns * 4);
        for row in 0..count {
            text.push_str(if row == 0 { "(" } else { ",(" });
            for column in 0..columns {
                if column > 0 {
                    text.push(',');
                }
                self.write_one(&mut text);
            }
            text.push(')');
        }
        text
    }
}

/// `rows` in pieces of a power of two, the largest first, so that statements of many rows have few
/// different lengths, and are prepared once.
pub fn pieces<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let length = 1 << rest.len().min(ROWS).checked_ilog2()?;
        let (piece, others) = rest.split_at(length);
        rest = others;
        Some(piece)
    })
}

/// `ids` in pieces for `in (…)`, the last one filled up to a power of two with its last id, to the same
/// end.
pub fn rounded<T: Clone>(ids: &[T]) -> impl Iterator<Item = Vec<T>> {
    ids.chunks(ROWS).map(|chunk| {
        let mut ids = chunk.to_vec();
        if let Some(last) = ids.last().cloned() {
            ids.resize(ids.len().next_power_of_two(), last);
        }
        ids
    })
}

/// What the ids of [`look_up`] can be.
pub trait Value:
    Clone + Send + for<'q> sqlx::Encode<'q, sqlx::Any> + sqlx::Type<sqlx::Any> + 'static
{
}
impl Value for String {}
impl Value for i64 {}

/// The rows that statements find for `ids`. `select` writes one, given the places for its `in (…)`.
pub async fn look_up<T: Value>(
    tx: &mut Tx,
    ids: &[T],
    select: impl Fn(&str) -> String,
) -> sqlx::Result<Vec<AnyRow>> {
    let mut rows = Vec::new();
    for ids in rounded(ids) {
        let places = Places::of(tx).list(ids.len());
        let mut select = query(AssertSqlSafe(select(&places)));
        for id in ids {
            select = select.bind(id);
        }
        rows.extend(select.fetch_all(&mut **tx).await?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_on_where_they_have_numbers() {
        let mut places = Places { numbered: true, last: 0 };
        assert_eq!(places.one(), "$1");
        assert_eq!(places.list(2), "$2,$3");
        assert_eq!(places.rows(2, 2), "($4,$5),($6,$7)");
        let mut places = Places { numbered: false, last: 0 };
        assert_eq!((places.list(2), places.rows(2, 1)), ("?,?".into(), "(?),(?)".into()));
    }

    #[test]
    fn statements_have_few_lengths() {
        let lengths = |count| pieces(&vec![(); count]).map(<[()]>::len).collect::<Vec<_>>();
        assert!(lengths(0).is_empty());
        assert_eq!(lengths(7), [4, 2, 1]);
        assert_eq!(lengths(1_100), [512, 512, 64, 8, 4]);
        assert_eq!(rounded(&[1, 2, 3]).collect::<Vec<_>>(), [[1, 2, 3, 3]]);
        assert_eq!(rounded(&[0; 700]).map(|ids| ids.len()).collect::<Vec<_>>(), [512, 256]);
        assert_eq!(rounded(&[0; 0]).count(), 0);
    }
}
