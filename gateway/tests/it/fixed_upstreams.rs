//! OWASP API7 and API10: no request says where the gateway calls, and no answer of a service sends it elsewhere.

use crate::common::{ByteStream, byte_server, gateway, header_values, mirror, raw};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// A server that counts who comes.
struct Trap {
    /// `HOST:PORT`.
    host: String,
    visits: Arc<AtomicUsize>,
}

impl Trap {
    async fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let visits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&visits);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { host, visits }
    }
}

#[tokio::test]
async fn no_request_chooses_where_the_gateway_calls() {
    let (upstream, trap) = (mirror().await, Trap::set().await);
    let (gateway, evil) = (gateway(&upstream, &[]).await, &trap.host);
    let head = |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\n{lines}\r\n");
    let host = format!("Host: {evil}\r\n");
    let with = |line: String| format!("Host: shop\r\n{line}\r\n");
    let mut called = 0;
    for message in [
        head("/carts", &host),
        head(&format!("http://{evil}/carts"), &host),
        head(&format!("http://shop@{evil}/carts"), &host),
        head(&format!("//{evil}/carts"), &host),
        head(&format!("/carts/../../{evil}/"), &host),
        head(&format!("/carts/@{evil}"), &host),
        head(&format!("/carts/http://{evil}/"), &host),
        head(&format!("/carts?url=http://{evil}/&callback=http://{evil}/"), &host),
        head("/carts", &with(format!("X-Forwarded-Host: {evil}"))),
        head("/carts", &with(format!("Forwarded: host={evil};proto=http"))),
        head("/carts", &with(format!("X-Original-URL: http://{evil}/"))),
        head("/carts", &with(format!("X-Rewrite-URL: http://{evil}/"))),
        head("/carts", &with(format!("Referer: http://{evil}/"))),
        head("/carts", &with(format!("Origin: http://{evil}"))),
        format!("CONNECT {evil} HTTP/1.1\r\n{host}\r\n"),
    ] {
        let (status, _, mirrored) = raw(gateway.addr(), &message).await;
        if status == 200 {
            assert_eq!(header_values(&mirrored, "host"), [&upstream["http://".len()..]]);
            assert!(mirrored["uri"].as_str().unwrap().starts_with("/carts"), "{mirrored}");
            called += 1;
        } else {
            assert!((400..500).contains(&status), "{message}: {status}");
        }
    }
    assert!(called >= 8, "only {called} reached the service");
    assert_eq!(trap.visits.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_redirect_of_a_service_is_passed_on_and_not_followed() {
    let trap = Trap::set().await;
    let location = format!("http://{}/carts", trap.host);
    let answer = format!("HTTP/1.1 307 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let upstream = byte_server(move |mut stream: ByteStream| {
        let answer = answer.clone();
        async move {
            while stream.message().await.is_some() {
                stream.send(&answer).await;
            }
        }
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let (status, head, _) = raw(gateway.addr(), "GET /carts HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert_eq!(status, 307);
    assert!(head.contains(&location), "{head}");
    assert_eq!(trap.visits.load(Ordering::Relaxed), 0);
}
