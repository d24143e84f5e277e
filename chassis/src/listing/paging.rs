//! The page that a query asks for. Pages that would cost too much are refused.

use crate::base::problem::Problem;
use crate::http::{Query, bad_query};
use crate::listing::order::{Field, Order, unique_names};

/// The default number of items on a page.
pub(crate) const DEFAULT_PAGE_SIZE: i64 = 20;
/// The most items on a page.
pub(crate) const MAX_PAGE_SIZE: i64 = 1_000;
/// The largest page number that is accepted, far beyond any existing page.
pub(crate) const MAX_PAGE_NUMBER: i64 = 1_000_000_000;
/// The most items that are sorted for one page: some 10 ms of a core.
const MAX_SORTED: i64 = 10_000;
/// The most items that are skipped to reach a page by its number, from the nearer end: some 10 ms of a core.
pub(super) const MAX_SKIPPED: i64 = 100_000;

/// A page, and its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paging {
    pub(super) number: i64,
    pub(super) size: i64,
    pub(super) start: PageStart,
    pub(super) order: Order,
}

/// Where a page starts. A key is a value of the unique field that decides the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageStart {
    /// At the position of its number.
    Number,
    /// After the item with this key.
    After(i64),
    /// At such a position that it ends before the item with this key.
    Before(i64),
}

impl Paging {
    /// Parses `page`, `size`, `sort`, `after` and `before`.
    pub(super) fn read(fields: &[Field], query: &Query) -> Result<Self, Problem> {
        let optional = |name: &'static str, min: i64, max: i64| {
            let Some(text) = query.get(&[name]) else { return Ok(None) };
            let number = common_events::number::parse(text);
            number.filter(|number| (min..=max).contains(number)).map(Some).ok_or_else(|| {
                bad_query(
                    format!("{name} is a whole number from {min} to {max}"),
                    format!("{name} 값은 {min}에서 {max} 사이의 정수여야 합니다"),
                )
            })
        };
        let number = optional("page", 0, MAX_PAGE_NUMBER)?.unwrap_or(0);
        let size = optional("size", 1, MAX_PAGE_SIZE)?.unwrap_or(DEFAULT_PAGE_SIZE);
        let (after, before) = (optional("after", 0, i64::MAX)?, optional("before", 0, i64::MAX)?);
        let order = Order::read(fields, query)?;
        let start = match (after, before) {
            (None, None) => PageStart::Number,
            (Some(key), None) => PageStart::After(key),
            (None, Some(key)) => PageStart::Before(key),
            (Some(_), Some(_)) => {
                return Err(bad_query(
                    "send after or before, not both".into(),
                    "after와 before는 하나만 보내 주세요".into(),
                ));
            }
        };
        if start != PageStart::Number && order.key().is_none() {
            let unique = unique_names(fields);
            return Err(bad_query(
                format!("after and before go with no sort, or with one by {unique}"),
                format!("after와 before는 sort 없이, 또는 {unique} 정렬에서만 쓸 수 있습니다"),
            ));
        }
        Ok(Self { number, size, start, order })
    }

    /// Refuses a page whose cost would grow with the table.
    pub(super) fn check_cost(&self, fields: &[Field], total: i64) -> Result<(), Problem> {
        let unique = unique_names(fields);
        if self.order.key().is_none() && total > MAX_SORTED {
            return Err(bad_query(
                format!(
                    "{total} items are too many to sort by any field: sort first by one of {unique}"
                ),
                format!(
                    "{total}개는 모든 필드로 정렬하기에 너무 많습니다. sort의 첫 필드로 {unique} 중 하나를 써 주세요"
                ),
            ));
        }
        let skipped = self.skip().min(total.saturating_sub(self.skip()));
        if self.start == PageStart::Number && skipped > MAX_SKIPPED {
            return Err(bad_query(
                format!(
                    "a page by its number begins at most {MAX_SKIPPED} items from either end: \
                     follow the next links, or send after=KEY or before=KEY"
                ),
                format!(
                    "페이지 번호로는 양 끝에서 {MAX_SKIPPED}개까지만 갈 수 있습니다. \
                     next 링크를 따라가거나 after=키, before=키 를 써 주세요"
                ),
            ));
        }
        Ok(())
    }

    /// Returns the number of items before the page, by its number.
    pub(super) fn skip(&self) -> i64 {
        self.number.saturating_mul(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field::unique("id", "id"),
        Field::unique("gifticonId", "gifticon_id"),
        Field::new("name", "name"),
    ];

    fn paging(pairs: &[(&str, &str)]) -> Option<Paging> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Paging::read(FIELDS, &Query(pairs)).ok()
    }

    #[test]
    fn missing_parameters_have_defaults() {
        let usual = paging(&[]).unwrap();
        assert_eq!((usual.number, usual.size, usual.start), (0, 20, PageStart::Number));
        assert_eq!(usual.order.sql(false), "id asc");
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
            ("before", "-1"),
            ("sort", "price"),
        ] {
            assert_eq!(paging(&[(name, value)]), None, "{name}={value} was taken");
        }
    }

    #[test]
    fn a_key_goes_with_an_order_by_a_unique_field() {
        for name in ["after", "before"] {
            assert_eq!(paging(&[(name, "5"), ("sort", "name")]), None);
            for sort in ["id,asc", "id,desc", "gifticonId"] {
                assert!(paging(&[(name, "5"), ("sort", sort)]).is_some(), "{sort} was refused");
            }
        }
        assert_eq!(paging(&[("after", "5"), ("before", "7")]), None);
    }

    #[test]
    fn a_page_that_costs_more_in_a_larger_table_is_refused_and_says_what_does_not() {
        let refused = |pairs: &[(&str, &str)], total| {
            let problem = paging(pairs).unwrap().check_cost(FIELDS, total).err()?;
            assert_eq!(problem.status(), 400);
            Some(format!("{problem:?}"))
        };
        assert_eq!(refused(&[("sort", "name")], MAX_SORTED), None);
        let why = refused(&[("sort", "name")], MAX_SORTED + 1).expect("it was taken");
        assert!(why.contains("id, gifticonId"), "{why}");
        for sort in ["id,desc", "gifticonId,name"] {
            assert_eq!(refused(&[("sort", sort)], i64::MAX), None, "{sort}");
        }
        let total = 10_000_000;
        for (page, taken) in [
            ("0", true),
            ("5000", true), // 100,000 of 20
            ("5001", false),
            ("250000", false),
            ("494999", false),
            ("495000", true),
            ("499999", true), // the last
            ("1000000000", true),
        ] {
            assert_eq!(refused(&[("page", page)], total).is_none(), taken, "{page}");
        }
        assert_eq!(refused(&[("page", "250000"), ("after", "5000000")], total), None);
    }
}
