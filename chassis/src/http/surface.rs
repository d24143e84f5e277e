//! What a process serves: which paths there are, and which of them read a body.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::base::uri::decoded;
use axum::http::Method;

/// The paths of a process, and which of them read a body.
#[derive(Clone, Debug, Default)]
pub struct Surface {
    /// The paths, as a refusal of any other names them.
    pub paths: Vec<&'static str>,
    /// The method and the path of each route that reads a body; `{id}` stands for a whole number, any other
    /// name in braces for any segment. The body of any other request is left unread.
    pub bodies: &'static [(Method, &'static str)],
}

impl Surface {
    /// Whether the route of a request reads its body.
    pub(super) fn reads_body(&self, method: &Method, path: &str) -> bool {
        self.bodies.iter().any(|(reading, pattern)| reading == method && is_like(path, pattern))
    }

    /// Returns the refusal of a path that is not there.
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

/// Whether `path` is one that `pattern` stands for.
fn is_like(path: &str, pattern: &str) -> bool {
    let (mut segments, mut patterns) = (path.split('/'), pattern.split('/'));
    loop {
        return match (segments.next(), patterns.next()) {
            (None, None) => true,
            (Some(segment), Some("{id}")) if is_id(segment) => continue,
            (Some(segment), Some(name)) if is_variable(name) && !segment.is_empty() => continue,
            (Some(segment), Some(pattern)) if segment == pattern => continue,
            _ => false,
        };
    }
}

/// Whether a segment of a pattern stands for any segment.
fn is_variable(pattern: &str) -> bool {
    pattern.starts_with('{') && pattern != "{id}"
}

/// Whether the segment of `path` that `{id}` stands for in the route `pattern` is an id, if there is one.
pub(super) fn has_id(path: &str, pattern: &str) -> bool {
    let mut pairs = path.split('/').zip(pattern.split('/'));
    pairs.find(|(_, pattern)| *pattern == "{id}").is_none_or(|(segment, _)| is_id(segment))
}

/// Whether a segment of a path is a whole number.
fn is_id(segment: &str) -> bool {
    decoded(segment)
        .is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit()) && id.parse::<i64>().is_ok())
}

/// Returns the refusal of a path where something else stands for an id.
pub(super) fn no_id() -> Problem {
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
    fn a_body_is_read_where_a_route_reads_one() {
        let surface = Surface {
            paths: vec![],
            bodies: &[
                (Method::POST, "/gifticons"),
                (Method::PATCH, "/gifticons/{id}"),
                (Method::PUT, "/reservations/{uuid}"),
            ],
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
        for (path, pattern, is) in [
            ("/carts/1", "/carts/{id}", true),
            ("/carts/abc", "/carts/{id}", false),
            ("/carts/-1", "/carts/{id}", false),
            ("/carts/%00", "/carts/{id}", false),
            ("/mypages/x/history", "/mypages/{id}/history", false),
            ("/reservations/x", "/reservations/{reservation}", true),
            ("/carts", "/carts", true),
            ("/carts/abc", "/carts/{*rest}", true),
        ] {
            assert_eq!(has_id(path, pattern), is, "{path}");
        }
    }
}
