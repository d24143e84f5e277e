//! Checks and normalises the head of a request before its route.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::base::uri::is_host;
use crate::http::context::Exposure;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method, Request, Uri, Version};
use http_body::Body;

/// Upper bound for the path and query of a request.
pub(super) const URI_BYTES_MAX: usize = 32 * 1024;
/// Upper bounds for the head of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Header lines.
    pub(super) lines: usize,
    /// Bytes of the whole head.
    pub(super) bytes: usize,
}

impl HeadLimits {
    /// The limits for customers.
    const PUBLIC: Self = Self { lines: 100, bytes: 64 * 1024 };
    /// The same, with room for the headers that the gateway adds: `X-Forwarded-*`, request id, trace and patience.
    const INTERNAL: Self = Self { lines: 116, bytes: 72 * 1024 };

    /// Returns the limits of a server.
    pub(crate) fn of(exposure: Exposure) -> Self {
        match exposure {
            Exposure::Public => Self::PUBLIC,
            Exposure::Internal => Self::INTERNAL,
        }
    }
}

/// All methods that any route has.
pub(super) const METHODS: HeaderValue =
    HeaderValue::from_static("GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS");

/// The problem of an invalid head, in the extensions of its request. The layers respond with it, so that the request has an id,
/// metrics and a log line like any other.
#[derive(Clone)]
pub(super) struct InvalidHead(pub(super) Problem);

/// Checks a head and normalises it: the target starts with a slash and does not end with one, and `Host` is the host that the
/// client used.
pub(super) fn check<B>(request: &mut Request<B>) -> Result<(), Problem> {
    let length = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if length > URI_BYTES_MAX {
        return Err(uri_too_long());
    }
    check_host(request)?;
    if request.method() == Method::CONNECT && !request.uri().path().starts_with('/') {
        return Err(Problem::of(kind::METHOD).header(header::ALLOW, METHODS));
    }
    if let Some(uri) = canonical(request.uri())? {
        *request.uri_mut() = uri;
    }
    Ok(())
}

/// Returns 415 for a compressed or otherwise encoded body.
pub(super) fn check_encoding<B: Body>(request: &Request<B>) -> Result<(), Problem> {
    if request.body().is_end_stream() || !is_encoded(request.headers()) {
        return Ok(());
    }
    Err(Problem::of(kind::ENCODING)
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")))
}

/// Adds `OPTIONS` to `Allow`: every existing path has it.
pub(super) fn allow_options(headers: &mut HeaderMap) {
    let Some(allow) = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()) else {
        return;
    };
    if allow.split(',').any(|method| method.trim() == "OPTIONS") {
        return;
    }
    if let Ok(allow) = HeaderValue::from_str(&format!("{allow},OPTIONS")) {
        headers.insert(header::ALLOW, allow);
    }
}

/// Returns 414 for a target that is longer than [`URI_BYTES_MAX`].
pub(super) fn uri_too_long() -> Problem {
    let (en, ko) = (
        format!("a path with its query has at most {URI_BYTES_MAX} bytes"),
        format!("경로와 쿼리는 {URI_BYTES_MAX}바이트 이하여야 합니다"),
    );
    Problem::new(kind::URI_TOO_LONG, Text::new(en, ko))
}

/// Returns 431 for a head that is larger than `limits`.
pub(super) fn headers_too_large(limits: HeadLimits) -> Problem {
    let (lines, kib) = (limits.lines, limits.bytes / 1024);
    let (en, ko) = (
        format!("a request has at most {lines} header lines, and {kib} KiB of them"),
        format!("헤더는 {lines}줄, {kib} KiB 이하여야 합니다"),
    );
    Problem::new(kind::HEADERS_TOO_LARGE, Text::new(en, ko))
}

/// Checks that there is one valid `Host`, which HTTP/1.0 may omit, and sets it to the authority in the target if there is one
/// (RFC 9112, 3.2).
fn check_host<B>(request: &mut Request<B>) -> Result<(), Problem> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    let (host, more) = (lines.next(), lines.next());
    let is_valid = match host {
        Some(host) => host.to_str().is_ok_and(is_host) && more.is_none(),
        None => request.version() < Version::HTTP_11,
    };
    let authority = request.uri().authority();
    if !is_valid || authority.is_some_and(|authority| !is_host(authority.as_str())) {
        return Err(Problem::of(kind::BAD_HOST));
    }
    let authority = authority.and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(authority) = authority {
        request.headers_mut().insert(header::HOST, authority);
    }
    Ok(())
}

/// Returns `uri` without its authority and without a slash at the end, or `None` if it has neither.
fn canonical(uri: &Uri) -> Result<Option<Uri>, Problem> {
    let malformed = || {
        let text = "the target of a request is a path that starts with a slash";
        Problem::new(kind::MALFORMED, Text::fixed(text, "요청 경로는 슬래시로 시작해야 합니다"))
    };
    let whole = uri.path_and_query().ok_or_else(malformed)?;
    // A path with more than one slash at the end is a different path, which does not exist.
    let path = uri.path();
    let shorter = path.strip_suffix('/').filter(|path| !path.is_empty() && !path.ends_with('/'));
    let whole: PathAndQuery = match (shorter, uri.query()) {
        (Some(path), Some(query)) => format!("{path}?{query}").parse(),
        (Some(path), None) => path.parse(),
        (None, _) if uri.authority().is_some() => Ok(whole.clone()),
        (None, _) => return Ok(None),
    }
    .map_err(|_| malformed())?;
    Ok(Some(Uri::from(whole)))
}

/// Returns true if the body is compressed or otherwise encoded.
fn is_encoded(headers: &HeaderMap) -> bool {
    let has_other = |name: HeaderName, allowed: &str| {
        headers.get_all(name).iter().any(|value| {
            let mut codings = value.to_str().unwrap_or("?").split(',').map(str::trim);
            codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(allowed))
        })
    };
    has_other(header::CONTENT_ENCODING, "identity")
        || has_other(header::TRANSFER_ENCODING, "chunked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(target: &str, headers: &[(&'static str, &str)], body: &str) -> Result<String, u16> {
        let mut request = Request::new(body.to_owned());
        *request.uri_mut() = target.parse().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let checked = check(&mut request).and_then(|()| check_encoding(&request));
        checked.map_err(|problem| problem.status().as_u16())?;
        let host = request.headers()[header::HOST].to_str().unwrap();
        Ok(format!("{host} {}", request.uri()))
    }

    #[test]
    fn one_valid_host_is_required() {
        let with = |hosts: &[&'static str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            checked("/carts", &headers, "")
        };
        assert_eq!(with(&["shop:8088"]), Ok("shop:8088 /carts".into()));
        for invalid in
            [&["shop", "shop"][..], &["a", "b"], &[], &[":::"], &[""], &["a b"], &["a/b"]]
        {
            assert_eq!(with(invalid), Err(400), "{invalid:?}");
        }
        let shop = [("host", "other")];
        assert_eq!(checked("http://shop:1/carts", &shop, ""), Ok("shop:1 /carts".into()));
        assert_eq!(checked("http://shop:1", &shop, ""), Ok("shop:1 /".into()));
        assert_eq!(checked("http://u@shop/carts", &shop, ""), Err(400));
        assert_eq!(checked("http://shop/carts", &[], ""), Err(400));
    }

    #[test]
    fn one_slash_at_the_end_of_a_path_is_removed() {
        let path = |target: &str| checked(target, &[("host", "a")], "").unwrap();
        for (target, canonical) in [
            ("/", "/"),
            ("/carts/", "/carts"),
            ("/carts/1/?x=/", "/carts/1?x=/"),
            ("/carts/?", "/carts?"),
            ("//", "//"),
            ("/carts//", "/carts//"),
            ("*", "*"),
        ] {
            assert_eq!(path(target), format!("a {canonical}"));
        }
    }

    #[test]
    fn an_encoded_body_is_refused_unless_it_is_empty() {
        let with = |name, value, body| checked("/", &[("host", "a"), (name, value)], body).is_ok();
        for coding in ["gzip", "br", "x-gzip", "identity, gzip", "nonsense"] {
            assert!(!with("content-encoding", coding, "x"), "{coding}");
            assert!(with("content-encoding", coding, ""), "{coding}");
        }
        assert!(with("content-encoding", "Identity", "x") && with("content-encoding", "", "x"));
        assert!(with("transfer-encoding", "Chunked", "x"));
        assert!(!with("transfer-encoding", "gzip, chunked", "x"));
    }

    #[test]
    fn the_length_of_the_target_is_bounded() {
        let path =
            |length: usize| checked(&format!("/{}", "a".repeat(length - 1)), &[("host", "a")], "");
        assert!(path(URI_BYTES_MAX).is_ok());
        assert_eq!(path(URI_BYTES_MAX + 1), Err(414));
    }
}
