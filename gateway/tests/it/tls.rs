//! HTTPS at the gateway: requests, clients that are slow, silent or speak something else, the drain, and a new certificate.

use crate::common::{ByteStream, byte_server, mirror, raw, with_tls};
use axum::Router;
use axum::routing::any;
use chassis::testing::{TestCertificate, eventually, peer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A gateway with a certificate.
struct Https {
    gateway: chassis::Running,
    certificate: TestCertificate,
    dir: TempDir,
}

impl Https {
    async fn to(upstream: &str) -> Self {
        let (dir, certificate) = (tempfile::tempdir().unwrap(), TestCertificate::lasting());
        let gateway = with_tls(upstream, certificate.write(dir.path())).await;
        Self { gateway, certificate, dir }
    }

    async fn connect(&self) -> ByteStream<TlsStream<TcpStream>> {
        ByteStream::on(self.certificate.connect(self.gateway.addr()).await.unwrap())
    }
}

/// Returns the head in lower case and the body of a message.
fn parts(message: &str) -> (String, Value) {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn requests_over_one_connection_are_answered_and_links_say_https() {
    let https = Https::to(&mirror().await).await;
    assert!(https.gateway.url().starts_with("https://127.0.0.1:"));
    let mut stream = https.connect().await;
    for size in [0, 1, 60_000] {
        let body = "x".repeat(size);
        let ask = format!(
            "POST /carts HTTP/1.1\r\nHost: shop.example:1\r\nX-Forwarded-Proto: http\r\nContent-Length: {size}\r\n\r\n{body}"
        );
        stream.send(&ask).await;
        let (head, mirrored) = parts(&stream.message().await.unwrap());
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("\r\nstrict-transport-security: max-age=31536000"), "{head}");
        assert_eq!(mirrored["bytes"], size);
        let proto = crate::common::header_values(&mirrored, "x-forwarded-proto");
        assert_eq!(proto, ["https"]);
    }
    stream.send("GET / HTTP/1.1\r\nHost: shop.example:1\r\n\r\n").await;
    let (_, index) = parts(&stream.message().await.unwrap());
    let link = index["_links"]["carts"]["href"].as_str().unwrap();
    assert!(link.starts_with("https://shop.example:1/carts"), "{link}");
    stream.send("GET /carts HTTP/1.1\r\nHost: localhost:1\r\n\r\n").await;
    let (head, _) = parts(&stream.message().await.unwrap());
    assert!(!head.contains("strict-transport"), "it would bind every port of the machine: {head}");
    stream.send("GET /?\" HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    let (_, problem) = parts(&stream.message().await.unwrap());
    assert_eq!(problem["type"], "/problems/malformed");
    assert!(!stream.more().await, "the connection is closed after it");
}

#[tokio::test]
async fn curl_trusts_the_certificate_and_speaks_tls_1_2_too() {
    let https = Https::to(&mirror().await).await;
    let ca = https.dir.path().join("tls.crt");
    let url = format!("{}/carts", https.gateway.url());
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let mut curl = tokio::process::Command::new("curl");
        let version = version.split('=').collect::<Vec<_>>();
        curl.args(version).args([
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            "10",
            "-w",
            "\n%{http_version}",
        ]);
        let output = curl.arg("--cacert").arg(&ca).arg(&url).output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(r#""uri":"/carts""#) && text.ends_with("\n1.1"), "{text}");
    }
}

#[tokio::test]
async fn plain_http_is_told_what_the_port_takes() {
    let https = Https::to(&mirror().await).await;
    let addr = https.gateway.addr();
    let ask = "GET /carts HTTP/1.1\r\nHost: shop.example\r\nAccept-Language: ko\r\n\r\n";
    let (status, head, problem) = raw(addr, ask).await;
    assert_eq!((status, &problem["type"]), (400, &json!("/problems/malformed")));
    assert!(problem["detail"].as_str().unwrap().contains("https://로"), "{problem}");
    assert!(!head.contains("strict-transport-security"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    for other in ["\0\0\0\0", "\x16\x03\x01\x02\0garbage that is no handshake"] {
        let mut stream = ByteStream::to(addr).await;
        stream.send(other).await;
        while stream.more().await {}
    }
    let other = TestCertificate::lasting();
    assert!(other.connect(addr).await.is_err(), "nobody trusts another certificate");
    https.connect().await;
}

#[tokio::test]
async fn a_client_that_begins_no_handshake_holds_nobody_up() {
    let https = Https::to(&mirror().await).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut stream = ByteStream::to(https.gateway.addr()).await;
        if silent.len() % 2 == 0 {
            stream.tcp.write_all(b"\x16\x03\x01\x02").await.unwrap(); // the begin of a record
        }
        silent.push(stream);
    }
    let began = Instant::now();
    let mut stream = https.connect().await;
    stream.send("GET /carts HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert!(stream.message().await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    let began = Instant::now();
    https.gateway.stop(Duration::from_secs(20)).await;
    assert!(began.elapsed() < Duration::from_secs(8), "the drain took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_request_whose_client_is_gone_is_cancelled() {
    struct InHandler(Arc<AtomicUsize>);
    impl Drop for InHandler {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let upstream = any(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let _guard = InHandler(Arc::clone(&counted));
        std::future::pending::<()>().await;
    });
    let https = Https::to(&peer(Router::new().fallback(upstream))).await;
    for says_goodbye in [true, false] {
        let mut stream = https.connect().await;
        stream.send("GET /carts HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        let are = async |count| (requests.load(Ordering::Relaxed) == count).then_some(());
        eventually("the request to arrive", async || are(1).await).await;
        if says_goodbye {
            stream.tcp.shutdown().await.unwrap();
        }
        drop(stream);
        eventually("the request to be cancelled", async || are(0).await).await;
    }
}

#[tokio::test]
async fn an_event_stream_ends_with_its_client_and_between_two_events_in_a_drain() {
    let (ended, mut of_upstream) = tokio::sync::mpsc::channel(8);
    let upstream = byte_server(move |mut stream| {
        let ended = ended.clone();
        async move {
            stream.message().await.unwrap();
            stream.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n").await;
            while stream.more().await {}
            ended.send(()).await.unwrap();
        }
    })
    .await;
    let https = Https::to(&upstream).await;
    let open = async || {
        let mut stream = https.connect().await;
        stream.send("GET /mypages/stream HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        stream.until("data: 1\n\n").await;
        stream
    };
    drop(open().await);
    of_upstream.recv().await.unwrap();
    let mut stream = open().await;
    let end = async {
        stream.until("retry: 500\n\n\r\n0\r\n\r\n").await;
        while stream.more().await {}
    };
    tokio::join!(end, https.gateway.stop(Duration::from_secs(20)));
}

#[tokio::test]
async fn a_drain_finishes_requests_and_says_goodbye() {
    let (go, upstream) =
        (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (wait, arrived) = (Arc::clone(&go), Arc::clone(&upstream));
    let slow = peer(Router::new().fallback(any(async move || {
        arrived.notify_one();
        wait.notified().await;
        "x".repeat(1_000_000)
    })));
    let https = Https::to(&slow).await;
    let mut stream = https.connect().await;
    stream.send("GET /carts HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    upstream.notified().await;
    let answered = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        go.notify_one();
        let message = stream.message().await.unwrap();
        assert!(message.contains("connection: close") && message.len() > 1_000_000);
        // The client gets the alert that ends TLS. Without it, rustls returns an error in place of the end.
        let mut rest = [0];
        assert_eq!(tokio::io::AsyncReadExt::read(&mut stream.tcp, &mut rest).await.unwrap(), 0);
    };
    tokio::join!(answered, https.gateway.stop(Duration::from_secs(20)));
}

#[tokio::test]
async fn a_new_certificate_is_taken_within_seconds() {
    let https = Https::to(&mirror().await).await;
    let mut before = https.connect().await;
    let new = TestCertificate::lasting();
    new.write(https.dir.path());
    eventually("the new certificate", async || new.connect(https.gateway.addr()).await.ok()).await;
    assert!(https.certificate.connect(https.gateway.addr()).await.is_err());
    before.send("GET /carts HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert!(before.message().await.unwrap().starts_with("HTTP/1.1 200"), "connections stay");
}
