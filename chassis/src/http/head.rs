//! What every server of ours asks of the head of a request, before any route sees it.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::base::uri::is_host;
use crate::http::context::Exposure;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method, Request, Uri, Version};
use http_body::Body;

/// The longest target of a request, in bytes.
pub(super) const URI_BYTES: usize = 32 * 1024;
/// How large the head of a request may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// The most header lines.
    pub(super) lines: usize,
    /// The most bytes of all of it.
    pub(super) bytes: usize,
}

impl HeadLimits {
    /// What customers may send.
    const PUBLIC: Self = Self { lines: 100, bytes: 64 * 1024 };
    /// The same and room for what the gateway adds: whom it heard, where that one called, an id, a trace, a budget.
    const INTERNAL: Self = Self { lines: 116, bytes: 72 * 1024 };

    /// Returns those of a process that faces `facing`.
    pub(crate) fn of(facing: Exposure) -> Self {
        match facing {
            Exposure::Public => Self::PUBLIC,
            Exposure::Internal => Self::INTERNAL,
        }
    }
}

/// The methods that our servers have for one path or another.
pub(super) const METHODS: HeaderValue =
    HeaderValue::from_static("GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS");

/// A request that is refused before its route, in its extensions: the layers answer it like any other,
/// with its id, its metrics and its line.
#[derive(Clone)]
pub(super) struct Refused(pub(super) Problem);

/// Checks a head, and puts it in the one form that the routes know: a target that starts with a slash
/// and does not end with one, and the host that the client called in `Host`.
pub(super) fn check<B>(request: &mut Request<B>) -> Result<(), Problem> {
    let length = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if length > URI_BYTES {
        return Err(uri_too_long());
    }
    host(request)?;
    if request.method() == Method::CONNECT && !request.uri().path().starts_with('/') {
        return Err(Problem::of(kind::METHOD).header(header::ALLOW, METHODS));
    }
    if let Some(uri) = canonical(request.uri())? {
        *request.uri_mut() = uri;
    }
    Ok(())
}

/// Refuses a body that is compressed or otherwise encoded.
pub(super) fn check_encoding<B: Body>(request: &Request<B>) -> Result<(), Problem> {
    if request.body().is_end_stream() || !is_encoded(request.headers()) {
        return Ok(());
    }
    Err(Problem::of(kind::ENCODING)
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")))
}

/// Adds `OPTIONS` to the methods that an answer says are allowed: it is, on every path that is there.
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

/// The refusal of a target that is longer than [`URI_BYTES`].
pub(super) fn uri_too_long() -> Problem {
    let (en, ko) = (
        format!("a path with its query has at most {URI_BYTES} bytes"),
        format!("경로와 쿼리는 {URI_BYTES}바이트 이하여야 합니다"),
    );
    Problem::new(kind::URI_TOO_LONG, Text::new(en, ko))
}

/// The refusal of a head that is larger than `limits`.
pub(super) fn headers_too_large(limits: HeadLimits) -> Problem {
    let (lines, kib) = (limits.lines, limits.bytes / 1024);
    let (en, ko) = (
        format!("a request has at most {lines} header lines, and {kib} KiB of them"),
        format!("헤더는 {lines}줄, {kib} KiB 이하여야 합니다"),
    );
    Problem::new(kind::HEADERS_TOO_LARGE, Text::new(en, ko))
}

/// RFC 9112, 3.2: one valid `Host`, which HTTP/1.0 may leave out. An authority in the target wins.
fn host<B>(request: &mut Request<B>) -> Result<(), Problem> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    let (host, more) = (lines.next(), lines.next());
    let valid = match host {
        Some(host) => host.to_str().is_ok_and(is_host) && more.is_none(),
        None => request.version() < Version::HTTP_11,
    };
    let authority = request.uri().authority();
    if !valid || authority.is_some_and(|authority| !is_host(authority.as_str())) {
        return Err(Problem::of(kind::BAD_HOST));
    }
    let named = authority.and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(named) = named {
        request.headers_mut().insert(header::HOST, named);
    }
    Ok(())
}

/// `uri` as the routes know it: without an authority, and without a slash at its end. None where it is
/// that already.
fn canonical(uri: &Uri) -> Result<Option<Uri>, Problem> {
    let unreadable = || {
        let text = "the target of a request is a path that starts with a slash";
        Problem::new(kind::MALFORMED, Text::fixed(text, "요청 경로는 슬래시로 시작해야 합니다"))
    };
    let whole = uri.path_and_query().ok_or_else(unreadable)?;
    // More than one slash at the end is another path, which is not there.
    let path = uri.path();
    let shorter = path.strip_suffix('/').filter(|path| !path.is_empty() && !path.ends_with('/'));
    let whole: PathAndQuery = match (shorter, uri.query()) {
        (Some(path), Some(query)) => format!("{path}?{query}").parse(),
        (Some(path), None) => path.parse(),
        (None, _) if uri.authority().is_some() => Ok(whole.clone()),
        (None, _) => return Ok(None),
    }
    .map_err(|_| unreadable())?;
    Ok(Some(Uri::from(whole)))
}

/// Whether a body is compressed or otherwise encoded. None of our servers reads that.
fn is_encoded(headers: &HeaderMap) -> bool {
    let any_but = |name: HeaderName, plain: &str| {
        headers.get_all(name).iter().any(|value| {
            let mut codings = value.to_str().unwrap_or("?").split(',').map(str::trim);
            codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(plain))
        })
    };
    any_but(header::CONTENT_ENCODING, "identity") || any_but(header::TRANSFER_ENCODING, "chunked")
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
    fn a_host_is_there_once_and_valid() {
        let with = |hosts: &[&'static str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            checked("/carts", &headers, "")
        };
        assert_eq!(with(&["shop:8088"]), Ok("shop:8088 /carts".into()));
        for wrong in [&["shop", "shop"][..], &["a", "b"], &[], &[":::"], &[""], &["a b"], &["a/b"]]
        {
            assert_eq!(with(wrong), Err(400), "{wrong:?}");
        }
        let shop = [("host", "other")];
        assert_eq!(checked("http://shop:1/carts", &shop, ""), Ok("shop:1 /carts".into()));
        assert_eq!(checked("http://shop:1", &shop, ""), Ok("shop:1 /".into()));
        assert_eq!(checked("http://u@shop/carts", &shop, ""), Err(400));
        assert_eq!(checked("http://shop/carts", &[], ""), Err(400));
    }

    #[test]
    fn one_slash_at_the_end_of_a_path_does_not_count() {
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
    fn a_body_that_is_encoded_is_refused_and_an_empty_one_is_not() {
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
    fn a_target_has_an_end() {
        let path =
            |length: usize| checked(&format!("/{}", "a".repeat(length - 1)), &[("host", "a")], "");
        assert!(path(URI_BYTES).is_ok());
        assert_eq!(path(URI_BYTES + 1), Err(414));
    }
}
