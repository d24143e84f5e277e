//! Clients that send nothing, or a byte a second: each connection is closed, and other clients are served meanwhile.

mod common;

use common::Shop;
use reqwest::{Client, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// Bound for the server to close a slow connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bound for the answer to a good client, on a busy machine of two cores.
const GOOD_REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

const NOTHING: &str = "";
const HEAD: &str = "GET /gifticons HTTP/1.1\r\nHost: shop\r\nX-Slow: ";
const BODY: &str = "POST /carts HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n\
                    Content-Length: 1000\r\n\r\n";
const CHUNKS: &str = "POST /carts HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n\
                      Transfer-Encoding: chunked\r\n\r\n";
const DONE: &str = "GET /gifticons HTTP/1.1\r\nHost: shop\r\n\r\n";

/// Sends `start`, and then `drip` each second until the server closes. Returns what the server sent.
async fn slow(mut stream: TcpStream, start: &str, drip: &[u8]) -> String {
    stream.write_all(start.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let (mut received, mut piece) = (Vec::new(), [0; 4096]);
    let mut second = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            read = reader.read(&mut piece) => match read {
                Ok(0) | Err(_) => return String::from_utf8_lossy(&received).into_owned(),
                Ok(read) => received.extend_from_slice(&piece[..read]),
            },
            // A failed write means that the server has closed, which the next read shows.
            _ = second.tick(), if !drip.is_empty() => drop(writer.write_all(drip).await),
        }
    }
}

/// Returns a client that opens a connection for each request.
fn unpooled_client() -> Client {
    let client = Client::builder().no_proxy().pool_max_idle_per_host(0);
    client.timeout(GOOD_REQUEST_TIMEOUT).build().unwrap()
}

/// Sends good requests, each on a new connection, until `done`. Returns their number and the slowest time.
async fn good_requests(gateway: String, done: Arc<AtomicBool>) -> (usize, Duration) {
    let client = unpooled_client();
    let (mut count, mut slowest) = (0, Duration::ZERO);
    let mut pace = interval(Duration::from_millis(50));
    while !done.load(Ordering::Relaxed) {
        let started = Instant::now();
        let answer = client.get(format!("{gateway}/gifticons")).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("after {count} good ones: {error:?}"));
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.text().await.unwrap().contains("Americano"));
        (count, slowest) = (count + 1, slowest.max(started.elapsed()));
        pace.tick().await;
    }
    (count, slowest)
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_closed_and_others_are_served_meanwhile() {
    let shop = Shop::start().await;
    shop.web.register(1, 100, 5000).await;
    let gateway: SocketAddr = shop.web.base.strip_prefix("http://").unwrap().parse().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let customer = tokio::spawn(good_requests(shop.web.base.clone(), Arc::clone(&done)));

    let mut clients = JoinSet::new();
    for (kind, count, start, drip) in [
        ("silent", 300, NOTHING, &b""[..]),
        ("slow with the head", 150, HEAD, b"x"),
        ("slow with the body", 150, BODY, b" "),
        ("slow with chunks", 25, CHUNKS, b"1\r\n \r\n"),
        ("silent in the body", 25, BODY, b""),
        ("silent after a good request", 25, DONE, b""),
    ] {
        for number in 1..=count {
            let stream = TcpStream::connect(gateway).await.unwrap();
            let client =
                async move { (kind, timeout(CLOSE_TIMEOUT, slow(stream, start, drip)).await) };
            clients.spawn(client);
            // An answer on a later connection shows that the server has accepted these. It cannot close a silent connection that
            // waits in the backlog.
            if number % 25 == 0 {
                let answer =
                    unpooled_client().get(format!("{}/gifticons", shop.web.base)).send().await;
                assert_eq!(answer.unwrap().status(), StatusCode::OK);
            }
        }
    }
    let (mut held, mut blamed) = (Vec::new(), Vec::new());
    while let Some(client) = clients.join_next().await {
        match client.unwrap() {
            (kind, Err(_)) => held.push(kind),
            (_, Ok(said)) if said.starts_with("HTTP/1.1 5") => blamed.push(said),
            (kind, Ok(said)) => {
                let good = kind == "silent after a good request";
                assert_eq!(said.starts_with("HTTP/1.1 200"), good, "{kind}: {said}");
            }
        }
    }
    done.store(true, Ordering::Relaxed);
    let (count, slowest) = customer.await.expect("good requests are answered all the time");
    println!("{count} good requests, the slowest took {slowest:?}");
    assert!(count > 50, "only {count} good requests were answered");
    assert!(held.is_empty(), "{} were not closed: {held:?}", held.len());
    assert!(
        blamed.is_empty(),
        "{} slow clients were answered with 5xx: {}",
        blamed.len(),
        blamed[0]
    );
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 0);
    shop.stop().await;
}

/// The shop runs on the one thread of this test, so it accepts nothing while the test connects: all connections must fit into the
/// backlog. A connection that does not fit is retried by TCP after a second or more.
#[tokio::test]
async fn the_backlog_of_the_listener_holds_a_burst_of_clients() {
    let shop = Shop::start().await;
    let gateway: SocketAddr = shop.web.base.strip_prefix("http://").unwrap().parse().unwrap();
    let mut connections = Vec::new();
    for number in 1..=500 {
        let client = std::net::TcpStream::connect_timeout(&gateway, Duration::from_millis(500));
        connections.push(client.unwrap_or_else(|error| panic!("connection {number}: {error}")));
    }
    shop.web.get("/gifticons").await;
    shop.stop().await;
}
