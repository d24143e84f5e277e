//! The gateway in front of stand-ins for the services: what goes through, what does not, and what a
//! client is told.

mod common;

use axum::Router;
use axum::routing::any;
use chassis::Running;
use chassis::testing::{eventually, peer};
use common::{OK, Wire, gateway, is_problem, mirror, raw, seen, wires};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[tokio::test]
async fn a_service_hears_where_the_client_called_and_not_what_it_claims() {
    let upstream = mirror().await;
    let gateway = gateway(&upstream, &[]).await;
    let (status, _, mirrored) = raw(
        gateway.addr(),
        "GET /carts?a=1%2F2&b HTTP/1.1\r\nHost: shop.example:8088\r\nX-Forwarded-Host: evil\r\n\
         X-Forwarded-Host: evil too\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 6.6.6.6\r\n\
         X-Forwarded-Port: 666\r\nX-Forwarded-Prefix: /evil\r\nForwarded: host=evil\r\n\
         X-Real-IP: 6.6.6.6\r\nConnection: x-forwarded-host\r\nX-Kept: yes\r\n\r\n",
    )
    .await;
    assert_eq!((status, &mirrored["uri"]), (200, &json!("/carts?a=1%2F2&b")));
    assert_eq!(seen(&mirrored, "x-forwarded-host"), ["shop.example:8088"]);
    assert_eq!(seen(&mirrored, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&mirrored, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&mirrored, "host"), [upstream.strip_prefix("http://").unwrap()]);
    assert_eq!(seen(&mirrored, "x-kept"), ["yes"]);
    for name in ["x-forwarded-port", "x-forwarded-prefix", "forwarded", "x-real-ip"] {
        assert!(seen(&mirrored, name).is_empty(), "{name} went through");
    }
}

#[tokio::test]
async fn what_is_about_one_connection_goes_no_further() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = wires(move |mut wire| {
        let tell = tell.clone();
        async move {
            tell.send(wire.message().await.unwrap().to_ascii_lowercase()).unwrap();
            let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Inner\r\nX-Inner: secret\r\n\
                          Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Kept: yes\r\n\
                          Content-Length: 2\r\n\r\nok";
            wire.send(answer).await;
        }
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let (status, head, _) = raw(
        gateway.addr(),
        "POST /carts HTTP/1.1\r\nHost: shop\r\nConnection: X-Outer,, keep-alive, content-length\r\n\
         Connection: x-other\r\nX-Outer: secret\r\nX-Other: secret\r\nKeep-Alive: timeout=9\r\n\
         TE: trailers\r\nProxy-Authorization: Basic x\r\nUpgrade: websocket\r\nX-Kept: yes\r\n\
         Content-Length: 7\r\n\r\n{\"a\":1}",
    )
    .await;
    let asked = told.recv().await.unwrap();
    assert_eq!(status, 200);
    for (text, gone) in [
        (
            &asked,
            &["secret", "timeout=9", "trailers", "proxy-auth", "websocket", "connection:"][..],
        ),
        (&head, &["secret", "timeout=5", "proxy-auth"][..]),
    ] {
        assert!(text.contains("x-kept: yes"), "{text}");
        gone.iter().for_each(|gone| assert!(!text.contains(gone), "{gone} went through: {text}"));
    }
    assert!(asked.ends_with("\r\n\r\n{\"a\":1}"), "the body is whole: {asked}");
}

#[tokio::test]
async fn an_answer_goes_through_piece_by_piece() {
    let (go_on, gate) = mpsc::channel::<()>(1);
    let gate = Arc::new(tokio::sync::Mutex::new(gate));
    let upstream = wires(move |mut wire| {
        let gate = Arc::clone(&gate);
        async move {
            wire.message().await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
            gate.lock().await.recv().await.unwrap();
            wire.send("6\r\nsecond\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let mut wire = Wire::to(gateway.addr()).await;
    wire.send("GET /mypages HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    wire.until("first").await;
    go_on.send(()).await.unwrap();
    wire.until("second").await;
    wire.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_service_is_asked_when_the_whole_body_is_there() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = wires(move |mut wire| {
        let tell = tell.clone();
        async move {
            wire.until("firstsecond").await;
            tell.send(()).unwrap();
            wire.send(OK).await;
        }
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let mut wire = Wire::to(gateway.addr()).await;
    wire.send("POST /carts HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    wire.send("5\r\nfirst\r\n").await;
    let early = timeout(Duration::from_millis(1_500), told.recv()).await; // longer than a customer waits in queues
    assert!(early.is_err(), "a client that is slow with its body takes no place");
    wire.send("6\r\nsecond\r\n0\r\n\r\n").await;
    wire.until("\r\n\r\nok").await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_on_as_whole() {
    let upstream = wires(async |mut wire| {
        wire.message().await.unwrap();
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let answer = Client::default().get(format!("{}/mypages", gateway.url())).send().await.unwrap();
    assert!(answer.bytes().await.is_err(), "half an answer was passed on as a whole one");
}

#[tokio::test]
async fn a_service_that_refuses_is_502_and_one_that_is_late_504() {
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refusing = gateway(&format!("http://{refusing}"), &[]).await;
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
        assert!(started.elapsed() >= Duration::from_secs(least), "{path} was given up early");
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
async fn an_answer_that_stops_in_the_middle_is_given_up() {
    let upstream = wires(move |mut wire| async move {
        wire.message().await.unwrap();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").await;
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = gateway(&upstream, &[]).await;
    let answer = Client::default().get(format!("{}/mypages", gateway.url())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = timeout(Duration::from_secs(15), answer.bytes()).await.expect("it is given up");
    body.expect_err("half an answer is none");
}

#[tokio::test]
async fn a_request_whose_client_went_away_is_counted() {
    let upstream = peer(Router::new().fallback(any(std::future::pending::<()>)));
    let gateway = gateway(&upstream, &[]).await;
    let client = Client::default();
    let request = client.get(format!("{}/mypages", gateway.url())).send();
    timeout(Duration::from_millis(200), request).await.expect_err("nobody answers");
    eventually("the request to be counted", async || {
        let metrics =
            client.get(format!("{}/metrics", gateway.management_url()?)).send().await.ok()?;
        metrics.text().await.ok()?.contains(r#"status="499""#).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_body_is_told_so() {
    let gateway = gateway(&mirror().await, &[]).await;
    let head = "POST /gifticons HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\n{";
    let (status, _, problem) = raw(gateway.addr(), head).await;
    assert_eq!((status, &problem["type"]), (408, &json!("/problems/too-slow")), "{problem}");
}

#[tokio::test]
async fn what_may_have_been_done_is_not_sent_twice() {
    let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counted = Arc::clone(&counts);
    let upstream = wires(move |mut wire| {
        let counted = Arc::clone(&counted);
        async move {
            while let Some(request) = wire.message().await {
                let path = request.split(' ').nth(1).unwrap().to_owned();
                *counted.lock().unwrap().entry(path.clone()).or_default() += 1;
                match path.as_str() {
                    path if path.ends_with("kept") => wire.send(OK).await,
                    // Says that it keeps the connection, and closes it.
                    path if path.ends_with("last") => return wire.send(OK).await,
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
        // The connection before may be closed at any moment; a request that meets that is refused.
        let (kept, sent) = post(format!("/carts/{round}/kept")).await;
        assert!(kept == StatusCode::BAD_GATEWAY || (kept, sent) == (StatusCode::OK, 1), "{kept}");
        let (closed, _) = post(format!("/carts/{round}/closed")).await;
        assert_eq!(closed, StatusCode::BAD_GATEWAY, "round {round}");
        let (last, sent) = post(format!("/carts/{round}/last")).await;
        assert!(last == StatusCode::BAD_GATEWAY || (last, sent) == (StatusCode::OK, 1), "{last}");
    }
    let done = counts.lock().unwrap().iter().filter(|(path, _)| path.ends_with("kept")).count();
    assert!(done > 25, "only {done} of 50 were passed on");
}

#[tokio::test]
async fn what_is_not_in_the_table_is_not_there() {
    let (reached, reservations) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = |counter: &Arc<AtomicUsize>| {
        let counter = Arc::clone(counter);
        any(async move || counter.fetch_add(1, Ordering::Relaxed).to_string())
    };
    // It routes as our services do: a path is what it says, dots and all.
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
                let mut wire = Wire::to(gateway.addr()).await;
                wire.send(&ask).await;
                wire.until("HTTP/1.1 4").await;
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
        "a service was asked for what is not in the table"
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
    // The first says how much it will be and sends nothing of it.
    let said = format!("{post}Content-Length: 65537\r\n\r\n");
    for ask in [said, sized(&more), chunked(&more)] {
        let (status, head, problem) = raw(gateway.addr(), &ask).await;
        assert_eq!((status, &problem["type"]), (413, &json!("/problems/too-large")), "{head}");
        assert!(head.contains("application/problem+json"), "{head}");
    }
}

#[tokio::test]
async fn a_request_has_an_id_and_a_trace_from_here_on() {
    let gateway = gateway(&mirror().await, &[]).await;
    let ask = async |id: &str, trace: &str| {
        let request = Client::default().get(format!("{}/carts", gateway.url()));
        let request = request.header("x-request-id", id).header("traceparent", trace);
        let answer = request.send().await.unwrap();
        let told = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let mirrored: Value = answer.json().await.unwrap();
        assert_eq!(seen(&mirrored, "x-request-id"), [&told], "the service knows it as the client");
        let traces = seen(&mirrored, "traceparent");
        assert_eq!(traces.len(), 1, "{traces:?}");
        (told, traces[0].to_owned())
    };
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (told, passed) = ask("checkout-17", trace).await;
    assert_eq!((told.as_str(), &passed[..35]), ("checkout-17", &trace[..35]));
    let long = "x".repeat(129);
    for (id, trace) in
        [("", ""), ("two words", "00-0-0-01"), (&long, &trace.replace("0af7", "0AF7"))]
    {
        let (told, made) = ask(id, trace).await;
        assert!(told != id && (1..=128).contains(&told.len()), "{told}");
        let parts: Vec<&str> = made.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!((parts[0], &lengths[..]), ("00", &[2, 32, 16, 2][..]), "{made}");
    }
    let (_, head, _) = raw(gateway.addr(), "GET /nothing HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert!(head.contains("x-request-id: "), "also a refusal has an id: {head}");
}

/// What a page of `origin` is told: the allowed origin, and whether with credentials.
async fn cors(gateway: &Running, method: Method, path: &str, origin: &str) -> [Option<String>; 2] {
    let request = Client::default().request(method, format!("{}{path}", gateway.url()));
    let request = request.header("origin", origin).header("access-control-request-method", "POST");
    let answer = request.send().await.unwrap();
    ["access-control-allow-origin", "access-control-allow-credentials"]
        .map(|name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()))
}

#[tokio::test]
async fn any_page_may_call_but_never_with_credentials() {
    let gateway = gateway(&mirror().await, &[]).await;
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        for path in ["/carts", "/"] {
            let told = cors(&gateway, method.clone(), path, "https://any.example").await;
            assert_eq!(told, [Some("*".into()), None], "{method} {path}");
        }
    }
}

#[tokio::test]
async fn pages_of_named_origins_may_call_with_credentials_and_no_others() {
    let named = ["https://shop.example", "http://localhost:3000"];
    let gateway = gateway(&mirror().await, &named).await;
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        for origin in named {
            let told = cors(&gateway, method.clone(), "/carts", origin).await;
            assert_eq!(told, [Some(origin.into()), Some("true".into())], "{method} {origin}");
        }
        for origin in
            ["https://evil.example", "https://shop.example.evil", "null", "http://shop.example"]
        {
            let [allowed, _] = cors(&gateway, method.clone(), "/carts", origin).await;
            assert_eq!(allowed, None, "{method} {origin}");
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_can_read_every_refusal() {
    let origin = "Origin: https://a.example\r\n";
    let late = peer(Router::new().fallback(any(std::future::pending::<()>)));
    let busy = peer(Router::new().fallback(any(async || StatusCode::SERVICE_UNAVAILABLE)));
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (upstream, refusal) in [(format!("http://{refusing}"), 502), (busy, 503), (late, 504)] {
        let gateway = common::gateway(&upstream, &[]).await;
        let ask = format!("GET /carts HTTP/1.1\r\nHost: s\r\n{origin}\r\n");
        let (status, head, _) = raw(gateway.addr(), &ask).await;
        assert!(head.contains("access-control-allow-origin: *"), "{status}: {head}");
        assert!(head.contains("x-request-id: "), "{status}: {head}");
        assert_eq!(status, refusal);
    }
    let gateway = gateway(&mirror().await, &[]).await;
    let big = "POST /carts HTTP/1.1\r\nHost: s\r\nOrigin: https://a.example\r\nContent-Length: 65537\r\n\r\n";
    for ask in [big, "GET /nothing HTTP/1.1\r\nHost: s\r\nOrigin: https://a.example\r\n\r\n"] {
        let (status, head, _) = raw(gateway.addr(), ask).await;
        assert!(head.contains("access-control-allow-origin: *"), "{status}: {head}");
    }
}
