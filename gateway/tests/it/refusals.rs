//! Failures of the client, of an upstream and of the network between, and the responses to them.

use crate::common::{ByteStream, OK, byte_server, gateway, is_problem, mirror, raw, refusing};
use axum::Router;
use axum::routing::any;
use chassis::Running;
use chassis::testing::{eventually, peer};
use reqwest::{Client, StatusCode};
use serde_json::json;
use socket2::SockRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

#[tokio::test]
async fn a_broken_request_body_is_400_and_not_502() {
    // Reads everything, and never responds.
    let upstream = byte_server(async |mut stream| while stream.more().await {}).await;
    let gateway = gateway(&upstream, &[]).await;
    let chunked = "POST /carts HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sized = "POST /carts HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\n";
    for (sent, half_closed) in [
        (format!("{chunked}zz\r\n"), false),
        (format!("{chunked}5\r\nfirst\r\nzz\r\n"), false),
        (format!("{chunked}5\r\nfirst!\r\n"), false),
        (format!("{chunked}fffffffffffffffff\r\n"), false),
        (format!("{chunked}0\r\nno trailer\r\n\r\n"), false),
        (format!("{chunked}5\r\nfir"), true),
        (format!("{sized}{{"), true),
        (sized.to_owned(), true),
    ] {
        let mut stream = ByteStream::to(gateway.addr()).await;
        stream.send(&sent).await;
        if half_closed {
            stream.tcp.shutdown().await.unwrap();
        }
        let answer = stream.message().await.unwrap_or_else(|| panic!("{sent}: no answer"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{sent}: {answer}");
        assert!(answer.contains("/problems/malformed"), "{sent}: {answer}");
        assert!(answer.contains("access-control-allow-origin: *"), "{sent}: {answer}");
    }
}

/// Counts the requests in a handler.
struct InHandler(Arc<AtomicUsize>);

impl InHandler {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InHandler {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_request_of_a_disconnected_client_is_cancelled_at_the_gateway_and_the_service() {
    let in_handler = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&in_handler);
    let upstream = any(async move || {
        let _guard = InHandler::new(&counted);
        std::future::pending::<()>().await;
    });
    let gateway = gateway(&peer(Router::new().fallback(upstream)), &[]).await;
    for reset in [false, true] {
        let mut stream = ByteStream::to(gateway.addr()).await;
        stream.send("GET /carts HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        let count_is = async |count| (in_handler.load(Ordering::Relaxed) == count).then_some(());
        eventually("the request to arrive", async || count_is(1).await).await;
        if reset {
            SockRef::from(&stream.tcp).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(stream);
        eventually("the request to be cancelled", async || count_is(0).await).await;
    }
    eventually("both to be counted", async || {
        let metrics = Client::default()
            .get(format!("{}/metrics", gateway.management_url().unwrap()))
            .send()
            .await;
        let text = metrics.ok()?.text().await.ok()?;
        let mut lines = text.lines().filter(|line| line.contains(r#"status="499""#));
        lines.any(|line| line.ends_with(" 2")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_half_closes_is_answered() {
    let gateway = gateway(&mirror().await, &[]).await;
    for sent in [
        "GET /carts HTTP/1.1\r\nHost: shop\r\n\r\n",
        "POST /carts HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\n{}",
        "POST /carts HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ] {
        let mut stream = ByteStream::to(gateway.addr()).await;
        stream.send(sent).await;
        stream.tcp.shutdown().await.unwrap();
        let answer = stream.message().await.unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{sent}: {answer}");
        assert!(!stream.more().await, "the connection is closed after the response");
    }
}

#[tokio::test]
async fn a_connection_to_an_upstream_is_retried() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = gateway(&format!("http://{upstream}"), &[]).await;
    // 100 ms is within the time for which the gateway retries, unless the machine stands still. Then try again.
    let mut answered = false;
    for _ in 0..10 {
        let post = Client::default().post(format!("{}/carts", gateway.url())).body("{}").send();
        let post = tokio::spawn(post);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Ok(listener) = TcpListener::bind(upstream).await else { continue };
        let served = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = ByteStream { tcp, read: String::new() };
            stream.message().await.unwrap();
            stream.send(OK).await;
        });
        let status = post.await.unwrap().unwrap().status();
        served.abort();
        answered = status == 200;
        if answered {
            break;
        }
        assert_eq!(status, 502, "nothing was sent");
    }
    assert!(answered, "every attempt was refused");
}

#[test]
fn an_invalid_network_or_origin_ends_the_process_with_one_line() {
    for (setting, invalid) in [
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy.example"),
        ("TRUSTED_PROXIES", ""),
        ("CORS_ORIGINS", "https://a.example:99999"),
        ("CORS_ORIGINS", "https://a.example,https://가게.example"),
    ] {
        let mut gateway = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"));
        for url in ["GIFTICON_URL", "CART_URL", "PAYMENT_URL", "MYPAGE_URL"] {
            gateway.env(url, "http://127.0.0.1:1");
        }
        let ended = gateway.env(setting, invalid).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with(&format!("gateway: {setting}: ")), "{stderr}");
        assert_eq!(stderr.contains("punycode"), invalid.contains("가게"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[tokio::test]
async fn a_truncated_response_is_not_forwarded_as_complete() {
    let upstream = byte_server(async |mut stream| {
        stream.message().await.unwrap();
        stream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let answer = Client::default().get(format!("{}/mypages", gateway.url())).send().await.unwrap();
    assert!(answer.bytes().await.is_err(), "a truncated response was forwarded as complete");
}

#[tokio::test]
async fn a_service_that_refuses_connections_is_502_and_a_late_one_504() {
    let (_port, refusing) = refusing();
    let refusing = gateway(&refusing, &[]).await;
    let late = gateway(&peer(Router::new().fallback(any(std::future::pending::<()>))), &[]).await;
    let ask = async |gateway: &Running, path: &str, lang: &str| {
        let request = Client::default().post(format!("{}{path}", gateway.url())).body("{}");
        request.header("accept-language", lang).send().await.unwrap()
    };
    for path in ["/gifticons", "/carts/1", "/payments", "/mypages/search/findByCartId"] {
        let answer = ask(&refusing, path, "ko").await;
        assert_eq!(answer.headers()["content-language"], "ko");
        assert!(answer.headers().contains_key("retry-after"));
        let problem = is_problem(answer, 502, "upstream-failed").await;
        assert_eq!(problem["title"], "연결할 수 없는 서비스가 있습니다");
        let problem = is_problem(ask(&refusing, path, "en").await, 502, "upstream-failed").await;
        assert_eq!(problem["title"], "A part of the shop cannot be reached");
    }
    let started = Instant::now();
    let timed = async |path: &str, least: u64, lang: &str| {
        let problem = is_problem(ask(&late, path, lang).await, 504, "upstream-late").await;
        assert!(started.elapsed() >= Duration::from_secs(least), "{path} timed out early");
        problem["title"].as_str().unwrap().to_owned()
    };
    let (korean, english, _, _) = tokio::join!(
        timed("/gifticons", 3, "ko-KR,ko;q=0.9,en;q=0.8"),
        timed("/carts", 5, "fr"),
        timed("/payments", 3, "en"),
        timed("/mypages/1", 3, "en"),
    );
    assert_eq!(korean, "제때 응답하지 않는 서비스가 있습니다");
    assert_eq!(english, "A part of the shop does not answer in time");
}

#[tokio::test]
async fn a_response_that_stalls_is_aborted() {
    let upstream = byte_server(move |mut stream| async move {
        stream.message().await.unwrap();
        stream.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").await;
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let answer = Client::default().get(format!("{}/mypages", gateway.url())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body =
        timeout(Duration::from_secs(15), answer.bytes()).await.expect("the response is aborted");
    body.expect_err("a truncated response is an error");
}

#[tokio::test]
async fn a_request_whose_client_disconnected_is_counted() {
    let upstream = peer(Router::new().fallback(any(std::future::pending::<()>)));
    let gateway = gateway(&upstream, &[]).await;
    let client = Client::default();
    let request = client.get(format!("{}/mypages", gateway.url())).send();
    timeout(Duration::from_millis(200), request).await.expect_err("the service never answers");
    eventually("the request to be counted", async || {
        let metrics =
            client.get(format!("{}/metrics", gateway.management_url()?)).send().await.ok()?;
        metrics.text().await.ok()?.contains(r#"status="499""#).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_request_body_is_408() {
    let gateway = gateway(&mirror().await, &[]).await;
    let head = "POST /gifticons HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\n{";
    let (status, _, problem) = raw(gateway.addr(), head).await;
    assert_eq!((status, &problem["type"]), (408, &json!("/problems/too-slow")), "{problem}");
}

#[tokio::test]
async fn a_body_over_64_kib_is_413_however_it_is_framed() {
    let gateway = gateway(&mirror().await, &[]).await;
    let post = "POST /carts HTTP/1.1\r\nHost: shop\r\n";
    let most = "x".repeat(65_536);
    let sized = |body: &str| format!("{post}Content-Length: {}\r\n\r\n{body}", body.len());
    let chunked = |body: &str| {
        let half = body.len() / 2;
        let (one, two) = body.split_at(half);
        let (first, second) = (one.len(), two.len());
        format!(
            "{post}Transfer-Encoding: chunked\r\n\r\n{first:x}\r\n{one}\r\n{second:x}\r\n{two}\r\n0\r\n\r\n"
        )
    };
    for ask in [sized(&most), chunked(&most)] {
        let (status, head, mirrored) = raw(gateway.addr(), &ask).await;
        assert_eq!((status, &mirrored["bytes"]), (200, &json!(65_536)), "{head}");
    }
    let more = format!("{most}x");
    // The first announces a length and sends no body.
    let announced = format!("{post}Content-Length: 65537\r\n\r\n");
    for ask in [announced, sized(&more), chunked(&more)] {
        let (status, head, problem) = raw(gateway.addr(), &ask).await;
        assert_eq!((status, &problem["type"]), (413, &json!("/problems/too-large")), "{head}");
        assert!(head.contains("application/problem+json"), "{head}");
    }
}
