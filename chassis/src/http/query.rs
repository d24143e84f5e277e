//! The query of a request.

use crate::base::problem::Problem;
use crate::base::uri::decoded;
use crate::http::extract::bad_query;
use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;

/// The query as pairs of name and value, in order. Unknown names are ignored.
#[derive(Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Reads `application/x-www-form-urlencoded` pairs. Returns `None` if a name or value is not UTF-8.
    pub fn parse(query: &str) -> Option<Self> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        });
        pairs.collect::<Option<_>>().map(Self)
    }

    /// Returns the query of a URI; without any pair if it is malformed.
    pub fn of(uri: &Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default()).unwrap_or_default()
    }

    /// Returns the last value with one of `names`.
    pub fn get(&self, names: &[&str]) -> Option<&str> {
        let is_named = |(name, _): &&(String, String)| names.contains(&name.as_str());
        self.0.iter().rev().find(is_named).map(|(_, value)| value.as_str())
    }

    /// Returns all values with `name`, in order.
    pub fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Returns the whole number with one of `names`, or 400 with the first name.
    pub fn number(&self, names: &[&str]) -> Result<i64, Problem> {
        let name = names[0];
        let value = self.get(names).ok_or_else(|| {
            bad_query(
                format!("the query needs {name}=NUMBER"),
                format!("쿼리에 {name}=숫자 가 필요합니다"),
            )
        })?;
        common_events::number::parse(value).ok_or_else(|| {
            bad_query(format!("{name} is a whole number"), format!("{name} 값은 정수여야 합니다"))
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(parts.uri.query().unwrap_or_default()).ok_or_else(|| {
            bad_query(
                "the query is not UTF-8: encode it as UTF-8 before the percent encoding".into(),
                "쿼리가 UTF-8이 아닙니다. UTF-8로 인코딩해 주세요".into(),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Option<Vec<(String, String)>> {
        Query::parse(query).map(|query| query.0)
    }

    #[test]
    fn names_and_values_are_decoded() {
        let read = pairs("p%61ge=1+2&&x&%ec%bb%a4=%EC%BB%A4&a=b=c&=%&%zz=%4").unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected =
            [("page", "1 2"), ("x", ""), ("커", "커"), ("a", "b=c"), ("", "%"), ("%zz", "%4")];
        assert_eq!(read, expected);
        assert_eq!(pairs("").unwrap(), []);
    }

    #[test]
    fn a_query_that_is_not_utf_8_is_refused() {
        for query in ["x=%ff", "%ff=1", "page=1&x=%ed%a0%80", "%c3"] {
            assert_eq!(pairs(query), None, "{query} was read");
        }
    }

    #[test]
    fn the_last_of_several_values_counts() {
        let query = Query::parse("a=1&b=2&A=3&a=4").unwrap();
        assert_eq!((query.get(&["a"]), query.get(&["a", "A"])), (Some("4"), Some("4")));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "4"]);
    }
}
