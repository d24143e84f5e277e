//! SIGTERM: running requests finish, new ones are refused, and the exit code is 0 (G8).

mod common;

use chassis::testing::eventually;
use common::process::Process;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Checks that a proxy sees readiness go down and loses no request: the listener accepts for a while yet, and idle
/// connections stay open until their clients use them.
#[tokio::test]
async fn readiness_goes_down_before_the_listener_closes() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Process::start(dir.path(), &[]);
    let web = shop.web.clone();
    web.register(1, 1_000_000, 5000).await; // leaves an idle connection
    // Several clients, so that some ask within the short time between the two states.
    let (mut fronts, up) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..8 {
        let (web, up) = (web.clone(), Arc::clone(&up));
        fronts.spawn(async move {
            let mut down = 0;
            loop {
                let url = format!("{}/actuator/health/readiness", web.base);
                match web.client.get(url).send().await {
                    Ok(answer) if answer.status() == 200 => drop(up.fetch_add(1, Relaxed)),
                    Ok(answer) => {
                        assert_eq!(answer.status(), 503);
                        assert_eq!(
                            answer.headers()["connection"],
                            "close",
                            "the client must open another connection"
                        );
                        down += 1;
                    }
                    Err(error) => {
                        assert!(error.is_connect(), "a request was lost: {error:?}");
                        return down;
                    }
                }
                match web.add(1, 1, None).await {
                    Ok((status, body)) => assert_eq!(status, 201, "{body}"),
                    Err(error) => assert!(error.is_connect(), "a request was lost: {error:?}"),
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
    }
    eventually("the fronts to be served", async || (up.load(Relaxed) > 8).then_some(())).await;
    let ended = tokio::spawn(shop.terminate());
    let down: usize = fronts.join_all().await.into_iter().sum();
    assert!(down > 0, "no client saw readiness go down");
    assert!(ended.await.unwrap().success(), "exit 0");
}

#[tokio::test]
async fn the_option_healthy_reports_whether_the_process_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Process::start(dir.path(), &[]);
    let addr = shop.web.base.strip_prefix("http://").unwrap().to_owned();
    let ask = || {
        let ask = [format!("--gateway-addr={addr}"), "--healthy".into()];
        Command::new(env!("CARGO_BIN_EXE_standalone")).args(ask).status().unwrap().code()
    };
    assert_eq!(ask(), Some(0));
    shop.kill();
    assert_eq!(ask(), Some(1));
}

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
    // And a silent connection, which must not delay the end.
    let _silent = TcpStream::connect(&addr).await.unwrap();
    // This answer shows that the server has read what was sent before.
    shop.web.get("/gifticons/1").await;

    let ended = tokio::spawn(shop.terminate());
    eventually("the listener to close", async || TcpStream::connect(&addr).await.err()).await;
    running.write_all(&body[5..]).await.unwrap();
    let mut answer = String::new();
    running.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let began = Instant::now();
    assert!(ended.await.unwrap().success(), "exit 0");
    assert!(began.elapsed() < Duration::from_secs(5), "an idle process ends at once");

    // The cart that was answered is there.
    let shop = Process::start(dir.path(), &[]);
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 1);
    shop.kill();
}

/// Sends half of `POST /carts`, and returns the connection and the other half.
async fn half_a_request(shop: &Process) -> (TcpStream, &'static [u8]) {
    let body = br#"{"gifticonId":1,"quantity":1}"#;
    let addr = shop.web.base.strip_prefix("http://").unwrap();
    let mut running = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST /carts HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    running.write_all(head.as_bytes()).await.unwrap();
    running.write_all(&body[..5]).await.unwrap();
    shop.web.get("/gifticons/1").await; // the server has read the first half by now
    (running, &body[5..])
}

#[tokio::test]
async fn a_signal_that_comes_twice_at_once_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Process::start(dir.path(), &[]);
    shop.web.register(1, 10, 5000).await;
    let (mut running, rest) = half_a_request(&shop).await;
    shop.signal("-TERM");
    sleep(Duration::from_millis(50)).await; // pending signals of one number are merged by the kernel
    shop.signal("-TERM");
    sleep(Duration::from_millis(200)).await; // time to end, if the second signal were not ignored
    running.write_all(rest).await.unwrap();
    let mut answer = String::new();
    running.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(shop.ended(Duration::from_secs(25)).await.success(), "exit 0");
}

#[tokio::test]
async fn a_second_signal_after_a_second_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Process::start(dir.path(), &[]);
    shop.web.register(1, 10, 5000).await;
    let (_running, _) = half_a_request(&shop).await;
    shop.signal("-TERM");
    sleep(Duration::from_millis(1_500)).await; // a second signal counts after a second
    shop.signal("-TERM");
    let began = Instant::now();
    assert_eq!(shop.ended(Duration::from_secs(25)).await.code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
}
