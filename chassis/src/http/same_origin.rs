//! Tells requests that pages of other sites send from our own.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::base::uri::is_loopback;
use crate::http::base_url::BaseUrl;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

/// Returns true if one of our own pages sent the request, or a client that is no browser. Browsers say where a request
/// comes from: in `Sec-Fetch-Site` or, over plain HTTP, in `Origin`. Schemes are not compared, because a proxy that ends TLS
/// may not be trusted to say so.
pub fn is_same_origin(headers: &HeaderMap, ours: &str) -> bool {
    let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = value("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let host = |origin: &str| origin.split_once("://").map(|(_, host)| host.to_ascii_lowercase());
    match value("origin") {
        Some(theirs) => host(theirs).is_some_and(|theirs| Some(theirs) == host(ours)),
        None => true,
    }
}

/// Refuses a request that a page of another site may have made the operator's browser send. On loopback it also refuses a host
/// that is no name of this machine: a site can make its own name mean this machine, and is then the same origin (DNS rebinding).
///
/// # Errors
/// 403, with what to do instead.
pub(super) fn check_operator(headers: &HeaderMap, loopback: bool) -> Result<(), Problem> {
    if !is_same_origin(headers, BaseUrl::of(headers).origin()) {
        return Err(cross_site(
            "a page of another site sent this; use curl, or type the address into the browser",
            "다른 사이트의 페이지에서 보낸 요청입니다. curl을 쓰거나 주소를 직접 입력해 주세요",
        ));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    if loopback && !host.is_some_and(|host| is_loopback(host.host())) {
        return Err(cross_site(
            "this address is for its own machine; call it as 127.0.0.1, [::1] or localhost",
            "이 주소는 이 컴퓨터에서만 쓸 수 있습니다. 127.0.0.1, [::1] 또는 localhost로 호출해 주세요",
        ));
    }
    Ok(())
}

fn cross_site(english: &'static str, korean: &'static str) -> Problem {
    Problem::new(kind::CROSS_SITE, Text::fixed(english, korean))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    type Pairs = [(&'static str, &'static str)];

    fn headers(pairs: &Pairs) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_request_of_another_site_is_told_by_its_headers() {
        let is_ours = |pairs: &Pairs| is_same_origin(&headers(pairs), "http://shop.example:8088");
        for ours in [
            &[][..],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://proxy.example")],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://shop.example:8088")],
            &[("origin", "https://SHOP.example:8088")],
        ] {
            assert!(is_ours(ours), "{ours:?}");
        }
        for other in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site"), ("origin", "http://shop.example:8088")],
            &[("origin", "null")],
            &[("origin", "http://shop.example")],
            &[("origin", "http://evil.example:8088")],
            &[("origin", "")],
        ] {
            assert!(!is_ours(other), "{other:?}");
        }
    }

    #[test]
    fn on_loopback_an_operator_names_this_machine() {
        for (host, on_loopback, elsewhere) in [
            (&[("host", "127.0.0.1:9082")][..], true, true),
            (&[("host", "localhost")], true, true),
            (&[("host", "[::1]:9082")], true, true),
            (&[("host", "rebound.example:9082")], false, true),
            (&[("host", "10.1.2.3:9080")], false, true),
            (&[("host", "rebound.example"), ("x-forwarded-host", "localhost")], false, true),
            (&[], false, true),
        ] {
            let headers = headers(host);
            let taken = |loopback| check_operator(&headers, loopback).is_ok();
            assert_eq!((taken(true), taken(false)), (on_loopback, elsewhere), "{host:?}");
        }
    }
}
