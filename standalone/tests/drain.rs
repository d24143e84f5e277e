//! SIGTERM: what runs is finished, nothing new is begun, and the process ends well (G8).

mod common;

use chassis::testing::eventually;
use common::process::Process;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_request_that_runs_is_finished_before_the_process_ends() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Process::start(dir.path(), &[]);
    shop.web.register(1, 10, 5000).await;
    let addr = shop.web.base.strip_prefix("http://").unwrap().to_owned();

    // Half a request: its body is on the way.
    let body = br#"{"gifticonId":1,"quantity":1}"#;
    let mut running = TcpStream::connect(&addr).await.unwrap();
    let head = format!(
        "POST /carts HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    running.write_all(head.as_bytes()).await.unwrap();
    running.write_all(&body[..5]).await.unwrap();
    // And one that says nothing: it must not hold the process up.
    let _silent = TcpStream::connect(&addr).await.unwrap();
    // Another customer is served, so the server has seen the first by now.
    shop.web.get("/gifticons/1").await;

    let ended = tokio::spawn(shop.terminate());
    eventually("the door to close", async || TcpStream::connect(&addr).await.err()).await;
    running.write_all(&body[5..]).await.unwrap();
    let mut answer = String::new();
    running.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let began = Instant::now();
    assert!(ended.await.unwrap().success(), "exit 0");
    assert!(began.elapsed() < Duration::from_secs(5), "with nothing left to do it ends at once");

    // What was answered is there.
    let shop = Process::start(dir.path(), &[]);
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 1);
    shop.kill();
}
