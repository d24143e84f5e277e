//! The server loop. `axum::serve` has no read timeouts, so that clients who say nothing would hold
//! their connections for ever.

use crate::base::limits::{DRAIN_ACCEPT_MAX, DRAIN_QUIET_TIME};
use crate::http::head::HeadLimits;
use crate::http::{connection, handshake_filter};
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Connections at once: beyond this, new ones are closed. Each costs a few KiB, and a file descriptor.
const CONNECTIONS: usize = 8_192;

/// Serves until `stop`, then lets running requests finish: `connections` is empty when they have.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HeadLimits,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    let (mut full, open) = (false, Arc::new(()));
    let mut take = async |accepted: std::io::Result<(TcpStream, SocketAddr)>| match accepted {
        Ok((stream, client)) => {
            let was_full = std::mem::replace(&mut full, Arc::strong_count(&open) > CONNECTIONS);
            if !full {
                let (one, served) = (
                    Arc::clone(&open),
                    connection::serve(stream, client, router.clone(), limits, stop.clone()),
                );
                connections.spawn(async move {
                    served.await;
                    drop(one);
                });
            } else if !was_full {
                warn!(connections = CONNECTIONS, "too many connections; closing new ones");
            }
        }
        // Out of file descriptors, most likely: those in use will be free again.
        Err(error) => {
            warn!(error = %error, "could not accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        take(accepted).await;
    }
    let last = Instant::now() + DRAIN_ACCEPT_MAX;
    while let Ok(accepted) =
        timeout_at(last.min(Instant::now() + DRAIN_QUIET_TIME), listener.accept()).await
    {
        take(accepted).await;
    }
    if let Err(error) = handshake_filter::shut(&listener).await {
        debug!(error = %error, "who comes in this moment may be cut");
    }
    // The kernel is asked, since the runtime may not have heard of all who wait.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, client)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        take(stream.map(|stream| (stream, client))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Exposure;
    use axum::routing::get;
    use std::io::{ErrorKind, Read, Write};
    use std::{net, thread};

    /// Asks over a connection of its own; nothing when nobody listens.
    fn ask(addr: SocketAddr) -> Option<std::io::Result<String>> {
        let mut stream = match net::TcpStream::connect(addr) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return None,
            stream => stream.unwrap(),
        };
        if stream.local_addr().unwrap() == addr {
            return None; // the kernel gave it the very port that nobody listens on any more, and so itself
        }
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = String::new();
        let asked = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        Some(asked.and_then(|()| stream.read_to_string(&mut answer)).map(|_| answer))
    }

    /// Clients who keep coming until the door is closed: each is served, or refused at the door.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_got_in_before_the_door_closed_is_served() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        stop.cancel();
        let clients = (0..8).map(|_| {
            tokio::task::spawn_blocking(move || {
                let mut served = 0;
                while let Some(answer) = ask(addr) {
                    assert!(answer.expect("cut").starts_with("HTTP/1.1 200"));
                    served += 1;
                    thread::sleep(Duration::from_millis(1)); // or they run out of ports
                }
                served
            })
        });
        let clients: Vec<_> = clients.collect();
        let router = Router::new().route("/", get(|| async {}));
        serve(listener, router, HeadLimits::of(Exposure::Public), stop, connections).await;
        for client in clients {
            assert!(client.await.unwrap() > 0);
        }
    }
}
