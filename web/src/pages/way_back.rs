//! Where a visitor is led back to.

use crate::pages::pager::{link, number};
use crate::visit::Visit;
use axum::http::request::Parts;
use axum::http::{Uri, header};
use chassis::http::Query;
use std::fmt;

/// The pages that a visitor can open.
pub const PATHS: [&str; 4] = ["/shop", "/me", "/md", "/live"];

/// A page of ours that a visitor is led back to: one of [`PATHS`], and the page of its list. It is no address that a request names,
/// which could lead people to another site from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayBack {
    pub(crate) path: &'static str,
    /// From 0.
    pub(crate) page: i64,
}

impl WayBack {
    /// The shop.
    pub const SHOP: Self = Self::new("/shop", 0);

    /// Returns the way to a page of the list at `path`.
    pub(crate) const fn new(path: &'static str, page: i64) -> Self {
        Self { path, page }
    }

    /// Returns the way that a link names, as its text: to the shop if it is to none of our pages.
    pub fn named(text: Option<&str>) -> Self {
        let (asked, query) =
            text.map(|text| text.split_once('?').unwrap_or((text, ""))).unwrap_or_default();
        let Some(path) = PATHS.into_iter().find(|path| *path == asked) else { return Self::SHOP };
        let query = Query::parse(query).unwrap_or_default();
        Self::new(path, number(query.get(&["page"])))
    }

    /// Returns the way to the page that a request belongs to: its path says which page, and its `Referer` which page of the list.
    pub(crate) fn of_request(request: &Parts, visit: &Visit) -> Self {
        let is_of = |path: &&str| {
            let rest = request.uri.path().strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let Some(path) = PATHS.into_iter().find(is_of) else { return Self::SHOP };
        let from = request.headers.get(header::REFERER).and_then(|from| from.to_str().ok());
        let from = from.and_then(|from| from.parse::<Uri>().ok());
        let from = from.filter(|from| from.path() == visit.path(path));
        let page = from.map_or(0, |from| number(Query::of(&from).get(&["page"])));
        Self::new(path, page)
    }
}

/// The path and query of the page, as [`WayBack::named`] reads it.
impl fmt::Display for WayBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&link(self.path, self.page, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_is_to_one_of_our_pages_and_keeps_the_page_of_its_list() {
        for (text, to) in [
            ("/shop", "/shop"),
            ("/shop?page=3", "/shop?page=3"),
            ("/me?page=12", "/me?page=12"),
            ("/md?done=changed&page=2&id=1", "/md?page=2"),
            ("/shop?page=0", "/shop"),
            ("/shop?page=-1", "/shop"),
            ("/shop?page=//evil.example", "/shop"),
            ("/shop?page=1\r\nset-cookie: a=b", "/shop"),
            ("/shop?//evil.example", "/shop"),
            ("/shop?page=%ff", "/shop"),
            ("//evil.example?page=3", "/shop"),
            ("/shop/?page=3", "/shop"),
            ("/shop#?page=3", "/shop"),
            ("?page=3", "/shop"),
            ("", "/shop"),
        ] {
            let way = WayBack::named(Some(text));
            assert_eq!(way.to_string(), to, "{text}");
            assert_eq!(WayBack::named(Some(to)), way, "it is read as it is written");
        }
        assert_eq!(WayBack::named(None), WayBack::SHOP);
    }
}
