//! A connection of a client: its requests, error responses to invalid ones, and its end.

use crate::base::limits::{DRAIN_IDLE_TIMEOUT, HEAD_TIMEOUT};
use crate::http::broken_head::{head_problem, plain_http, salvaged};
use crate::http::head::{self, HeadLimits, InvalidHead};
use crate::http::language;
use crate::http::peer::{OverTls, PeerAddr};
use crate::http::socket::{Socket, Stream};
use crate::http::stream_end;
use crate::http::tls::{Opening, Tls};
use crate::http::transport::Transport;
use axum::Router;
use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;

/// Upper bound for the time that a client does not read its response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a closed connection is still read. Closing a socket with unread bytes resets the connection, and the client could
/// lose the response.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Upper bound for the bytes that are read within [`CLOSE_TIMEOUT`].
const CLOSE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Upper bound for what is read of plain HTTP at a port of HTTPS: enough for the line with its path and its language.
const PLAIN_HEAD_BYTES_MAX: usize = 4 * 1024;

/// The error for a request whose client disconnected before the response.
#[derive(Debug, thiserror::Error)]
#[error("the client went away")]
struct ClientDisconnected;

type Io = Pin<Box<TimeoutStream<Socket>>>;

/// Serves the requests of a connection until the client or `stop` ends it.
pub(super) async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    router: Router,
    limits: HeadLimits,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let transport = match tls {
        None => Transport::Plain(stream),
        Some(tls) => match tls.open_connection(stream, &stop).await {
            Some(Opening::Encrypted(stream)) => Transport::Encrypted(stream),
            Some(Opening::Plain(stream)) => return refuse_plain(stream, client, router).await,
            None => return,
        },
    };
    let is_encrypted = transport.is_encrypted();
    let stream = Stream::new(transport);
    let mut io = TimeoutStream::new(Socket::new(stream.clone()));
    io.set_write_timeout(Some(WRITE_TIMEOUT));
    let (app, client_stream) = (TowerToHyperService::new(router.clone()), stream.clone());
    let stopping = stop.clone();
    let streams = Arc::new(AtomicBool::new(false));
    let has_streamed = Arc::clone(&streams);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddr(client));
        if is_encrypted {
            request.extensions_mut().insert(OverTls);
        }
        if let Err(problem) = head::check(&mut request) {
            request.extensions_mut().insert(InvalidHead(problem));
        }
        let (handled, client_stream) = (app.call(request), client_stream.clone());
        let (stopping, streams) = (stopping.clone(), Arc::clone(&streams));
        async move {
            let mut response = tokio::select! {
                biased;
                Ok(response) = handled => response,
                () = client_stream.disconnected() => return Err(ClientDisconnected),
            };
            response = finished(response);
            if stopping.is_cancelled() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            if stream_end::is_event_stream(&response) {
                streams.store(true, Ordering::Relaxed);
                response = response.map(|body| stream_end::ending(body, stopping, client_stream));
            }
            Ok(response)
        }
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(limits.lines)
        .max_header_size(limits.bytes)
        .half_close(true) // `Stream::disconnected` ends the request of such a client
        .writev(false) // hyper then writes its own responses in one piece, which `Socket` can recognise
        .serve_connection(TokioIo::new(Box::pin(io)), service);
    let drain_idle = async {
        stop.cancelled().await;
        sleep(DRAIN_IDLE_TIMEOUT).await;
    };
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = drain_idle => {
            Pin::new(&mut served).graceful_shutdown();
            if has_streamed.load(Ordering::Relaxed) {
                // It has ended, unless the client does not read. A drain waits for requests, which end.
                let Ok(ended) = timeout(CLOSE_TIMEOUT, &mut served).await else { return };
                ended
            } else {
                (&mut served).await
            }
        }
    };
    let parts = served.into_parts();
    let mut io: Io = parts.io.into_inner();
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
        let socket = io.get_ref();
        if let Some(problem) = head_problem(&error, limits, socket.withheld(), &parts.read_buf) {
            // hyper drops a head that it parsed in part. Of a large head it has more than the socket.
            let (recent, unread) = (socket.recent(), &parts.read_buf[..]);
            let head = if unread.len() > recent.len() { unread } else { recent };
            let mut request = salvaged(head);
            request.extensions_mut().insert(PeerAddr(client));
            if is_encrypted {
                request.extensions_mut().insert(OverTls);
            }
            request.extensions_mut().insert(InvalidHead(problem));
            respond(&mut io, request, router).await;
        } else if error.is_user() {
            let _ = stream.reset(); // the response is truncated, or the client has disconnected
            return;
        }
    }
    close(&stream, &mut io).await;
}

/// Returns the response of the routes with what only the outside of the router can tell.
pub(super) fn finished(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        response.headers_mut().remove(header::ALLOW); // the router adds it for a path that matches without its id
    }
    head::allow_options(response.headers_mut());
    response = language::name_methods(response);
    if response.status() == StatusCode::NOT_MODIFIED {
        // axum sets it to 0, but here it would be the length of the resource (RFC 9110, 8.6).
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

/// Refuses the plain HTTP of a client that uses the port of HTTPS, and closes the connection.
async fn refuse_plain(stream: TcpStream, client: SocketAddr, router: Router) {
    let stream = Stream::new(Transport::Plain(stream));
    let mut io = TimeoutStream::new(Socket::new(stream.clone()));
    io.set_write_timeout(Some(CLOSE_TIMEOUT));
    let (mut io, mut head) = (Box::pin(io), vec![0; PLAIN_HEAD_BYTES_MAX]);
    let Ok(Ok(read @ 1..)) = timeout(CLOSE_TIMEOUT, io.read(&mut head)).await else { return };
    let mut request = salvaged(&head[..read]);
    request.extensions_mut().insert(PeerAddr(client));
    request.extensions_mut().insert(InvalidHead(plain_http()));
    respond(&mut io, request, router).await;
    close(&stream, &mut io).await;
}

/// Responds to `request` on a connection that hyper has given up.
async fn respond(io: &mut Io, request: Request<Body>, router: Router) {
    let is_head = request.method() == Method::HEAD;
    let Ok(response) = router.oneshot(request).await;
    let Some(bytes) = to_bytes(response, is_head).await else { return };
    let written = async {
        io.write_all(&bytes).await?;
        io.flush().await
    };
    if let Err(error) = written.await {
        debug!(%error, "a refusal could not be written");
    }
}

/// Returns the bytes of a response after which the connection is closed. `None` if its body fails.
async fn to_bytes(response: Response, is_head: bool) -> Option<Vec<u8>> {
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    // For HEAD the router has removed the body and set its length.
    parts.headers.entry(header::CONTENT_LENGTH).or_insert(body.len().into());
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    parts.headers.extend(HeaderValue::from_str(&date).ok().map(|date| (header::DATE, date)));
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    if !is_head {
        bytes.extend(body);
    }
    Some(bytes)
}

/// Closes a connection so that the client can read the response.
async fn close(stream: &Stream, io: &mut Io) {
    let Ok(Ok(())) = timeout(CLOSE_TIMEOUT, stream.shut_down()).await else { return };
    let read_rest = async {
        let (mut buffer, mut total) = (vec![0; 16 * 1024], 0);
        while let Ok(read @ 1..) = io.read(&mut buffer).await {
            total += read;
            if total > CLOSE_BYTES_MAX {
                break;
            }
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, read_rest).await;
}
