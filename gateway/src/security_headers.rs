//! The headers of every response that tell browsers what to refrain from.

use axum::extract::Request;
use axum::http::header::{REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// For a year, browsers call this host by HTTPS alone. Its subdomains may be somebody else's.
const HTTPS_ALONE: HeaderValue = HeaderValue::from_static("max-age=31536000");
const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");
/// Other sites do not learn from which page somebody came. The same as that of the pages.
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// Adds the headers to a response that lacks them. Runs after `X-Forwarded-*` of the request were replaced.
pub(crate) async fn add(request: Request, next: Next) -> Response {
    let https = is_https(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
    headers.entry(REFERRER_POLICY).or_insert(SAME_ORIGIN);
    if https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HTTPS_ALONE);
    } else {
        headers.remove(STRICT_TRANSPORT_SECURITY); // RFC 6797, 7.2
    }
    response
}

/// Returns true if the client used HTTPS, and not on its own machine: browsers would refuse plain HTTP to every other server
/// there, since they remember hosts without ports.
fn is_https(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let host = text("x-forwarded-host");
    let host = host.split(':').next().unwrap_or_default();
    text("x-forwarded-proto") == "https" && host != "localhost" && !host.ends_with(".localhost")
}
