//! The HTTP client for calls to other services.

use crate::base::config::ServiceToken;
use crate::base::limits::CLIENT_KEEP_ALIVE;
use crate::http::access::SERVICE_TOKEN;
use axum::http::{HeaderMap, HeaderValue};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Upper bound for the response of a readiness probe.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns a client that drops idle connections before our servers close them, so that it never sends into a connection
/// that is being closed.
pub fn new() -> reqwest::Result<reqwest::Client> {
    builder().build()
}

/// Returns the same for calls to services that take a token from services.
pub fn of_service(token: &ServiceToken) -> anyhow::Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    if let Some(tokens) = &token.service_token {
        let mut value = HeaderValue::from_str(tokens.first())?;
        value.set_sensitive(true);
        headers.insert(SERVICE_TOKEN, value);
    }
    Ok(builder().default_headers(headers).build()?)
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .pool_idle_timeout(CLIENT_KEEP_ALIVE)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

/// Returns true if a process is ready, whose readiness is at `url`.
pub(crate) async fn is_ready(url: &str) -> bool {
    let Ok(client) = new() else { return false };
    let response = client.get(url).timeout(READINESS_TIMEOUT).send().await;
    response.is_ok_and(|response| response.status().is_success())
}
