//! The server loop. `axum::serve` has no read timeout: a silent client would hold its connection forever.

use crate::base::limits::{DRAIN_ACCEPT_MAX, DRAIN_QUIET_TIME};
use crate::http::head::HeadLimits;
use crate::http::tls::Tls;
use crate::http::{connection, handshake_filter, serving};
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Open connections; the server closes further ones at once. Each takes a few KiB and a file descriptor.
const CONNECTIONS_MAX: usize = 8_192;

/// Serves until `stop`. Requests in progress finish after this returns: `connections` is empty when they have.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HeadLimits,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    let (mut full, open) = (false, Arc::new(()));
    let mut handle = async |accepted: std::io::Result<(TcpStream, SocketAddr)>| match accepted {
        Ok((stream, client)) => {
            let was_full = std::mem::replace(&mut full, Arc::strong_count(&open) > CONNECTIONS_MAX);
            if !full {
                let guard = Arc::clone(&open);
                let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
                let runtime = serving::next_runtime();
                // It belongs to the runtime of the listener so far.
                let moved = stream.into_std().and_then(|stream| {
                    let _context = runtime.enter();
                    TcpStream::from_std(stream)
                });
                match moved {
                    Ok(stream) => {
                        let served = async move {
                            connection::serve(stream, client, router, limits, tls, stop).await;
                            drop(guard);
                        };
                        connections.spawn_on(served, runtime);
                    }
                    Err(error) => warn!(error = %error, "could not serve a connection"),
                }
            } else if !was_full {
                warn!(connections = CONNECTIONS_MAX, "too many connections; closing new ones");
            }
        }
        // Most likely out of file descriptors: wait until some are free.
        Err(error) => {
            warn!(error = %error, "could not accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        handle(accepted).await;
    }
    let deadline = Instant::now() + DRAIN_ACCEPT_MAX;
    while let Ok(accepted) =
        timeout_at(deadline.min(Instant::now() + DRAIN_QUIET_TIME), listener.accept()).await
    {
        handle(accepted).await;
    }
    if let Err(error) = handshake_filter::stop_handshakes(&listener).await {
        debug!(error = %error, "connections that open at this moment may be reset");
    }
    // Accept from the kernel directly: the runtime may not know yet of all connections in the queue.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, client)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        handle(stream.map(|stream| (stream, client))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Exposure;
    use axum::routing::get;
    use std::io::{ErrorKind, Read, Write};
    use std::{net, thread};

    /// Sends a request over a new connection. Returns `None` if nobody listens.
    fn request(addr: SocketAddr) -> Option<std::io::Result<String>> {
        let mut stream = match net::TcpStream::connect(addr) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return None,
            stream => stream.unwrap(),
        };
        if stream.local_addr().unwrap() == addr {
            return None; // the kernel connected the socket to itself, on the port that nobody listens on any more
        }
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = String::new();
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        Some(sent.and_then(|()| stream.read_to_string(&mut answer)).map(|_| answer))
    }

    /// Clients connect until the listener is closed. Each gets a response, or its connection is refused.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_connection_before_the_listener_closed_is_served() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        stop.cancel();
        let clients = (0..8).map(|_| {
            tokio::task::spawn_blocking(move || {
                let mut served = 0;
                while let Some(answer) = request(addr) {
                    assert!(answer.expect("the connection was reset").starts_with("HTTP/1.1 200"));
                    served += 1;
                    thread::sleep(Duration::from_millis(1)); // or they run out of ports
                }
                served
            })
        });
        let clients: Vec<_> = clients.collect();
        let router = Router::new().route("/", get(|| async {}));
        serve(listener, router, HeadLimits::of(Exposure::Public), None, stop, connections).await;
        for client in clients {
            assert!(client.await.unwrap() > 0);
        }
    }
}
