//! Event streams through the gateway.

use crate::common::{ByteStream, byte_server, gateway, is_problem, raw};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::sleep;

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Starts a stand-in that sends the pieces of `pieces` to each stream, as chunks. Then it waits for more.
async fn upstream(pieces: &'static [&'static str]) -> String {
    byte_server(move |mut stream| async move {
        stream.message().await.unwrap();
        stream.send(HEAD).await;
        for piece in pieces {
            stream.send(&format!("{:x}\r\n{piece}\r\n", piece.len())).await;
            sleep(Duration::from_millis(100)).await;
        }
        stream.more().await;
    })
    .await
}

async fn open(addr: std::net::SocketAddr) -> ByteStream {
    let mut stream = ByteStream::to(addr).await;
    stream.send("GET /mypages/stream HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    stream
}

#[tokio::test]
async fn a_drain_ends_a_stream_between_two_events() {
    let upstream = upstream(&["data: 1\n\n", "data: 2\n", "\n", "data: 3\n\n"]).await;
    let gateway = gateway(&upstream, &[]).await;
    let mut stream = open(gateway.addr()).await;
    stream.until("data: 3").await;
    let began = Instant::now();
    let (text, ()) = tokio::join!(
        async {
            stream.until("0\r\n\r\n").await;
            stream.read
        },
        gateway.stop(Duration::from_secs(20))
    );
    assert!(text.ends_with("data: 3\n\n\r\nC\r\nretry: 500\n\n\r\n0\r\n\r\n"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(8), "the drain took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_in_the_middle_of_an_event_is_ended_after_it() {
    let (finish, gate) = mpsc::channel::<()>(1);
    let gate = std::sync::Arc::new(tokio::sync::Mutex::new(gate));
    let upstream = byte_server(move |mut stream| {
        let gate = std::sync::Arc::clone(&gate);
        async move {
            stream.message().await.unwrap();
            stream.send(HEAD).await;
            stream.send("6\r\ndata: \r\n").await;
            gate.lock().await.recv().await.unwrap();
            stream.send("3\r\n1\n\n\r\n").await;
            stream.more().await;
        }
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let mut stream = open(gateway.addr()).await;
    stream.until("data: ").await;
    let end = async {
        sleep(Duration::from_millis(2_500)).await; // after each stream would have ended
        finish.send(()).await.unwrap();
        stream.until("0\r\n\r\n").await;
        stream.read
    };
    let (text, ()) = tokio::join!(end, gateway.stop(Duration::from_secs(20)));
    assert!(text.ends_with("3\r\n1\n\n\r\nC\r\nretry: 500\n\n\r\n0\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_hold_up_a_drain() {
    let upstream = byte_server(|mut stream| async move {
        stream.message().await.unwrap();
        stream.send(HEAD).await;
        let piece = format!("data: {}\n\n", "x".repeat(60_000));
        while stream.read.is_empty() {
            let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
            let sent = tokio::io::AsyncWriteExt::write_all(&mut stream.tcp, chunk.as_bytes()).await;
            if sent.is_err() {
                return;
            }
        }
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let stream = open(gateway.addr()).await;
    sleep(Duration::from_secs(1)).await; // all buffers are full
    let began = Instant::now();
    gateway.stop(Duration::from_secs(20)).await;
    assert!(began.elapsed() < Duration::from_secs(8), "the drain took {:?}", began.elapsed());
    drop(stream);
}

#[tokio::test]
async fn the_permits_of_streams_are_free_again_when_either_side_ends() {
    let upstream = upstream(&["data: 1\n\n"]).await;
    let gateway = crate::common::with_streams(&upstream, 1).await;
    let mut stream = open(gateway.addr()).await;
    stream.until("data: 1").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let refused = client.get(format!("{}/live/stream", gateway.url())).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "5");
    is_problem(refused, 503, "unavailable").await;
    drop(stream);
    chassis::testing::eventually("a stream to be free", async || {
        let mut stream = open(gateway.addr()).await;
        stream.more().await;
        stream.read.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn figures_show_services_that_do_not_answer() {
    let gateway = gateway("http://127.0.0.1:1", &[]).await;
    let get = "GET /live/figures HTTP/1.1\r\nHost: shop\r\n\r\n";
    let (status, head, figures) = raw(gateway.addr(), get).await;
    assert!(status == 200 && head.contains("cache-control: no-store"), "{head}");
    let down = |name: &str| serde_json::json!({ "service": name, "up": false });
    let services = ["gifticon", "cart", "payment", "mypage"].map(down);
    assert_eq!(figures, serde_json::json!({ "cartsPerSecond": null, "services": services }));
}
