//! The server loop. `axum::serve` has no read timeouts, so that clients who say nothing would hold
//! their connections for ever.

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// How long a client may take for the head of a request, also after the one before: longer than
/// [`KEPT_ALIVE`], so that our own clients never send into a connection that is being closed.
const HEAD: Duration = Duration::from_secs(15);
/// How long our own clients keep an idle connection.
pub const KEPT_ALIVE: Duration = Duration::from_secs(5);

/// Serves until `stop`, then lets running requests finish: `connections` is empty when they have.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, client)) => {
                connections.spawn(connection(stream, client, router.clone(), stop.clone()));
            }
            // Out of file descriptors, most likely: those in use will be free again.
            Err(error) => {
                warn!(error = %error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Who is at the other end of the connection, in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub SocketAddr);

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    router: Router,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Client(client));
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(error = %error, "a connection ended early");
    }
}
