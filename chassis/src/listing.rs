//! Pages of a table: `page`, `size`, `sort`, and `after` for deep pages that cost no more than early
//! ones.

use crate::counter::Counter;
use crate::db::Db;
use crate::hal::{Collection, Item, Links, PageInfo};
use crate::http::{Base, Query, bad_query};
use crate::problem::Problem;
use crate::rows;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;

/// Items a page where the client does not say.
const SIZE: i64 = 20;
/// The most items a page.
const MOST: i64 = 1_000;
/// The last page number that is understood; far beyond any that is there.
const LAST: i64 = 1_000_000_000;

/// A table that is shown in pages.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// The collection: path, name under `_embedded`, and name of the counter.
    pub collection: &'static str,
    /// The link of one item.
    pub singular: &'static str,
    /// The columns of what is shown, with commas between them.
    pub columns: &'static str,
    /// `from … where …` of what is shown.
    pub from: &'static str,
    /// Fields that can be sorted by, and their columns.
    pub fields: &'static [(&'static str, &'static str)],
    /// Whether there is something to search by.
    pub searchable: bool,
}

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Paging {
    number: i64,
    size: i64,
    after: Option<i64>,
    /// Column, and whether it falls.
    order: Vec<(&'static str, bool)>,
    /// The client's own words for the order, for the links.
    sort: Vec<String>,
}

impl Listing {
    /// The page that `query` asks for; `read` makes an item and its id of a row.
    pub async fn page<R: DeserializeOwned, T: Serialize>(
        &self,
        db: &Db,
        base: &Base,
        query: &Query,
        read: impl Fn(R) -> (i64, T),
    ) -> Result<Collection<Item<T>>, Problem> {
        let paging = self.paging(query)?;
        let total = Counter::live(db, self.collection).await?;
        let mut rows = self.rows(db, &paging, total).await?;
        let more = rows.len() > usize::try_from(paging.size).unwrap_or(usize::MAX);
        rows.truncate(usize::try_from(paging.size).unwrap_or(usize::MAX));
        let items: Vec<(i64, T)> = rows.into_iter().map(read).collect();
        let last_id = items.last().map(|(id, _)| *id);
        let items = items
            .into_iter()
            .map(|(id, fields)| Item::new(base, self.collection, self.singular, id, fields));
        let page = PageInfo {
            size: paging.size,
            total_elements: total,
            total_pages: (total + paging.size - 1) / paging.size,
            number: paging.number,
        };
        let items = items.collect();
        let links = self.links(base, &paging, page, last_id.filter(|_| more));
        Ok(Collection::new(self.collection, items, links, page))
    }

    /// One row more than the page has, which tells whether there is a next.
    async fn rows<R: DeserializeOwned>(
        &self,
        db: &Db,
        paging: &Paging,
        total: i64,
    ) -> sqlx::Result<Vec<R>> {
        // `+ 0` in what follows, or SQLite would prepare the statement anew for every value of the limit.
        let select =
            |rest: &str| rows::select(db.dialect(), self.columns, &format!("{} {rest}", self.from));
        let mut order = String::new();
        for (column, falls) in &paging.order {
            let _ = write!(order, "{column} {}, ", if *falls { "desc" } else { "asc" });
        }
        let skip = paging.number.saturating_mul(paging.size);
        if let Some(after) = paging.after {
            let select = select("and id > $1 order by id limit $2 + 0").bind(after);
            return rows::read(select.bind(paging.size + 1), db).await;
        }
        let rest = total - skip;
        if paging.in_usual_order() && skip > 0 && (1..=paging.size).contains(&rest) {
            // The last page is as near to the end as the first is to the beginning.
            let select = select("order by id desc limit $1 + 0").bind(rest);
            let mut rows: Vec<R> = rows::read(select, db).await?;
            rows.reverse();
            return Ok(rows);
        }
        let select = select(&format!("order by {order}id limit $1 + 0 offset $2 + 0"));
        rows::read(select.bind(paging.size + 1).bind(skip), db).await
    }

    fn links(&self, base: &Base, paging: &Paging, page: PageInfo, next: Option<i64>) -> Links {
        let at = |number: i64, after: Option<i64>| {
            let mut url = format!("/{}?page={number}&size={}", self.collection, page.size);
            for sort in &paging.sort {
                let _ = write!(url, "&sort={sort}");
            }
            if let Some(after) = after {
                let _ = write!(url, "&after={after}");
            }
            base.url(&url)
        };
        let number = page.number;
        let mut links = Links::default();
        if page.total_pages > 1 {
            links = links.with("first", at(0, None));
        }
        if number > 0 {
            links = links.with("prev", at((number - 1).min((page.total_pages - 1).max(0)), None));
        }
        links = links.with("self", at(number, paging.after));
        if let Some(last_id) = next {
            links = links.with("next", at(number + 1, paging.in_usual_order().then_some(last_id)));
        }
        if page.total_pages > 1 {
            links = links.with("last", at(page.total_pages - 1, None));
        }
        if self.searchable {
            links = links.with("search", base.url(&format!("/{}/search", self.collection)));
        }
        links
    }

    fn paging(&self, query: &Query) -> Result<Paging, Problem> {
        let number = |name: &'static str, usual: i64, least: i64, most: i64| {
            let Some(text) = query.get(&[name]) else { return Ok(usual) };
            let number = common_events::number::parse(text);
            number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
                bad_query(
                    format!("{name} is a whole number from {least} to {most}"),
                    format!("{name} 값은 {least}에서 {most} 사이의 정수여야 합니다"),
                )
            })
        };
        let page = number("page", 0, 0, LAST)?;
        let size = number("size", SIZE, 1, MOST)?;
        let after = match query.get(&["after"]) {
            Some(_) => Some(number("after", 0, 0, i64::MAX)?),
            None => None,
        };
        let sort: Vec<String> = query
            .0
            .iter()
            .filter(|(name, _)| name == "sort")
            .map(|(_, sort)| sort.clone())
            .collect();
        let order = self.order(&sort)?;
        let paging = Paging { number: page, size, after, order, sort };
        if after.is_some() && !paging.in_usual_order() {
            return Err(bad_query(
                "after goes with the usual order only: leave sort out".into(),
                "after는 기본 정렬에서만 쓸 수 있습니다. sort를 빼 주세요".into(),
            ));
        }
        Ok(paging)
    }

    /// Reads `name,desc`, `name` and, as Spring does, `name,price,desc`.
    fn order(&self, sort: &[String]) -> Result<Vec<(&'static str, bool)>, Problem> {
        let mut order = Vec::new();
        for words in sort {
            let mut words: Vec<&str> = words.split(',').filter(|word| !word.is_empty()).collect();
            let falls = match words.last().map(|word| word.to_ascii_lowercase()).as_deref() {
                Some("desc") => words.pop().is_some(),
                Some("asc") => words.pop().is_none(),
                _ => false,
            };
            for word in words {
                let column = self.fields.iter().find(|(field, _)| *field == word);
                let (_, column) = column.ok_or_else(|| self.unknown_field())?;
                order.push((*column, falls));
            }
        }
        Ok(order)
    }

    fn unknown_field(&self) -> Problem {
        let fields: Vec<&str> = self.fields.iter().map(|(field, _)| *field).collect();
        let fields = fields.join(", ");
        bad_query(
            format!("sort takes one of {fields}, then ,asc or ,desc"),
            format!("sort에는 {fields} 중 하나와 ,asc 또는 ,desc 를 쓸 수 있습니다"),
        )
    }
}

impl Paging {
    fn in_usual_order(&self) -> bool {
        self.order.is_empty() || self.order == [("id", false)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARTS: Listing = Listing {
        collection: "carts",
        singular: "cart",
        columns: "",
        from: "",
        fields: &[("id", "id"), ("gifticonId", "gifticon_id")],
        searchable: false,
    };

    fn paging(pairs: &[(&str, &str)]) -> Option<Paging> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        CARTS.paging(&Query(pairs)).ok()
    }

    #[test]
    fn what_is_not_said_is_usual() {
        let usual = paging(&[]).unwrap();
        assert_eq!((usual.number, usual.size, usual.after), (0, 20, None));
        assert!(usual.in_usual_order());
    }

    #[test]
    fn pages_sizes_and_fields_out_of_bounds_are_refused() {
        for (name, value) in [
            ("page", "-1"),
            ("page", "x"),
            ("page", "1.5"),
            ("page", "99999999999999999999"),
            ("size", "0"),
            ("size", "1001"),
            ("size", ""),
            ("after", "x"),
            ("sort", "price"),
            ("sort", "id;drop table carts"),
            ("sort", "gifticon_id"),
        ] {
            assert_eq!(paging(&[(name, value)]), None, "{name}={value} was taken");
        }
        assert_eq!(paging(&[("after", "5"), ("sort", "gifticonId")]), None);
    }

    #[test]
    fn sort_repeats_and_takes_a_direction() {
        let order = |pairs: &[(&str, &str)]| paging(pairs).unwrap().order;
        assert_eq!(
            order(&[("sort", "gifticonId,desc"), ("sort", "id")]),
            [("gifticon_id", true), ("id", false)]
        );
        assert_eq!(order(&[("sort", "id,gifticonId,DESC")]), [("id", true), ("gifticon_id", true)]);
        assert_eq!(order(&[("sort", "")]), []);
        assert!(paging(&[("after", "5"), ("sort", "id,asc")]).is_some());
    }
}
