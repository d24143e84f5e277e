//! The base URL that the client used, for links and `Location`.

use crate::base::uri::{has_port, is_host, is_port, is_prefix};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use std::convert::Infallible;

/// Scheme, host, port and path prefix as the client sees them, without a slash at the end.
///
/// They come from `X-Forwarded-*`, which the gateway sets and never forwards from a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Returns the absolute URL of `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Returns scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.0[..self.path_start()]
    }

    /// Returns `path`, which starts with a slash, as the client has to write it: behind the path prefix.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", &self.0[self.path_start()..])
    }

    /// Returns where the path prefix begins.
    fn path_start(&self) -> usize {
        let host = self.0.find("://").map_or(0, |scheme| scheme + 3);
        self.0[host..].find('/').map_or(self.0.len(), |slash| host + slash)
    }

    /// Returns the base URL of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        let first = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
            (!value.is_empty()).then_some(value)
        };
        let scheme = match first("x-forwarded-proto") {
            Some("https") => "https",
            _ => "http",
        };
        let host = |name| first(name).filter(|host| is_host(host));
        let host = host("x-forwarded-host").or_else(|| host(header::HOST.as_str()));
        let host = host.unwrap_or("localhost"); // HTTP/1.0 has no `Host`
        let default_port = if scheme == "https" { "443" } else { "80" };
        let port = match first("x-forwarded-port") {
            Some(port) if has_port(host) || port == default_port || !is_port(port) => String::new(),
            Some(port) => format!(":{port}"),
            None => String::new(),
        };
        let prefix = first("x-forwarded-prefix").filter(|prefix| is_prefix(prefix));
        let prefix = prefix.unwrap_or_default().trim_end_matches('/');
        Self(format!("{scheme}://{host}{port}{prefix}"))
    }
}

impl<S: Sync> FromRequestParts<S> for BaseUrl {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(pairs: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        BaseUrl::of(&headers).url("/carts/1")
    }

    #[test]
    fn links_have_the_host_that_the_client_used() {
        assert_eq!(base(&[("host", "cart:8080")]), "http://cart:8080/carts/1");
        assert_eq!(
            base(&[
                ("host", "cart:8080"),
                ("x-forwarded-host", "shop.example"),
                ("x-forwarded-proto", "https")
            ]),
            "https://shop.example/carts/1"
        );
        assert_eq!(
            base(&[("x-forwarded-host", "shop.example"), ("x-forwarded-port", "8088")]),
            "http://shop.example:8088/carts/1"
        );
        assert_eq!(
            base(&[("x-forwarded-host", "shop.example:1"), ("x-forwarded-port", "8088")]),
            "http://shop.example:1/carts/1"
        );
        assert_eq!(
            base(&[
                ("x-forwarded-host", "[::1]"),
                ("x-forwarded-port", "80"),
                ("x-forwarded-prefix", "/shop/")
            ]),
            "http://[::1]/shop/carts/1"
        );
    }

    #[test]
    fn a_base_url_is_its_origin_and_its_path() {
        let of = |url: &str| BaseUrl(url.to_owned());
        let (bare, prefixed) = (of("http://a:1"), of("https://a/x/y"));
        assert_eq!((bare.origin(), &*bare.path("/s")), ("http://a:1", "/s"));
        assert_eq!((prefixed.origin(), &*prefixed.path("/s")), ("https://a", "/x/y/s"));
    }

    #[test]
    fn an_invalid_header_does_not_change_links() {
        assert_eq!(base(&[("host", "a/../\"<b>")]), "http://localhost/carts/1");
        for prefix in ["evil", "//evil", "/a\"<b>", "/a b"] {
            assert_eq!(
                base(&[("host", "a"), ("x-forwarded-prefix", prefix)]),
                "http://a/carts/1",
                "{prefix}"
            );
        }
        for host in [":::", "a b", "a\"", "a:b", "[::1", "a@b", "a..b", "a:65536", ""] {
            let headers = [("host", "shop:1"), ("x-forwarded-host", host)];
            assert_eq!(base(&headers), "http://shop:1/carts/1", "{host}");
        }
    }
}
