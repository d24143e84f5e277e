//! Whose fault a failure is: the client's, an upstream's, or nobody's because it can be tried again.
//! And where the client called, behind proxies that are trusted.

mod common;

use axum::Router;
use axum::routing::{any, get};
use chassis::testing::{eventually, peer};
use common::{OK, Wire, behind, gateway, mirror, raw, seen, wires};
use reqwest::Client;
use serde_json::{Value, json};
use socket2::SockRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_body_that_its_client_breaks_is_no_fault_of_the_upstream() {
    // It takes all that comes and waits for more.
    let upstream = wires(async |mut wire| while wire.more().await {}).await;
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
        let mut wire = Wire::to(gateway.addr()).await;
        wire.send(&sent).await;
        if half_closed {
            wire.stream.shutdown().await.unwrap();
        }
        let answer = wire.message().await.unwrap_or_else(|| panic!("{sent}: no answer"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{sent}: {answer}");
        assert!(answer.contains("/problems/malformed"), "{sent}: {answer}");
        assert!(answer.contains("access-control-allow-origin: *"), "{sent}: {answer}");
    }
}

/// Counts the requests that are inside a handler that never answers.
struct Inside(Arc<AtomicUsize>);

impl Inside {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_client_that_went_away_is_given_up_by_the_gateway_and_the_service() {
    let inside = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&inside);
    let upstream = any(async move || {
        let _inside = Inside::new(&counted);
        std::future::pending::<()>().await;
    });
    let gateway = gateway(&peer(Router::new().fallback(upstream)), &[]).await;
    for reset in [false, true] {
        let mut wire = Wire::to(gateway.addr()).await;
        wire.send("GET /carts HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        let is = async |count| (inside.load(Ordering::Relaxed) == count).then_some(());
        eventually("the request to arrive", async || is(1).await).await;
        if reset {
            SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(wire);
        eventually("the request to be given up", async || is(0).await).await;
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
        let mut wire = Wire::to(gateway.addr()).await;
        wire.send(sent).await;
        wire.stream.shutdown().await.unwrap();
        let answer = wire.message().await.unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{sent}: {answer}");
        assert!(!wire.more().await, "the connection is closed after it");
    }
}

#[tokio::test]
async fn an_upstream_that_is_away_for_a_moment_is_asked_when_it_is_back() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = gateway(&format!("http://{upstream}"), &[]).await;
    // The moment is shorter than the gateway's patience unless the machine stands still.
    let mut answered = false;
    for _ in 0..10 {
        let post = Client::default().post(format!("{}/carts", gateway.url())).body("{}").send();
        let post = tokio::spawn(post);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Ok(listener) = TcpListener::bind(upstream).await else { continue };
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut wire = Wire { stream, read: String::new() };
            wire.message().await.unwrap();
            wire.send(OK).await;
        });
        let status = post.await.unwrap().unwrap().status();
        served.abort();
        answered = status == 200;
        if answered {
            break;
        }
        assert_eq!(status, 502, "nothing was sent");
    }
    assert!(answered, "it was refused each time");
}

#[tokio::test]
async fn only_a_trusted_proxy_is_believed() {
    let upstream = mirror().await;
    let ask = "GET /carts HTTP/1.1\r\nHost: inner:8080\r\nX-Forwarded-Host: shop.example\r\n\
               X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /shop\r\n\
               X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nForwarded: host=evil\r\nX-Real-IP: 6.6.6.6\r\n\
               Connection: x-forwarded-for\r\n\r\n";
    let trusting = behind(&upstream, &[], &["10.0.0.0/8", "127.0.0.0/8"]).await;
    let (status, _, mirrored) = raw(trusting.addr(), ask).await;
    assert_eq!(status, 200);
    for (name, value) in [
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-prefix", "/shop"),
        ("x-forwarded-for", "1.2.3.4"),
    ] {
        assert_eq!(seen(&mirrored, name), [value], "{name}");
    }
    assert!(seen(&mirrored, "forwarded").is_empty() && seen(&mirrored, "x-real-ip").is_empty());
    let link = |answer: &Value| answer["_links"]["carts"]["href"].as_str().unwrap().to_owned();
    let root = ask.replace("GET /carts", "GET /");
    let (_, _, told) = raw(trusting.addr(), &root).await;
    assert!(link(&told).starts_with("https://shop.example/shop/carts"), "{told}");

    let standard = "GET /carts HTTP/1.1\r\nHost: inner\r\n\
                    Forwarded: for=1.2.3.4;proto=https;host=shop.example\r\n\r\n";
    let (_, _, mirrored) = raw(trusting.addr(), standard).await;
    assert_eq!(seen(&mirrored, "x-forwarded-proto"), ["https"]);
    assert_eq!(seen(&mirrored, "x-forwarded-host"), ["shop.example"]);

    let invalid = "GET /carts HTTP/1.1\r\nHost: inner\r\nX-Forwarded-Host: :::\r\n\
                   X-Forwarded-Proto: gopher\r\nX-Forwarded-Port: x\r\n\r\n";
    let (_, _, mirrored) = raw(trusting.addr(), invalid).await;
    assert_eq!(seen(&mirrored, "x-forwarded-host"), ["inner"]);
    assert_eq!(seen(&mirrored, "x-forwarded-proto"), ["http"]);
    assert!(seen(&mirrored, "x-forwarded-port").is_empty());

    let wary = behind(&upstream, &[], &["10.0.0.0/8"]).await;
    let (_, _, mirrored) = raw(wary.addr(), ask).await;
    assert_eq!(seen(&mirrored, "x-forwarded-host"), ["inner:8080"]);
    assert_eq!(seen(&mirrored, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&mirrored, "x-forwarded-for"), ["127.0.0.1"]);
    let (_, _, told) = raw(wary.addr(), &root).await;
    assert!(link(&told).starts_with("http://inner:8080/carts"), "{told}");
}

#[tokio::test]
async fn an_options_that_is_no_preflight_is_answered_by_the_service() {
    let service = Router::new().route("/carts", get(|| async {}).post(|| async {}));
    let gateway = gateway(&peer(service), &[]).await;
    let ask = async |path: &str, lines: &str| {
        raw(gateway.addr(), &format!("OPTIONS {path} HTTP/1.1\r\nHost: shop\r\n{lines}\r\n")).await
    };
    for lines in ["", "Origin: https://a.example\r\n", "Access-Control-Request-Method: GET\r\n"] {
        let (status, head, _) = ask("/carts", lines).await;
        assert!(head.contains("allow: get,head,post,options"), "{head}");
        assert_eq!(status, 200, "{head}");
        let (status, _, problem) = ask("/nothing", lines).await;
        assert_eq!((status, &problem["type"]), (404, &json!("/problems/not-found")), "{lines}");
        assert_eq!(ask("/carts/1/2", lines).await.0, 404, "{lines}");
    }
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n";
    let (status, head, _) = ask("/carts", preflight).await;
    assert_eq!(status, 200);
    assert!(head.contains("access-control-allow-methods") && !head.contains("\nallow:"), "{head}");
}

#[tokio::test]
async fn a_page_of_a_named_origin_can_read_what_the_server_refuses() {
    let gateway = gateway(&mirror().await, &["https://shop.example"]).await;
    for (origin, allowed) in [("https://shop.example", true), ("https://evil.example", false)] {
        for target in ["/?\"".to_owned(), format!("/{}", "a".repeat(33_000))] {
            let ask = format!("GET {target} HTTP/1.1\r\nHost: shop\r\nOrigin: {origin}\r\n\r\n");
            let (status, head, _) = raw(gateway.addr(), &ask).await;
            assert!(status == 400 || status == 414, "{head}");
            let named = format!("access-control-allow-origin: {origin}");
            assert_eq!(head.contains(&named), allowed, "{head}");
        }
    }
}

#[test]
fn a_network_or_origin_that_is_none_ends_the_process_with_one_line() {
    for (setting, wrong) in [
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
        let ended = gateway.env(setting, wrong).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.starts_with(&format!("gateway: {setting}: ")), "{said}");
        assert_eq!(said.contains("punycode"), wrong.contains("가게"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
