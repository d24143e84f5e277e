//! The gateway, stand-ins for the services behind it, and clients. Both ends use plain TCP where an HTTP library would
//! normalise the bytes that a test is about.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unused_async,
    reason = "each test binary uses a part of this, and starts things as it awaits others"
)]

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::routing::any;
use chassis::Running;
use chassis::base::config::{Auth, Listen, StreamsLimit, TlsFiles};
use chassis::testing::peer;
use gateway::services::Upstreams;
use gateway::{Cors, GatewayConfig, Proxies, SignInConfig};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// Upper bound for the wait for bytes.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(20);
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Returns a base URL where connections are refused, while the socket lives: it keeps the port from other tests of this process.
pub(crate) fn refusing() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}

/// Starts the gateway with one stand-in for all services.
pub(crate) async fn gateway(upstream: &str, origins: &[&'static str]) -> Running {
    behind(upstream, origins, &[]).await
}

/// Starts the gateway behind proxies in trusted networks.
pub(crate) async fn behind(upstream: &str, origins: &[&'static str], proxies: &[&str]) -> Running {
    start(upstream, origins, proxies, StreamsLimit::default(), TlsFiles::default())
}

/// Starts the gateway with a limit of its event streams.
pub(crate) async fn with_streams(upstream: &str, streams_max: usize) -> Running {
    start(upstream, &[], &[], StreamsLimit { streams_max }, TlsFiles::default())
}

/// Starts the gateway with a certificate.
pub(crate) async fn with_tls(upstream: &str, tls: TlsFiles) -> Running {
    start(upstream, &[], &[], StreamsLimit::default(), tls)
}

/// Starts the gateway with an issuer at which people sign in.
pub(crate) fn with_sign_in(upstream: &str, auth: Auth) -> Running {
    with_sign_in_by(upstream, auth, SignInConfig::default())
}

/// Starts the gateway as a client `pages` of an issuer, with these settings.
pub(crate) fn with_sign_in_by(upstream: &str, auth: Auth, sign_in: SignInConfig) -> Running {
    let sign_in = SignInConfig { oidc_client_id: Some("pages".into()), ..sign_in };
    let none = (StreamsLimit::default(), TlsFiles::default());
    gateway::start(GatewayConfig { auth, sign_in, ..config(upstream, &[], &[], none.0, none.1) })
        .unwrap()
}

/// Starts the gateway in the process of `cart`. The other services are at `upstream`, and cart is not.
pub(crate) fn beside_cart(cart: &Running, upstream: &str) -> Running {
    let config = config(upstream, &[], &[], StreamsLimit::default(), TlsFiles::default());
    gateway::start_beside(config, &BTreeMap::from([("cart", cart.local())])).unwrap()
}

fn start(
    upstream: &str,
    origins: &[&'static str],
    proxies: &[&str],
    streams: StreamsLimit,
    tls: TlsFiles,
) -> Running {
    gateway::start(config(upstream, origins, proxies, streams, tls)).unwrap()
}

fn config(
    upstream: &str,
    origins: &[&'static str],
    proxies: &[&str],
    streams: StreamsLimit,
    tls: TlsFiles,
) -> GatewayConfig {
    let trusted_proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
    GatewayConfig {
        listen: Listen::free(),
        tls,
        proxies: Proxies { trusted_proxies, ..Proxies::default() },
        cors: Cors { cors_origins: origins.iter().map(|o| HeaderValue::from_static(o)).collect() },
        upstreams: Upstreams::new(|_| upstream.to_owned()),
        streams,
        auth: Auth::open(),
        sign_in: SignInConfig::default(),
    }
}

/// Starts a stand-in that returns the request that it received, as JSON.
pub(crate) async fn mirror() -> String {
    peer(Router::new().fallback(any(async |request: Request| {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = request.headers().iter();
        let headers: Vec<_> =
            headers.map(|(name, value)| (name.to_string(), text(value))).collect();
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        axum::Json(json!({ "method": method, "uri": uri, "headers": headers, "bytes": body.len() }))
    })))
}

/// Returns the values of a header in a request that [`mirror`] received.
pub(crate) fn header_values<'a>(mirrored: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mirrored["headers"].as_array().unwrap().iter();
    headers.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}

/// A connection, by TCP unless it is told otherwise, and the bytes that were read but not used yet.
pub(crate) struct ByteStream<S = TcpStream> {
    pub(crate) tcp: S,
    pub(crate) read: String,
}

impl ByteStream {
    pub(crate) async fn to(addr: SocketAddr) -> Self {
        Self::on(TcpStream::connect(addr).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream<S> {
    pub(crate) fn on(stream: S) -> Self {
        Self { tcp: stream, read: String::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.tcp.write_all(text.as_bytes()).await.unwrap();
        self.tcp.flush().await.unwrap();
    }

    /// Reads more bytes. Returns false at the end of the stream.
    pub(crate) async fn more(&mut self) -> bool {
        let mut piece = [0; 4096];
        let read = timeout(READ_TIMEOUT, self.tcp.read(&mut piece)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing came after {:?}", self.read));
        let read = read.unwrap_or(0);
        self.read.push_str(&String::from_utf8_lossy(&piece[..read]));
        read > 0
    }

    /// Reads until `text` was received.
    pub(crate) async fn until(&mut self, text: &str) {
        while !self.read.contains(text) {
            assert!(self.more().await, "the end came before {text:?}: {:?}", self.read);
        }
    }

    /// Returns the next message, whose body has a `content-length`, or `None` at the end of the stream.
    pub(crate) async fn message(&mut self) -> Option<String> {
        loop {
            if let Some((head, rest)) = self.read.split_once("\r\n\r\n") {
                let length = head.to_ascii_lowercase();
                let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.map_or(0, |length| length.parse().unwrap());
                if rest.len() >= length {
                    let end = head.len() + 4 + length;
                    return Some(self.read.drain(..end).collect());
                }
            }
            if !self.more().await {
                return None;
            }
        }
    }
}

/// Starts a server that handles each connection with `serve`.
pub(crate) async fn byte_server<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(ByteStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(ByteStream { tcp, read: String::new() }));
        }
    });
    format!("http://{addr}")
}

/// Sends the bytes of `message`. Returns the status, the head in lower case, and the body as JSON.
pub(crate) async fn raw(addr: SocketAddr, message: &str) -> (u16, String, Value) {
    let mut stream = ByteStream::to(addr).await;
    stream.send(message).await;
    let answer = stream.message().await.expect("a response");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

/// Asserts that a response is a problem of this kind, and returns it.
pub(crate) async fn is_problem(answer: reqwest::Response, status: u16, slug: &str) -> Value {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], format!("/problems/{slug}"));
    assert_eq!(problem["status"], status);
    problem
}
