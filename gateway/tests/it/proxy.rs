//! The gateway in front of stand-ins for the services: which requests it forwards, and how.

use crate::common::{ByteStream, OK, beside_cart, byte_server, gateway, mirror, raw, refusing};
use axum::Router;
use axum::routing::any;
use chassis::testing::peer;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[tokio::test]
async fn a_response_is_streamed() {
    let (continue_response, gate) = mpsc::channel::<()>(1);
    let gate = Arc::new(tokio::sync::Mutex::new(gate));
    let upstream = byte_server(move |mut stream| {
        let gate = Arc::clone(&gate);
        async move {
            stream.message().await.unwrap();
            stream
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .await;
            gate.lock().await.recv().await.unwrap();
            stream.send("6\r\nsecond\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let mut stream = ByteStream::to(gateway.addr()).await;
    stream.send("GET /mypages HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    stream.until("first").await;
    continue_response.send(()).await.unwrap();
    stream.until("second").await;
    stream.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_service_is_called_after_the_whole_body_arrived() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let upstream = byte_server(move |mut stream| {
        let sender = sender.clone();
        async move {
            stream.until("firstsecond").await;
            sender.send(()).unwrap();
            stream.send(OK).await;
        }
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let mut stream = ByteStream::to(gateway.addr()).await;
    stream.send("POST /carts HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    stream.send("5\r\nfirst\r\n").await;
    let early = timeout(Duration::from_millis(1_500), received.recv()).await; // longer than the patience
    assert!(early.is_err(), "the service was called before the body was complete");
    stream.send("6\r\nsecond\r\n0\r\n\r\n").await;
    stream.until("\r\n\r\nok").await;
}

#[tokio::test]
async fn a_request_that_may_have_been_handled_is_not_sent_twice() {
    let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counted = Arc::clone(&counts);
    let upstream = byte_server(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            while let Some(request) = stream.message().await {
                let path = request.split(' ').nth(1).unwrap().to_owned();
                *counted.lock().unwrap().entry(path.clone()).or_default() += 1;
                match path.as_str() {
                    path if path.ends_with("kept") => stream.send(OK).await,
                    // Closes a connection that it promised to keep.
                    path if path.ends_with("last") => return stream.send(OK).await,
                    _ => return,
                }
            }
        }
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let client = Client::default();
    let post = async |path: String| {
        let request = client.post(format!("{}{path}", gateway.url()));
        let answer = request.body("{\"quantity\":1}").send().await.unwrap().status();
        let sent = counts.lock().unwrap().get(&path).copied().unwrap_or(0);
        assert!(sent <= 1, "{path} was sent {sent} times");
        (answer, sent)
    };
    assert_eq!(post("/carts/closed".into()).await, (StatusCode::BAD_GATEWAY, 1));
    for round in 0..50 {
        // The previous connection may be closed at any moment; a request that meets this is 502.
        let (kept, sent) = post(format!("/carts/{round}/kept")).await;
        assert!(kept == StatusCode::BAD_GATEWAY || (kept, sent) == (StatusCode::OK, 1), "{kept}");
        let (closed, _) = post(format!("/carts/{round}/closed")).await;
        assert_eq!(closed, StatusCode::BAD_GATEWAY, "round {round}");
        let (last, sent) = post(format!("/carts/{round}/last")).await;
        assert!(last == StatusCode::BAD_GATEWAY || (last, sent) == (StatusCode::OK, 1), "{last}");
    }
    let forwarded =
        counts.lock().unwrap().iter().filter(|(path, _)| path.ends_with("kept")).count();
    assert!(forwarded > 25, "only {forwarded} of 50 were forwarded");
}

/// Another gateway stands in for cart.
#[tokio::test]
async fn a_service_in_this_process_is_called_without_a_connection() {
    let cart = gateway(&mirror().await, &[]).await;
    let (_port, nobody) = refusing();
    let gateway = beside_cart(&cart, &nobody);
    let client = Client::default();
    let post = client.post(format!("{}/carts/7?a=b", gateway.url())).header("x-a", "b");
    let answer = post.body("{}").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers().contains_key("content-length"), "its length is unknown");
    let seen: Value = answer.json().await.unwrap();
    assert_eq!((&seen["method"], &seen["uri"]), (&json!("POST"), &json!("/carts/7?a=b")));
    assert!(seen["headers"].as_array().unwrap().contains(&json!(["x-a", "b"])), "{seen}");

    let elsewhere = client.get(format!("{}/payments", gateway.url())).send().await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::BAD_GATEWAY, "payment is not in this process");
}

#[tokio::test]
async fn a_path_outside_the_routing_table_is_404() {
    let (reached, reservations) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = |counter: &Arc<AtomicUsize>| {
        let counter = Arc::clone(counter);
        any(async move || counter.fetch_add(1, Ordering::Relaxed).to_string())
    };
    // It routes as our services do, without resolving dots in paths.
    let upstream = Router::new()
        .route("/reservations/{id}", count(&reservations))
        .route("/admin/{*rest}", count(&reservations))
        .route("/metrics", count(&reservations))
        .fallback(count(&reached));
    let gateway = gateway(&peer(upstream), &[]).await;
    for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "BREW"] {
        for path in [
            "/reservations",
            "/reservations/x",
            "/reservations/018f0000-0000-7000-8000-000000000000",
            "/metrics",
            "/gateway/metrics",
            "/admin/parked",
            "/admin/parked/replay",
            "/gifticon",
            "/gifticonsx",
            "/Gifticons/1",
            "//gifticons",
            "/./gifticons",
            "/%67ifticons",
            "/actuator",
            "/actuator/env",
            "/../reservations/x",
            "/x/../reservations/x",
            "/gifticonsx/",
            "*",
        ] {
            let ask = format!("{method} {path} HTTP/1.1\r\nHost: shop\r\n\r\n");
            if method == "HEAD" || path == "*" {
                let mut stream = ByteStream::to(gateway.addr()).await;
                stream.send(&ask).await;
                stream.until("HTTP/1.1 4").await;
                continue;
            }
            let (status, head, problem) = raw(gateway.addr(), &ask).await;
            assert_eq!((status, &problem["status"]), (404, &json!(404)), "{method} {path}: {head}");
            assert!(head.contains("application/problem+json"), "{method} {path}: {head}");
        }
    }
    assert_eq!(
        reached.load(Ordering::Relaxed),
        0,
        "a service was called for a path outside the table"
    );
    for path in [
        "/gifticons/../reservations/x",
        "/carts/../../reservations/x",
        "/gifticons/..;/reservations/x",
        "/gifticons/%2e%2e/reservations/x",
        "/gifticons/..%2freservations/x",
        "/gifticons/../metrics",
        "/gifticons/..\\reservations\\x",
        "/gifticons/x/../../admin/parked",
        "/gifticons/./../metrics",
        "http://evil.example/reservations/x",
        "http://evil.example/gifticons/../reservations/x",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            raw(gateway.addr(), &format!("{method} {path} HTTP/1.1\r\nHost: shop\r\n\r\n")).await;
        }
    }
    assert_eq!(reservations.load(Ordering::Relaxed), 0, "a reservation was reached");
    let own = async |base: &str, path: &str| {
        let answer = Client::default().get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{base}{path}");
        answer.text().await.unwrap()
    };
    let management = gateway.management_url().unwrap();
    assert!(own(&management, "/metrics").await.contains("# TYPE http_requests_total counter"));
    for (accept, content) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        let metrics =
            Client::default().get(format!("{management}/metrics")).header("accept", accept);
        let metrics = metrics.send().await.unwrap();
        assert_eq!(metrics.headers()["content-type"], content);
        assert_eq!(metrics.text().await.unwrap().ends_with("# EOF\n"), accept != "*/*");
    }
    for path in ["/actuator/health", "/actuator/health/liveness", "/actuator/health/readiness"] {
        for base in [&gateway.url(), &management] {
            assert_eq!(own(base, path).await, r#"{"status":"UP"}"#);
        }
    }
}
