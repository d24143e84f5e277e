//! The gateway, stand-ins for the services behind it, and clients. Both ends speak bare TCP where a
//! client library would tidy up what a test is about.
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
use chassis::base::config::Listen;
use chassis::testing::peer;
use gateway::{Cors, GatewayConfig, Proxies};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The gateway with one stand-in for all four services.
pub(crate) async fn gateway(upstream: &str, origins: &[&'static str]) -> Running {
    behind(upstream, origins, &[]).await
}

/// The gateway behind proxies whose networks it trusts.
pub(crate) async fn behind(upstream: &str, origins: &[&'static str], proxies: &[&str]) -> Running {
    let upstream = upstream.to_owned();
    let trusted_proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
    let config = GatewayConfig {
        listen: Listen::free(),
        proxies: Proxies { trusted_proxies },
        cors: Cors { cors_origins: origins.iter().map(|o| HeaderValue::from_static(o)).collect() },
        gifticon_url: upstream.clone(),
        cart_url: upstream.clone(),
        payment_url: upstream.clone(),
        mypage_url: upstream,
    };
    gateway::start(config).unwrap()
}

/// A stand-in that answers what it was asked.
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

/// All values of a header that the mirror saw.
pub(crate) fn seen<'a>(mirrored: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mirrored["headers"].as_array().unwrap().iter();
    headers.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}

/// One end of a connection, byte by byte.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) read: String,
}

impl Wire {
    pub(crate) async fn to(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), read: String::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads more; false at the end.
    pub(crate) async fn more(&mut self) -> bool {
        let mut piece = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut piece)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing came after {:?}", self.read));
        let read = read.unwrap_or(0);
        self.read.push_str(&String::from_utf8_lossy(&piece[..read]));
        read > 0
    }

    pub(crate) async fn until(&mut self, text: &str) {
        while !self.read.contains(text) {
            assert!(self.more().await, "the end came before {text:?}: {:?}", self.read);
        }
    }

    /// The next message with a `content-length`; none at the end.
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

/// A stand-in that does with each connection what `serve` does.
pub(crate) async fn wires<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(Wire) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(Wire { stream, read: String::new() }));
        }
    });
    format!("http://{addr}")
}

/// Sends a message as it is and answers status, head in lower case, and body.
pub(crate) async fn raw(addr: SocketAddr, message: &str) -> (u16, String, Value) {
    let mut wire = Wire::to(addr).await;
    wire.send(message).await;
    let answer = wire.message().await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or_default())
}

/// Whether it is a problem of this kind.
pub(crate) async fn is_problem(answer: reqwest::Response, status: u16, slug: &str) -> Value {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], format!("/problems/{slug}"));
    assert_eq!(problem["status"], status);
    problem
}
