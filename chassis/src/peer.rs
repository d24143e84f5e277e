//! Calls to other services.

use crate::http::KEPT_ALIVE;
use std::time::Duration;

/// A client that keeps its connections for less long than our servers do, so that none is used while
/// it is being closed.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .pool_idle_timeout(KEPT_ALIVE)
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
}
