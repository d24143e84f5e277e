//! The paths of a process, and the routes that read a body.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::base::uri::decoded;
use crate::http::access::RouteAccess;
use axum::http::Method;

/// The paths of a process, and the routes that read a body.
#[derive(Clone, Debug, Default)]
pub struct Surface {
    /// The paths that the 404 for any other path lists.
    pub paths: Vec<&'static str>,
    /// The method and path of each route that reads a body. `{id}` matches a whole number, another name in braces any
    /// segment. The server does not read the bodies of other requests.
    pub bodies: &'static [(Method, &'static str)],
    /// Who may use each route. A route that is not here answers 500, to everybody and in every mode.
    pub access: &'static [RouteAccess],
}

impl Surface {
    /// Returns true if the route of a request reads its body.
    pub(super) fn reads_body(&self, method: &Method, path: &str) -> bool {
        self.bodies.iter().any(|(reads, pattern)| reads == method && matches(path, pattern))
    }

    /// Returns the 404 for an unknown path.
    pub(super) fn no_such_path(&self) -> Problem {
        let paths = self.paths.join(", ");
        Problem::new(
            kind::NOT_FOUND,
            Text::new(
                format!("there is nothing at this path; there is something at {paths}"),
                format!("이 경로에는 아무것도 없습니다. 사용할 수 있는 경로는 {paths} 입니다"),
            ),
        )
    }
}

/// Returns true if `path` matches `pattern`.
fn matches(path: &str, pattern: &str) -> bool {
    let (mut segments, mut patterns) = (path.split('/'), pattern.split('/'));
    loop {
        return match (segments.next(), patterns.next()) {
            (None, None) => true,
            (Some(segment), Some("{id}")) if is_id(segment) => continue,
            (Some(segment), Some(name)) if is_wildcard(name) && !segment.is_empty() => continue,
            (Some(segment), Some(pattern)) if segment == pattern => continue,
            _ => false,
        };
    }
}

/// Returns true if a segment of a pattern matches any segment.
fn is_wildcard(pattern: &str) -> bool {
    pattern.starts_with('{') && pattern != "{id}"
}

/// Returns true if the segment of `path` at `{id}` in the route `pattern` is an id, or if the route has no `{id}`.
pub(super) fn has_valid_id(path: &str, pattern: &str) -> bool {
    let mut pairs = path.split('/').zip(pattern.split('/'));
    pairs.find(|(_, pattern)| *pattern == "{id}").is_none_or(|(segment, _)| is_id(segment))
}

/// Returns true if a segment of a path is an id: decimal digits in the range of an `i64`.
fn is_id(segment: &str) -> bool {
    decoded(segment)
        .is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit()) && id.parse::<i64>().is_ok())
}

/// Returns the 404 for a path with something else than an id at `{id}`.
pub(super) fn not_an_id() -> Problem {
    Problem::new(
        kind::NOT_FOUND,
        Text::fixed(
            "an id in a path is a whole number, counted from 1, as its collection lists it",
            "경로의 id는 1부터 시작하는 정수입니다. 목록에서 확인해 주세요",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_routes_read_a_body() {
        let surface = Surface {
            paths: vec![],
            bodies: &[
                (Method::POST, "/gifticons"),
                (Method::PATCH, "/gifticons/{id}"),
                (Method::PUT, "/reservations/{uuid}"),
            ],
            access: &[],
        };
        for (method, path, reads) in [
            (Method::POST, "/gifticons", true),
            (Method::PATCH, "/gifticons/1", true),
            (Method::PATCH, "/gifticons/%31", true),
            (Method::PUT, "/reservations/x", true),
            (Method::PUT, "/reservations/", false),
            (Method::GET, "/gifticons", false),
            (Method::POST, "/gifticons/1", false),
            (Method::POST, "/gifticons/", false),
            (Method::PATCH, "/gifticons/search", false),
            (Method::PATCH, "/gifticons/1/x", false),
            (Method::PATCH, "/gifticons/+1", false),
            (Method::PATCH, "/gifticons/99999999999999999999", false),
            (Method::POST, "", false),
        ] {
            assert_eq!(surface.reads_body(&method, path), reads, "{method} {path}");
        }
    }

    #[test]
    fn an_id_is_a_whole_number() {
        for (path, pattern, is_valid) in [
            ("/carts/1", "/carts/{id}", true),
            ("/carts/abc", "/carts/{id}", false),
            ("/carts/-1", "/carts/{id}", false),
            ("/carts/%00", "/carts/{id}", false),
            ("/mypages/x/history", "/mypages/{id}/history", false),
            ("/reservations/x", "/reservations/{reservation}", true),
            ("/carts", "/carts", true),
            ("/carts/abc", "/carts/{*rest}", true),
        ] {
            assert_eq!(has_valid_id(path, pattern), is_valid, "{path}");
        }
    }
}
