//! Pages of a table: `page`, `size`, `sort`, and `after` and `before` for deep pages that cost no more than
//! early ones.

mod order;
mod paging;

pub use order::Field;

use crate::base::problem::Problem;
use crate::http::hal::{Collection, Item, Links, PageInfo};
use crate::http::{BaseUrl, Query};
use crate::storage::{Db, IdSequence, rows};
use paging::{Begin, MAX_SKIPPED, Paging};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
    /// The fields that can be sorted by: all of the item. The first is `id`, which is unique.
    pub fields: &'static [Field],
    /// Whether there is something to search by.
    pub searchable: bool,
}

/// What a page links to.
struct Around {
    /// The keys of the first and the last item, where the order has keys and there are items.
    keys: Option<(i64, i64)>,
    /// Whether items follow.
    more: bool,
    /// Whether items come before a page that is reached by a key and says no number, as one written by hand.
    earlier: bool,
}

impl Listing {
    /// The page that `query` asks for; `read` makes an item and its id of a row.
    pub async fn page<R: DeserializeOwned, T: Serialize>(
        &self,
        db: &Db,
        base: &BaseUrl,
        query: &Query,
        read: impl Fn(R) -> (i64, T),
    ) -> Result<Collection<Item<T>>, Problem> {
        let paging = Paging::read(self.fields, query)?;
        let total = IdSequence::live(db, self.collection).await?;
        paging.bound(self.fields, total)?;
        let (rows, more) = self.rows(db, &paging, total).await?;
        let items: Vec<(i64, T)> = rows.into_iter().map(read).collect();
        let ends = items.first().zip(items.last());
        let keys = ends.and_then(|((_, first), (_, last))| {
            let (field, _) = paging.order.key()?;
            Some((key(first, field)?, key(last, field)?))
        });
        let earlier = paging.number == 0
            && paging.begin != Begin::Number
            && match (keys, paging.begin) {
                (Some((first, _)), _) => {
                    let before = self.beyond::<R>(db, &paging, first, true, 1);
                    !before.await?.is_empty()
                }
                (None, Begin::After(_)) => total > 0,
                (None, _) => false,
            };
        let page = PageInfo {
            size: paging.size,
            total_elements: total,
            total_pages: (total + paging.size - 1) / paging.size,
            number: paging.number,
        };
        let links = self.links(base, &paging, page, &Around { keys, more, earlier });
        let items = items
            .into_iter()
            .map(|(id, fields)| Item::new(base, self.collection, self.singular, id, fields));
        Ok(Collection::new(self.collection, items.collect(), links, page))
    }

    /// The rows of the page, in order, and whether others follow.
    async fn rows<R: DeserializeOwned>(
        &self,
        db: &Db,
        paging: &Paging,
        total: i64,
    ) -> sqlx::Result<(Vec<R>, bool)> {
        // `+ 0` in what follows, or SQLite would prepare the statement anew for every value of the limit.
        let select =
            |rest: &str| rows::select(db.dialect(), self.columns, &format!("{} {rest}", self.from));
        let Paging { size, order, .. } = paging;
        let one_page = usize::try_from(*size).unwrap_or(usize::MAX);
        // One row more than the page has tells whether there is a next.
        let with_more = |mut rows: Vec<R>| {
            let more = rows.len() > one_page;
            rows.truncate(one_page);
            (rows, more)
        };
        match paging.begin {
            Begin::After(key) => {
                Ok(with_more(self.beyond(db, paging, key, false, size + 1).await?))
            }
            Begin::Before(key) => {
                let mut rows: Vec<R> = self.beyond(db, paging, key, true, *size).await?;
                rows.reverse();
                let more = !rows.is_empty(); // the item with the key
                Ok((rows, more))
            }
            Begin::Number => {
                let skip = paging.skip();
                let rest = total.saturating_sub(skip).max(0);
                let wanted = rest.min(size + 1);
                if wanted == 0 {
                    return Ok((vec![], false));
                }
                // The last page is as near to the end as the first is to the beginning. Others are counted
                // from the beginning while that is cheap: what is added meanwhile does not shift them.
                let backwards = rest <= *size || skip > MAX_SKIPPED;
                let skip = if backwards { rest - wanted } else { skip };
                let by = order.sql(backwards);
                let select = select(&format!("order by {by} limit $1 + 0 offset $2 + 0"));
                let mut rows: Vec<R> = rows::read(select.bind(wanted).bind(skip), db).await?;
                if backwards {
                    rows.reverse();
                }
                Ok(with_more(rows))
            }
        }
    }

    /// The next `count` rows after `key`, or before it where `backwards`, the nearest first.
    async fn beyond<R: DeserializeOwned>(
        &self,
        db: &Db,
        paging: &Paging,
        key: i64,
        backwards: bool,
        count: i64,
    ) -> sqlx::Result<Vec<R>> {
        let (beyond, by) = (paging.order.beyond_key(backwards), paging.order.sql(backwards));
        let rest = format!("{} {beyond} order by {by} limit $2 + 0", self.from);
        let select = rows::select(db.dialect(), self.columns, &rest);
        rows::read(select.bind(key).bind(count), db).await
    }

    fn links(&self, base: &BaseUrl, paging: &Paging, page: PageInfo, around: &Around) -> Links {
        let at = |number: i64, begin: Begin| {
            let key = match begin {
                Begin::Number => String::new(),
                Begin::After(key) => format!("&after={key}"),
                Begin::Before(key) => format!("&before={key}"),
            };
            let (collection, size, sort) = (self.collection, page.size, paging.order.query());
            base.url(&format!("/{collection}?page={number}&size={size}{sort}{key}"))
        };
        let number = page.number;
        let last = (page.total_pages - 1).max(0);
        let mut links = Links::default();
        if page.total_pages > 1 {
            links = links.with("first", at(0, Begin::Number));
        }
        if number > 0 || around.earlier {
            let prev = match around.keys {
                Some((first, _)) if number != 1 => at((number - 1).max(0), Begin::Before(first)),
                None if number == 0 => at(last, Begin::Number),
                _ => at((number - 1).min(last), Begin::Number),
            };
            links = links.with("prev", prev);
        }
        links = links.with("self", at(number, paging.begin));
        if around.more {
            let begin = around.keys.map_or(Begin::Number, |(_, last)| Begin::After(last));
            links = links.with("next", at(number + 1, begin));
        }
        if page.total_pages > 1 {
            links = links.with("last", at(last, Begin::Number));
        }
        if self.searchable {
            links = links.with("search", base.url(&format!("/{}/search", self.collection)));
        }
        links
    }
}

/// The value of a unique field of an item, as it is on the wire.
fn key(item: &impl Serialize, field: Field) -> Option<i64> {
    serde_json::to_value(item).ok()?.get(field.name)?.as_i64()
}
