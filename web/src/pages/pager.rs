//! The pages of a list: links to them, and what is said of one that the list does not have.

use crate::format::count;
use crate::visit::Visit;
use crate::words::fill;
use axum::http::StatusCode;
use serde::Deserialize;

/// The highest number of a page that is asked for, from 0. Nobody turns so many.
const NUMBER_MAX: i64 = 4_999;

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

/// What is below a list.
pub(crate) enum Pager {
    /// Links to the pages before and after.
    Links { previous: Option<String>, next: Option<String>, text: String },
    /// In place of a page that the list does not have: where it ends, and a link to there.
    Beyond { text: String, last: String },
}

impl Pager {
    /// Returns what is below a list at `path`. Returns `None` for a list of one page, and for an empty one, whose page says that
    /// it is empty.
    pub(crate) fn new(visit: &Visit, path: &str, page: &PageInfo) -> Option<Self> {
        let (t, pages) = (visit.words(), page.total_pages);
        let link = |number: i64| visit.path(&link(path, number, ""));
        let (number, of) = (count(page.number + 1), count(pages));
        if pages > 0 && page.number >= pages {
            let text = fill(t.beyond_text, &[("of", &of)]);
            return Some(Self::Beyond { text, last: link(pages - 1) });
        }
        (pages > 1).then(|| Self::Links {
            previous: (page.number > 0).then(|| link(page.number - 1)),
            next: (page.number + 1 < pages && page.number < NUMBER_MAX)
                .then(|| link(page.number + 1)),
            text: fill(t.page_of, &[("n", &number), ("of", &of)]),
        })
    }

    /// Returns 404 if the list does not have the page. The `status` of a form that was refused stays.
    pub(crate) fn status(pager: Option<&Self>, status: StatusCode) -> StatusCode {
        match pager {
            Some(Self::Beyond { .. }) if status == StatusCode::OK => StatusCode::NOT_FOUND,
            _ => status,
        }
    }
}

/// Returns the number of the page that a visitor asks for, from 0.
pub(crate) fn asked(visit: &Visit) -> i64 {
    number(visit.query.get(&["page"]))
}

/// Returns the number of a page out of what a query or a form has, from 0.
pub(crate) fn number(page: Option<&str>) -> i64 {
    let page = page.unwrap_or_default().trim();
    let is_number = !page.is_empty() && page.bytes().all(|byte| byte.is_ascii_digit());
    let too_large = if is_number { NUMBER_MAX } else { 0 };
    page.parse().unwrap_or(too_large).clamp(0, NUMBER_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_too_large_is_the_highest_and_what_is_none_is_the_first() {
        for (text, page) in [
            ("3", 3),
            (" 3 ", 3),
            ("4999", 4_999),
            ("5000", 4_999),
            ("99999999999999999999", 4_999),
            ("-1", 0),
            ("-99999999999999999999", 0),
            ("x", 0),
            ("", 0),
        ] {
            assert_eq!(number(Some(text)), page, "{text}");
        }
        assert_eq!(number(None), 0);
    }
}
