//! Pages of a table by `page`, `size` and `sort`, and by `after` and `before`, with which deep pages cost no more than early
//! ones.

mod order;
mod paging;
mod scope;

pub use order::Field;
pub(crate) use paging::{DEFAULT_PAGE_SIZE, MAX_PAGE_NUMBER, MAX_PAGE_SIZE};
pub use scope::Scope;

use crate::auth::Principal;
use crate::base::problem::Problem;
use crate::http::hal::{Collection, Index, Item, Links, PageInfo};
use crate::http::{BaseUrl, Query};
use crate::storage::{Db, ids, rows};
use common_events::Owner;
use paging::{MAX_SKIPPED, PageStart, Paging};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyArguments;
use sqlx::query::Query as Select;
use sqlx::{Any, AssertSqlSafe, Row as _, query};

/// The most items of one owner that are counted for a page: some 10 ms of a core. Guests' items are counted as they come and go.
const MAX_COUNTED: i64 = 100_000;

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
    /// The column with the owner of an item, if items have one. Indexes begin with it, one for each unique field. The counts of
    /// the [ids] say how many items guests own.
    pub owner: Option<&'static str>,
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

    /// Returns the item whose unique `column` has this value, unless it is not in `scope`.
    pub async fn find<R: DeserializeOwned>(
        &self,
        db: &Db,
        scope: &Scope,
        column: &str,
        value: i64,
    ) -> sqlx::Result<Option<R>> {
        let rest = format!("{} and {column} = $1{}", self.from, self.owned(scope, 2));
        let select = rows::select(db.dialect(), self.columns, &rest).bind(value);
        Ok(rows::read(self.bind_owner(select, scope), db).await?.pop())
    }

    /// Returns the rows of the `count` items in `scope` with the highest ids, the highest last.
    pub async fn newest<R: DeserializeOwned>(
        &self,
        db: &Db,
        scope: &Scope,
        count: i64,
    ) -> sqlx::Result<Vec<R>> {
        let (from, owned) = (self.from, self.owned(scope, 2));
        let rest = format!("{from}{owned} order by id desc limit $1 + 0");
        let select = rows::select(db.dialect(), self.columns, &rest).bind(count);
        let mut rows: Vec<R> = rows::read(self.bind_owner(select, scope), db).await?;
        rows.reverse();
        Ok(rows)
    }

    /// Returns the page that `query` asks for, of what `principal` may see. `read` makes the id and the item of a row.
    pub async fn page<R: DeserializeOwned, T: Serialize>(
        &self,
        db: &Db,
        base: &BaseUrl,
        principal: &Principal,
        query: &Query,
        read: impl Fn(R) -> (i64, T),
    ) -> Result<Collection<Item<T>>, Problem> {
        let paging = Paging::read(self.fields, query)?;
        let scope = match self.owner {
            Some(_) => Scope::asked(principal, query),
            None => Scope::All,
        };
        let total = self.total(db, &scope).await?;
        paging.check_cost(self.fields, total)?;
        let (rows, more) = self.rows(db, &scope, &paging, total).await?;
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
                    let before = self.rows_beyond::<R>(db, &scope, &paging, first, true, 1);
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
        let owner = scope.query(principal);
        let links = self.links(base, &owner, &paging, page, &Neighbors { keys, more, earlier });
        let items = items.into_iter().map(|(id, fields)| self.item(base, id, fields));
        Ok(Collection::new(self.collection, items.collect(), links, page))
    }

    /// Returns how many items there are. Those of a single owner are counted up to [`MAX_COUNTED`].
    async fn total(&self, db: &Db, scope: &Scope) -> sqlx::Result<i64> {
        match (self.owner, scope) {
            (Some(_), Scope::Of(owner)) if *owner == Owner::GUEST => {
                ids::count_guests(db, self.collection).await
            }
            _ if self.is_counted(scope) => {
                let (from, owned) = (self.from, self.owned(scope, 1));
                let count = format!(
                    "select count(*) from (select 1 {from}{owned} limit {MAX_COUNTED}) counted"
                );
                let count = self.bind_owner(query(AssertSqlSafe(count)), scope);
                db.fetch_one(count).await?.try_get(0)
            }
            _ => ids::count_live(db, self.collection).await,
        }
    }

    /// Returns true if the items in `scope` are counted, up to [`MAX_COUNTED`]: those of one owner. The number of the others is
    /// kept.
    fn is_counted(&self, scope: &Scope) -> bool {
        self.owner.is_some() && matches!(scope, Scope::Of(owner) if *owner != Owner::GUEST)
    }

    /// Returns the condition, beginning with ` and`, that an item is in `scope`. Its placeholder has this number.
    fn owned(&self, scope: &Scope, placeholder: usize) -> String {
        match (self.owner, scope) {
            (Some(column), Scope::Of(_)) => format!(" and {column} = ${placeholder}"),
            _ => String::new(),
        }
    }

    /// Binds the placeholder of [`Listing::owned`], if it has one, which is the last.
    fn bind_owner<'q>(
        &self,
        select: Select<'q, Any, AnyArguments>,
        scope: &Scope,
    ) -> Select<'q, Any, AnyArguments> {
        match (self.owner, scope) {
            (Some(_), Scope::Of(owner)) => select.bind(owner.as_str().to_owned()),
            _ => select,
        }
    }

    /// Returns the rows of the page in order, and whether others follow.
    async fn rows<R: DeserializeOwned>(
        &self,
        db: &Db,
        scope: &Scope,
        paging: &Paging,
        total: i64,
    ) -> sqlx::Result<(Vec<R>, bool)> {
        // Without `+ 0`, SQLite would prepare the statements below again for each value of the limit.
        let select = |rest: &str| {
            let rest = format!("{}{} {rest}", self.from, self.owned(scope, 3));
            rows::select(db.dialect(), self.columns, &rest)
        };
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
                Ok(with_more(self.rows_beyond(db, scope, paging, key, false, size + 1).await?))
            }
            PageStart::Before(key) => {
                let rows = self.rows_beyond(db, scope, paging, key, true, *size);
                let mut rows: Vec<R> = rows.await?;
                rows.reverse();
                let more = !rows.is_empty(); // the item with the key follows
                Ok((rows, more))
            }
            PageStart::Number => {
                let skip = paging.skip();
                let rest = total.saturating_sub(skip).max(0);
                if rest == 0 {
                    return Ok((vec![], false));
                }
                let is_exact = total < MAX_COUNTED || !self.is_counted(scope);
                let backwards = is_backwards(rest, *size, skip, is_exact);
                let wanted = if backwards { rest.min(size + 1) } else { size + 1 };
                let skip = if backwards { rest - wanted } else { skip };
                let by = order.sql(backwards);
                let select = select(&format!("order by {by} limit $1 + 0 offset $2 + 0"));
                let select = self.bind_owner(select.bind(wanted).bind(skip), scope);
                let mut rows: Vec<R> = rows::read(select, db).await?;
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
        scope: &Scope,
        paging: &Paging,
        key: i64,
        backwards: bool,
        count: i64,
    ) -> sqlx::Result<Vec<R>> {
        let (beyond, by) = (paging.order.beyond_key(backwards), paging.order.sql(backwards));
        let (from, owned) = (self.from, self.owned(scope, 3));
        let rest = format!("{from}{owned} {beyond} order by {by} limit $2 + 0");
        let select = rows::select(db.dialect(), self.columns, &rest).bind(key).bind(count);
        rows::read(self.bind_owner(select, scope), db).await
    }

    /// Returns the links of a page.
    fn links(
        &self,
        base: &BaseUrl,
        owner: &str,
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
            base.url(&format!("/{collection}?page={number}&size={size}{sort}{owner}{key}"))
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
/// Returns true if a page is read from the end of its list: the last one, if it is known where the end is, and what begins too
/// far from the beginning. Others are read from the beginning, so that items that are added meanwhile do not shift them.
fn is_backwards(rest: i64, size: i64, skip: i64, is_exact: bool) -> bool {
    rest <= size && is_exact || skip > MAX_SKIPPED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_is_read_from_the_end_however_long_the_list_is() {
        for total in [40, MAX_COUNTED, MAX_COUNTED + 10] {
            assert!(is_backwards(20, 20, total - 20, true), "{total}");
            assert!(!is_backwards(21, 20, total - 21, true) || total - 21 > MAX_SKIPPED, "{total}");
        }
        // There may be more of one owner than were counted.
        assert!(!is_backwards(20, 20, MAX_COUNTED - 20, false));
    }
}
