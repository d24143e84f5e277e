//! Calls to other services.

use crate::base::limits::CLIENT_KEEP_ALIVE;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a process may take to say that it is ready.
const SAYS_SO: Duration = Duration::from_secs(2);

/// A client that keeps its connections for less long than our servers do, so that none is used while
/// it is being closed.
pub fn new() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .pool_idle_timeout(CLIENT_KEEP_ALIVE)
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Whether the process that listens at `addr` is ready.
pub(crate) async fn is_ready(addr: SocketAddr) -> bool {
    let Ok(client) = new() else { return false };
    let url = format!("http://{addr}/actuator/health/readiness");
    let answer = client.get(url).timeout(SAYS_SO).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
