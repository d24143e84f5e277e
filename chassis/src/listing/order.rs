//! The order of a collection: the parameter `sort`.

use crate::base::problem::Problem;
use crate::http::{Query, bad_query};
use std::fmt::Write as _;

/// The most fields in all `sort` parameters of a request.
const MAX_SORT_FIELDS: usize = 32;

/// A field of an item that a collection can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in JSON and in `sort`.
    pub name: &'static str,
    /// Its column, or an SQL expression of columns.
    sql: &'static str,
    /// True if an order by it has a [key](Order::key).
    unique: bool,
}

impl Field {
    /// Returns a field whose values may repeat. To sort by it, the database reads and sorts the whole collection.
    pub const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, unique: false }
    }

    /// Returns a field with unique whole numbers, never null, in an indexed column. Pages are read from the index, each at the
    /// cost of the first.
    pub const fn unique(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, unique: true }
    }
}

/// Returns the names of the unique fields, separated by commas.
pub(super) fn unique_names(fields: &[Field]) -> String {
    let names: Vec<&str> =
        fields.iter().filter(|field| field.unique).map(|field| field.name).collect();
    names.join(", ")
}

/// A total order of the items of a collection. Its last term is a unique field, so no two items tie and paging is stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Fields, each with true for descending. Never empty.
    terms: Vec<(Field, bool)>,
    /// The number of terms that the client asked for.
    asked: usize,
}

impl Order {
    /// Parses `name,desc`, `name` and, as Spring does, `name,price,desc`. A repeated field counts at its first position. `id`,
    /// the first of `fields`, breaks ties in the direction of the last term.
    pub(super) fn read(fields: &[Field], query: &Query) -> Result<Self, Problem> {
        let mut terms: Vec<(Field, bool)> = Vec::new();
        let mut count = 0;
        for sort in query.all("sort") {
            let mut words: Vec<&str> = sort.split(',').filter(|word| !word.is_empty()).collect();
            let descending = match words.last().map(|word| word.to_ascii_lowercase()).as_deref() {
                Some("desc") => words.pop().is_some(),
                Some("asc") => words.pop().is_none(),
                _ => false,
            };
            if words.is_empty() && !sort.is_empty() {
                return Err(unknown_field(fields)); // a direction without a field
            }
            count += words.len();
            if count > MAX_SORT_FIELDS {
                return Err(bad_query(
                    format!("sort takes at most {MAX_SORT_FIELDS} fields in all"),
                    format!("sort에는 필드를 모두 {MAX_SORT_FIELDS}개까지 쓸 수 있습니다"),
                ));
            }
            for word in words {
                let field = fields.iter().find(|field| field.name == word);
                let field = *field.ok_or_else(|| unknown_field(fields))?;
                if !terms.iter().any(|(other, _)| *other == field) {
                    terms.push((field, descending));
                }
            }
        }
        // Nothing is left to order after a unique field.
        if let Some(unique) = terms.iter().position(|(field, _)| field.unique) {
            terms.truncate(unique + 1);
        }
        let asked = terms.len();
        if !terms.last().is_some_and(|(field, _)| field.unique) {
            terms.push((fields[0], terms.last().is_some_and(|(_, descending)| *descending)));
        }
        Ok(Self { terms, asked })
    }

    /// Returns the unique field that alone decides the order, and true for descending. Returns `None` for an order that the
    /// database has to sort for.
    pub(super) fn key(&self) -> Option<(Field, bool)> {
        match self.terms[..] {
            [term] => Some(term),
            _ => None,
        }
    }

    /// Returns the SQL after `order by`, in the opposite order if `backwards`.
    pub(super) fn sql(&self, backwards: bool) -> String {
        let term = |(field, descending): &(Field, bool)| {
            format!("{} {}", field.sql, if *descending == backwards { "asc" } else { "desc" })
        };
        self.terms.iter().map(term).collect::<Vec<_>>().join(", ")
    }

    /// Returns the condition, beginning with `and`, for items after the key `$1`, or before it if `backwards`.
    pub(super) fn beyond_key(&self, backwards: bool) -> String {
        let (field, descending) = self.terms[0];
        format!("and {} {} $1", field.sql, if descending == backwards { ">" } else { "<" })
    }

    /// Returns the client's part of the order for links, such as `&sort=price,desc`.
    pub(super) fn query(&self) -> String {
        let mut query = String::new();
        for (field, descending) in &self.terms[..self.asked] {
            let _ =
                write!(query, "&sort={},{}", field.name, if *descending { "desc" } else { "asc" });
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
        let key = |sort: &[&str]| {
            order(sort).unwrap().key().map(|(field, descending)| (field.name, descending))
        };
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
        assert_eq!(order(&[&words(MAX_SORT_FIELDS)]).unwrap().sql(false), "id asc");
        assert_eq!(order(&[&words(MAX_SORT_FIELDS + 1)]), None);
        assert_eq!(order(&[&words(2_000)]), None);
        assert_eq!(order(&vec!["id"; 2_000]), None);
    }

    #[test]
    fn unknown_fields_are_refused() {
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
