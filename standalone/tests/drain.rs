//! SIGTERM: what runs is finished, nothing new is begun, and the process ends well (G8).

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

/// Whoever stands in front sees readiness go down, and loses no request over it: connections are taken
/// for a while yet, and those that idle are left to their clients.
#[tokio::test]
async fn readiness_goes_down_before_the_door_closes() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Process::start(dir.path(), &[]);
    let web = shop.web.clone();
    web.register(1, 1_000_000, 5000).await; // leaves a connection that idles
    // Several, so that a busy machine does not look like a quiet shop.
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
                        assert_eq!(answer.headers()["connection"], "close", "go elsewhere");
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
    assert!(down > 0, "nobody saw it go down");
    assert!(ended.await.unwrap().success(), "exit 0");
}

#[tokio::test]
async fn a_process_can_be_asked_whether_it_is_ready_by_its_own_command() {
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

/// Half of `POST /carts`, and the rest.
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
    shop.web.get("/gifticons/1").await; // the server has seen the first by now
    (running, &body[5..])
}

#[tokio::test]
async fn a_signal_that_comes_twice_at_once_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Process::start(dir.path(), &[]);
    shop.web.register(1, 10, 5000).await;
    let (mut running, rest) = half_a_request(&shop).await;
    shop.signal("-TERM");
    sleep(Duration::from_millis(50)).await; // or the kernel itself makes one of them
    shop.signal("-TERM");
    sleep(Duration::from_millis(200)).await;
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
    sleep(Duration::from_millis(1_500)).await;
    shop.signal("-TERM");
    let began = Instant::now();
    assert_eq!(shop.ended(Duration::from_secs(25)).await.code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(4), "at once: {:?}", began.elapsed());
}
