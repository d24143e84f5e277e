//! Links to the pages of a list.

use crate::format::count;
use crate::visit::Visit;
use crate::words::fill;
use serde::Deserialize;

/// `page` of a collection.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageInfo {
    pub(crate) total_elements: i64,
    pub(crate) total_pages: i64,
    pub(crate) number: i64,
}

/// A collection of HAL.
#[derive(Debug, Deserialize)]
pub(crate) struct Collection<T> {
    #[serde(rename = "_embedded")]
    pub(crate) embedded: T,
    pub(crate) page: PageInfo,
}

/// Links to the pages before and after.
pub(crate) struct Pager {
    pub(crate) previous: Option<String>,
    pub(crate) next: Option<String>,
    pub(crate) text: String,
}

impl Pager {
    /// Returns the links below a list at `path`, or `None` for a list of one page.
    pub(crate) fn new(visit: &Visit, path: &str, page: &PageInfo) -> Option<Self> {
        if page.total_pages < 2 {
            return None;
        }
        let link = |number: i64| visit.path(&link(path, number, ""));
        let (number, of) = (count(page.number + 1), count(page.total_pages));
        Some(Self {
            previous: (page.number > 0).then(|| link(page.number - 1)),
            next: (page.number + 1 < page.total_pages).then(|| link(page.number + 1)),
            text: fill(visit.words().page_of, &[("n", &number), ("of", &of)]),
        })
    }
}

/// Returns the number of the page that a visitor asks for, from 0.
pub(crate) fn asked(visit: &Visit) -> i64 {
    number(visit.query.get(&["page"]))
}

/// Returns the number of a page out of what a query or a form has, from 0.
pub(crate) fn number(page: Option<&str>) -> i64 {
    let page = page.and_then(|page| page.trim().parse().ok());
    page.filter(|page| (0..5_000).contains(page)).unwrap_or(0)
}

/// Returns the path and query of a page of the list at `path`, with `more` in its query.
pub(crate) fn link(path: &str, number: i64, more: &str) -> String {
    match (number, more) {
        (0, "") => path.to_owned(),
        (0, _) => format!("{path}?{more}"),
        (_, "") => format!("{path}?page={number}"),
        _ => format!("{path}?page={number}&{more}"),
    }
}
