//! Pages of a table by `page`, `size` and `sort`, and by `after` and `before`, with which deep pages cost no more than early
//! ones.

mod order;
mod paging;

pub use order::Field;
pub(crate) use paging::{DEFAULT_PAGE_SIZE, MAX_PAGE_NUMBER, MAX_PAGE_SIZE};

use crate::base::problem::Problem;
use crate::http::hal::{Collection, Index, Item, Links, PageInfo};
use crate::http::{BaseUrl, Query};
use crate::storage::{Db, ids, rows};
use paging::{MAX_SKIPPED, PageStart, Paging};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A collection that is shown in pages.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// The name of the collection: of its path, of its member of `_embedded`, and of its [ids].
    pub collection: &'static str,
    /// The name of the link to an item.
    pub singular: &'static str,
    /// The columns of an item, separated by commas.
    pub columns: &'static str,
    /// The `from … where …` that selects the items.
    pub from: &'static str,
    /// The fields of an item, all of which can be sorted by. The first is `id`, which is unique.
    pub fields: &'static [Field],
    /// The search of the collection, if it has one: its name and its parameter.
    pub search: Option<(&'static str, &'static str)>,
}

/// What the links of a page depend on.
struct Neighbors {
    /// The keys of the first and the last item, if the order has keys and there are items.
    keys: Option<(i64, i64)>,
    /// True if items follow.
    more: bool,
    /// True if items precede a page that is reached by a key without its number, as in a URL written by hand.
    earlier: bool,
}

impl Listing {
    /// Returns the root of a service with this collection.
    pub fn root(&self, base: &BaseUrl) -> Index {
        let url = base.url(&format!("/{}{{?page,size,sort,after,before}}", self.collection));
        Index::new(Links::default().templated(self.collection, url))
    }

    /// Returns the index of the searches.
    pub fn searches(&self, base: &BaseUrl) -> Index {
        let (mut links, index) =
            (Links::default(), base.url(&format!("/{}/search", self.collection)));
        if let Some((search, parameter)) = self.search {
            links = links.templated(search, format!("{index}/{search}{{?{parameter}}}"));
        }
        Index::new(links.with("self", index))
    }

    /// Returns an item.
    pub fn item<T>(&self, base: &BaseUrl, id: i64, fields: T) -> Item<T> {
        Item::new(base, self.collection, self.singular, id, fields)
    }

    /// Returns the page that `query` asks for. `read` makes the id and the item of a row.
    pub async fn page<R: DeserializeOwned, T: Serialize>(
        &self,
        db: &Db,
        base: &BaseUrl,
        query: &Query,
        read: impl Fn(R) -> (i64, T),
    ) -> Result<Collection<Item<T>>, Problem> {
        let paging = Paging::read(self.fields, query)?;
        let total = ids::count_live(db, self.collection).await?;
        paging.check_cost(self.fields, total)?;
        let (rows, more) = self.rows(db, &paging, total).await?;
        let items: Vec<(i64, T)> = rows.into_iter().map(read).collect();
        let ends = items.first().zip(items.last());
        let keys = ends.and_then(|((_, first), (_, last))| {
            let (field, _) = paging.order.key()?;
            Some((key(first, field)?, key(last, field)?))
        });
        let earlier = paging.number == 0
            && paging.start != PageStart::Number
            && match (keys, paging.start) {
                (Some((first, _)), _) => {
                    let before = self.rows_beyond::<R>(db, &paging, first, true, 1);
                    !before.await?.is_empty()
                }
                (None, PageStart::After(_)) => total > 0,
                (None, _) => false,
            };
        let page = PageInfo {
            size: paging.size,
            total_elements: total,
            total_pages: (total + paging.size - 1) / paging.size,
            number: paging.number,
        };
        let links = self.links(base, &paging, page, &Neighbors { keys, more, earlier });
        let items = items.into_iter().map(|(id, fields)| self.item(base, id, fields));
        Ok(Collection::new(self.collection, items.collect(), links, page))
    }

    /// Returns the rows of the page in order, and whether others follow.
    async fn rows<R: DeserializeOwned>(
        &self,
        db: &Db,
        paging: &Paging,
        total: i64,
    ) -> sqlx::Result<(Vec<R>, bool)> {
        // Without `+ 0`, SQLite would prepare the statements below again for each value of the limit.
        let select =
            |rest: &str| rows::select(db.dialect(), self.columns, &format!("{} {rest}", self.from));
        let Paging { size, order, .. } = paging;
        let one_page = usize::try_from(*size).unwrap_or(usize::MAX);
        // One row more than the page needs shows whether there is a next page.
        let with_more = |mut rows: Vec<R>| {
            let more = rows.len() > one_page;
            rows.truncate(one_page);
            (rows, more)
        };
        match paging.start {
            PageStart::After(key) => {
                Ok(with_more(self.rows_beyond(db, paging, key, false, size + 1).await?))
            }
            PageStart::Before(key) => {
                let mut rows: Vec<R> = self.rows_beyond(db, paging, key, true, *size).await?;
                rows.reverse();
                let more = !rows.is_empty(); // the item with the key follows
                Ok((rows, more))
            }
            PageStart::Number => {
                let skip = paging.skip();
                let rest = total.saturating_sub(skip).max(0);
                let wanted = rest.min(size + 1);
                if wanted == 0 {
                    return Ok((vec![], false));
                }
                // The last page is counted from the end. Others are counted from the beginning while that is cheap:
                // items that are added meanwhile do not shift them.
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

    /// Returns the next `count` rows after `key`, or before it if `backwards`, the nearest first.
    async fn rows_beyond<R: DeserializeOwned>(
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

    /// Returns the links of a page.
    fn links(
        &self,
        base: &BaseUrl,
        paging: &Paging,
        page: PageInfo,
        neighbors: &Neighbors,
    ) -> Links {
        let url = |number: i64, start: PageStart| {
            let key = match start {
                PageStart::Number => String::new(),
                PageStart::After(key) => format!("&after={key}"),
                PageStart::Before(key) => format!("&before={key}"),
            };
            let (collection, size, sort) = (self.collection, page.size, paging.order.query());
            base.url(&format!("/{collection}?page={number}&size={size}{sort}{key}"))
        };
        let number = page.number;
        let last = (page.total_pages - 1).max(0);
        let mut links = Links::default();
        if page.total_pages > 1 {
            links = links.with("first", url(0, PageStart::Number));
        }
        if number > 0 || neighbors.earlier {
            let prev = match neighbors.keys {
                Some((first, _)) if number != 1 => {
                    url((number - 1).max(0), PageStart::Before(first))
                }
                None if number == 0 => url(last, PageStart::Number),
                _ => url((number - 1).min(last), PageStart::Number),
            };
            links = links.with("prev", prev);
        }
        links = links.with("self", url(number, paging.start));
        if neighbors.more {
            let start =
                neighbors.keys.map_or(PageStart::Number, |(_, last)| PageStart::After(last));
            links = links.with("next", url(number + 1, start));
        }
        if page.total_pages > 1 {
            links = links.with("last", url(last, PageStart::Number));
        }
        if self.search.is_some() {
            links = links.with("search", base.url(&format!("/{}/search", self.collection)));
        }
        links
    }
}

/// Returns the value of a unique field of an item, as in its JSON.
fn key(item: &impl Serialize, field: Field) -> Option<i64> {
    serde_json::to_value(item).ok()?.get(field.name)?.as_i64()
}
