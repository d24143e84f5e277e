//! The order of a collection: what `sort` may say.

use crate::base::problem::Problem;
use crate::http::{Query, bad_query};
use std::fmt::Write as _;

/// The most words of all `sort` parameters of a request, directions not counted.
const MAX_WORDS: usize = 32;

/// A field of an item that a collection can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its column, or an expression of columns.
    sql: &'static str,
    /// Whether an order by it is a [key](Order::key).
    unique: bool,
}

impl Field {
    /// A field that rows may share. To sort a collection by it, the database reads and sorts all of it.
    pub const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, unique: false }
    }

    /// A column of whole numbers, never null and never twice, with an index: pages are read from the
    /// index, each at the cost of the first.
    pub const fn unique(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, unique: true }
    }
}

/// The names of those of `fields` that are free of sorting.
pub(super) fn unique_names(fields: &[Field]) -> String {
    let names: Vec<&str> =
        fields.iter().filter(|field| field.unique).map(|field| field.name).collect();
    names.join(", ")
}

/// A total order of the items of a collection: its last term is a unique field, so no two items tie and
/// paging is stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Fields, and whether they fall. Never empty.
    terms: Vec<(Field, bool)>,
    /// How many of them the client asked for.
    asked: usize,
}

impl Order {
    /// Reads `name,desc`, `name` and, as Spring does, `name,price,desc`. A field that comes again counts
    /// where it came first. `id`, the first of `fields`, breaks ties, in the direction of the last term.
    pub(super) fn read(fields: &[Field], query: &Query) -> Result<Self, Problem> {
        let mut terms: Vec<(Field, bool)> = Vec::new();
        let mut count = 0;
        for sort in query.all("sort") {
            let mut words: Vec<&str> = sort.split(',').filter(|word| !word.is_empty()).collect();
            let falls = match words.last().map(|word| word.to_ascii_lowercase()).as_deref() {
                Some("desc") => words.pop().is_some(),
                Some("asc") => words.pop().is_none(),
                _ => false,
            };
            if words.is_empty() && !sort.is_empty() {
                return Err(unknown_field(fields)); // a direction of nothing
            }
            count += words.len();
            if count > MAX_WORDS {
                return Err(bad_query(
                    format!("sort takes at most {MAX_WORDS} fields in all"),
                    format!("sort에는 필드를 모두 {MAX_WORDS}개까지 쓸 수 있습니다"),
                ));
            }
            for word in words {
                let field = fields.iter().find(|field| field.name == word);
                let field = *field.ok_or_else(|| unknown_field(fields))?;
                if !terms.iter().any(|(other, _)| *other == field) {
                    terms.push((field, falls));
                }
            }
        }
        // After a unique field nothing is left to order.
        if let Some(unique) = terms.iter().position(|(field, _)| field.unique) {
            terms.truncate(unique + 1);
        }
        let asked = terms.len();
        if !terms.last().is_some_and(|(field, _)| field.unique) {
            terms.push((fields[0], terms.last().is_some_and(|(_, falls)| *falls)));
        }
        Ok(Self { terms, asked })
    }

    /// The unique field that decides alone, and whether it falls. `None` for an order that the database
    /// has to sort for.
    pub(super) fn key(&self) -> Option<(Field, bool)> {
        match self.terms[..] {
            [term] => Some(term),
            _ => None,
        }
    }

    /// What follows `order by`, the other way round where `backwards`.
    pub(super) fn sql(&self, backwards: bool) -> String {
        let term = |(field, falls): &(Field, bool)| {
            format!("{} {}", field.sql, if *falls == backwards { "asc" } else { "desc" })
        };
        self.terms.iter().map(term).collect::<Vec<_>>().join(", ")
    }

    /// The condition for what comes after the key `$1`, or before it where `backwards`. Begins with `and`.
    pub(super) fn beyond_key(&self, backwards: bool) -> String {
        let (field, falls) = self.terms[0];
        format!("and {} {} $1", field.sql, if falls == backwards { ">" } else { "<" })
    }

    /// The client's own part of the order, for links: `&sort=price,desc`, or nothing.
    pub(super) fn query(&self) -> String {
        let mut query = String::new();
        for (field, falls) in &self.terms[..self.asked] {
            let _ = write!(query, "&sort={},{}", field.name, if *falls { "desc" } else { "asc" });
        }
        query
    }
}

fn unknown_field(fields: &[Field]) -> Problem {
    let fields: Vec<&str> = fields.iter().map(|field| field.name).collect();
    let fields = fields.join(", ");
    bad_query(
        format!("sort takes one of {fields}, then ,asc or ,desc"),
        format!("sort에는 {fields} 중 하나와 ,asc 또는 ,desc 를 쓸 수 있습니다"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field::unique("id", "id"),
        Field::unique("gifticonId", "gifticon_id"),
        Field::new("name", "name"),
        Field::new("amount", "price * quantity"),
    ];

    fn order(sort: &[&str]) -> Option<Order> {
        let pairs = sort.iter().map(|sort| ("sort".to_owned(), (*sort).to_owned())).collect();
        Order::read(FIELDS, &Query(pairs)).ok()
    }

    #[test]
    fn sort_repeats_and_takes_a_direction_and_ties_are_broken_by_id() {
        for (sort, sql, query) in [
            (&[][..], "id asc", ""),
            (&[""], "id asc", ""),
            (&["id,asc"], "id asc", "&sort=id,asc"),
            (&["id,DESC"], "id desc", "&sort=id,desc"),
            (&["name"], "name asc, id asc", "&sort=name,asc"),
            (
                &["name,amount,desc"],
                "name desc, price * quantity desc, id desc",
                "&sort=name,desc&sort=amount,desc",
            ),
            (&["name,desc", "id"], "name desc, id asc", "&sort=name,desc&sort=id,asc"),
            (&["name", "name,desc", "name"], "name asc, id asc", "&sort=name,asc"),
            (&["gifticonId,name"], "gifticon_id asc", "&sort=gifticonId,asc"),
        ] {
            let order = order(sort).unwrap_or_else(|| panic!("{sort:?} was refused"));
            assert_eq!((order.sql(false).as_str(), order.query().as_str()), (sql, query));
        }
        assert_eq!(order(&["name,desc", "id"]).unwrap().sql(true), "name asc, id desc");
    }

    #[test]
    fn an_order_by_a_unique_field_has_a_key() {
        let key =
            |sort: &[&str]| order(sort).unwrap().key().map(|(field, falls)| (field.name, falls));
        assert_eq!(key(&[]), Some(("id", false)));
        assert_eq!(key(&["gifticonId,desc", "name"]), Some(("gifticonId", true)));
        assert_eq!(key(&["name"]), None);
        assert_eq!(order(&["id,desc"]).unwrap().beyond_key(false), "and id < $1");
        assert_eq!(order(&["id,desc"]).unwrap().beyond_key(true), "and id > $1");
        assert_eq!(order(&[]).unwrap().beyond_key(false), "and id > $1");
    }

    #[test]
    fn a_sort_of_thousands_of_words_is_refused_and_a_few_repeats_count_once() {
        let words = |count: usize| vec!["id"; count].join(",");
        assert_eq!(order(&[&words(MAX_WORDS)]).unwrap().sql(false), "id asc");
        assert_eq!(order(&[&words(MAX_WORDS + 1)]), None);
        assert_eq!(order(&[&words(2_000)]), None);
        assert_eq!(order(&vec!["id"; 2_000]), None);
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for sort in [
            "price",
            "id;drop table carts",
            "gifticon_id",
            "id, name",
            "asc,name",
            "ID",
            "desc",
            "asc",
            ",desc",
            ",",
        ] {
            assert_eq!(order(&[sort]), None, "{sort} was taken");
        }
    }
}
