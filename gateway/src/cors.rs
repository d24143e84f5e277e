//! CORS: which web pages of other origins may call the shop.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use chassis::base::uri::is_host;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// The CORS settings.
#[derive(Clone, Debug, clap::Args)]
pub struct Cors {
    /// Origins whose pages may call with credentials, as https://HOST,https://HOST; unset allows any, without credentials
    #[arg(long, env, value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<HeaderValue>,
}

/// Reads an origin: scheme, host and optional port.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let text = text.trim();
    let host = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if !host.is_ascii() => {
            Err("browsers send the host of an origin in punycode: write it as they do, as https://xn--hy1b43d.example"
                .into())
        }
        Some(host) if is_host(host) && !host.ends_with(':') => {
            text.parse().map_err(|_| "an origin has no control characters".to_owned())
        }
        _ => {
            Err("an origin looks like https://shop.example or http://localhost:3000; leave CORS_ORIGINS unset to allow any"
                .into())
        }
    }
}

/// Returns the CORS layer. It never allows any origin together with credentials.
pub(crate) fn layer(cors: Cors) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::ACCEPT,
            header::ACCEPT_LANGUAGE,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("x-request-id"),
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(Duration::from_mins(10));
    if cors.cors_origins.is_empty() {
        layer.allow_origin(AllowOrigin::any())
    } else {
        layer.allow_origin(AllowOrigin::list(cors.cors_origins)).allow_credentials(true)
    }
}

/// Marks an `OPTIONS` that is no preflight, in the extensions of the request.
#[derive(Clone)]
struct PlainOptions;

/// Disguises an `OPTIONS` that is no preflight as a `GET`: the CORS layer would answer it instead of the service.
pub(crate) fn hide_options(mut request: Request) -> Request {
    let headers = request.headers();
    let preflight = headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && !preflight {
        *request.method_mut() = Method::GET;
        request.extensions_mut().insert(PlainOptions);
    }
    request
}

/// Undoes [`hide_options`]. Runs inside the CORS layer.
pub(crate) fn show_options(mut request: Request) -> Request {
    if request.extensions_mut().remove::<PlainOptions>().is_some() {
        *request.method_mut() = Method::OPTIONS;
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_pattern_and_no_path() {
        assert!(origin("https://shop.example").is_ok());
        assert!(origin(" http://localhost:3000").is_ok());
        for invalid in [
            "https://a:99999",
            "https://a:",
            "https://가게.example",
            "https://a b",
            "https://u@a",
            "",
            "*",
            "https://*",
            "https://*.example",
            "shop.example",
            "https://a/b",
            "ftp://a",
        ] {
            assert!(origin(invalid).is_err(), "{invalid} was accepted");
        }
    }
}
