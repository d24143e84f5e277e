//! Requests whose head hyper could not read: what was wrong, and what can be told of them.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::http::head::{self, HeadLimits};
use crate::http::request_log::REQUEST_ID;
use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, Request, StatusCode, Uri};

/// Upper bound for the header lines that are read of an invalid request.
const SALVAGED_LINES_MAX: usize = 100;

/// Returns the problem for plain HTTP at a port of HTTPS.
pub(super) fn plain_http() -> Problem {
    Problem::new(
        kind::MALFORMED,
        Text::fixed(
            "this is plain HTTP, and the port takes HTTPS: call it as https://",
            "HTTPS만 받는 포트입니다. https://로 요청해 주세요",
        ),
    )
}

/// Returns the problem for a head that hyper could not read, or `None` if the client sent no byte or the connection ended for
/// another reason.
pub(super) fn head_problem(
    error: &hyper::Error,
    limits: HeadLimits,
    withheld: Option<StatusCode>,
    unread: &[u8],
) -> Option<Problem> {
    let malformed =
        |en: String, ko: &'static str| Some(Problem::new(kind::MALFORMED, Text::new(en, ko)));
    if error.is_timeout() && !unread.is_empty() {
        return Some(Problem::new(
            kind::TOO_SLOW,
            Text::fixed(
                "the head of a request may take 15 s",
                "요청 헤더는 15초 안에 도착해야 합니다",
            ),
        ));
    }
    if error.is_incomplete_message() && !unread.is_empty() {
        let en = "the request broke off before the end of its head";
        return malformed(en.into(), "요청 헤더가 끝까지 도착하지 않았습니다");
    }
    if !error.is_parse() {
        return None;
    }
    let line = unread.iter().position(|byte| *byte == b'\n').unwrap_or(unread.len());
    match withheld.map(|status| status.as_u16()) {
        Some(414 | 431) if line > head::URI_BYTES_MAX => Some(head::uri_too_long()),
        Some(414) => Some(head::uri_too_long()),
        Some(431) => Some(head::headers_too_large(limits)),
        _ => {
            let (en, ko) = parse_error_message(&error.to_string());
            malformed(en, ko)
        }
    }
}

/// Returns the messages for a parse error of hyper. Only its text shows what was wrong.
fn parse_error_message(error: &str) -> (String, &'static str) {
    let (en, ko) = match error {
        "invalid URI" => (
            "the path or its query has a character that must be escaped, as \" is by %22",
            "경로나 쿼리에 쓸 수 없는 문자가 있습니다. \"는 %22처럼 퍼센트 인코딩해 주세요",
        ),
        "invalid HTTP header parsed" => (
            "a header line cannot be read; each is NAME: VALUE",
            "읽을 수 없는 헤더가 있습니다. 이름: 값 형식이어야 합니다",
        ),
        "invalid HTTP version parsed" => (
            "the first line of a request is METHOD PATH HTTP/1.1",
            "요청의 첫 줄은 METHOD PATH HTTP/1.1 형식이어야 합니다",
        ),
        _ => return (format!("this is not HTTP/1.1: {error}"), "HTTP/1.1 요청이 아닙니다"),
    };
    (en.to_owned(), ko)
}

/// Returns a request for the layers in place of one that could not be parsed: with its path, origin, language and id.
pub(super) fn salvaged(head: &[u8]) -> Request<Body> {
    let salvaged_headers = [header::ORIGIN, header::ACCEPT_LANGUAGE, REQUEST_ID];
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path_of(head).unwrap_or(Uri::from_static("*"));
    if head.starts_with(b"HEAD ") {
        *request.method_mut() = Method::HEAD;
    }
    for line in head.split(|byte| *byte == b'\n').skip(1).take(SALVAGED_LINES_MAX) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is_named = |header: &&HeaderName| name.eq_ignore_ascii_case(header.as_str().as_bytes());
        let name = salvaged_headers.iter().find(is_named);
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            request.headers_mut().append(name, value);
        }
    }
    request
}

/// Returns the path in the first line of a head, if there is one.
fn path_of(head: &[u8]) -> Option<Uri> {
    let line = head.split(|byte| *byte == b'\n').next().filter(|line| line.len() < head.len())?;
    let target = std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?;
    let path = target.split(['?', '#']).next().filter(|path| path.starts_with('/'))?;
    Uri::builder().path_and_query(path).build().ok()
}
