//! Requests that no client library sends: what the HTTP server itself refuses is answered with a problem, at the gateway
//! and at a service.

mod common;
#[path = "raw_requests/refusals.rs"]
mod refusals;
#[path = "raw_requests/wire.rs"]
mod wire;

use common::Shop;
use serde_json::Value;
use wire::{Raw, ask, exchange};

const ORIGIN: &str = "https://page.example";

/// Returns a request with the headers `lines`, `Host`, `X-Request-Id` and `Origin`.
fn request(line: &str, lines: &str, body: &str) -> String {
    format!("{line}\r\nHost: shop\r\nX-Request-Id: mine\r\nOrigin: {ORIGIN}\r\n{lines}\r\n{body}")
}

fn get(target: &str) -> String {
    request(&format!("GET {target} HTTP/1.1"), "", "")
}

fn post(lines: &str, body: &str) -> String {
    request("POST /carts/ HTTP/1.1", &format!("Content-Type: application/json\r\n{lines}"), body)
}

/// Returns requests that the server itself refuses, and how.
fn rows() -> Vec<Raw> {
    let line = |line: &str| request(line, "", "");
    let with = |lines: &str| request("GET /gifticons HTTP/1.1", lines, "");
    let hosts = |hosts: &str| {
        format!("GET /gifticons HTTP/1.1\r\n{hosts}X-Request-Id: mine\r\nOrigin: {ORIGIN}\r\n\r\n")
    };
    let target = |bytes: usize| get(&format!("/gifticons?x={}", "a".repeat(bytes - 13)));
    let sized = |length: usize, body: &str| post(&format!("Content-Length: {length}\r\n"), body);
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let many = "X-Many: x\r\n".repeat(117); // more than a service accepts too
    let large = "x".repeat(70_000);
    let encoded =
        |name: &str, value: &str| post(&format!("{name}: {value}\r\nContent-Length: 2\r\n"), "{}");
    let malformed = [
        get("/gifticons?x=\"a\""),
        get("/gifticons?x=<a>"),
        get("/gifticons x"),
        get("gifticons"),
        get("shop:80"),
        line("GET /gifticons HTTP/2.0"),
        line("GET /gifticons HTTP/1.2"),
        line("GET /gifticons"),
        line("G(T /gifticons HTTP/1.1"),
        line("nonsense"),
        with("Bad Name: x\r\n"),
        with("X-Folded: a\r\n b\r\n"),
        with(": no name\r\n"),
        with("no colon\r\n"),
        with("X-Null: a\0b\r\n"),
        with("Content-Length: x\r\n"),
        with("Content-Length: -1\r\n"),
        with("Content-Length: 1\r\nContent-Length: 2\r\n"),
        with("Content-Length: 99999999999999999999\r\n"),
        with("Transfer-Encoding: gzip\r\n"),
        request("POST /carts HTTP/1.0", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        chunked("zz\r\n{}\r\n0\r\n\r\n"),
        chunked("2\r\n{}x\r\n0\r\n\r\n"),
    ];
    let bad_hosts = [
        hosts(""),
        hosts("Host: shop\r\nHost: shop\r\n"),
        hosts("Host: shop\r\nHost: other\r\n"),
        hosts("Host: :::\r\n"),
        hosts("Host:\r\n"),
        hosts("Host: shop/x\r\n"),
        hosts("Host: user@shop\r\n"),
        get("http://user@shop/gifticons"),
    ];
    let broken_off = [sized(50, "{"), chunked("5\r\n{"), "GET /gifticons HTTP/1.1\r\nHo".into()];
    let late = [sized(50, "{"), "GET /gifticons HTTP/1.1\r\nHost: shop\r\nX-Slow: ".into()];
    let long = [32_800, 65_513, 65_534, 66_000, 100_000].map(target);
    let too_large = [sized(65_537, ""), sized(70_000, &large), sized(900_000, &large.repeat(12))];
    let encodings = [
        encoded("Content-Encoding", "gzip"),
        encoded("Content-Encoding", "br, identity"),
        encoded("Content-Encoding", "aes128gcm"),
        post("Transfer-Encoding: gzip, chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    ];
    let of = |slug, status, sent: &[String]| -> Vec<Raw> {
        sent.iter().map(|sent| Raw::new(sent.clone(), status, slug)).collect()
    };
    let mut rows = [
        of("malformed", 400, &malformed),
        of("bad-host", 400, &bad_hosts),
        of("uri-too-long", 414, &long),
        of("headers-too-large", 431, &[with(&many), with(&format!("X-Large: {large}{large}\r\n"))]),
        of("unsupported-encoding", 415, &encodings),
        of("too-large", 413, &too_large),
        of("not-found", 404, &[get("/nothing/"), get("/gifticons//"), get("//")]),
        of(
            "method-not-allowed",
            405,
            &[line("TRACE /carts HTTP/1.1"), line("CONNECT shop:80 HTTP/1.1")],
        ),
        of("too-slow", 408, &late),
    ]
    .concat();
    rows.extend(of("malformed", 400, &broken_off).into_iter().map(Raw::half_closed));
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned();
    rows.extend(
        [preface, "\x16\x03\x01\x02\r\n\r\n".into()].map(|sent| Raw::new(sent, 400, "malformed")),
    );
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_parsed_are_refused_with_a_problem() {
    let shop = Shop::start().await;
    shop.web.register(1, 100, 5000).await;
    let mut asked = tokio::task::JoinSet::new();
    for (public, base) in [(true, &shop.web.base), (false, &shop.direct["cart"].base)] {
        for row in rows() {
            // Cart has no gifticons.
            let row = if public { row } else { row.at("/gifticons", "/carts") };
            let base = base.clone();
            asked.spawn(async move {
                let fault = row.fault(&base, public).await;
                fault.map(|fault| format!("public {public}, {row}: {fault}"))
            });
        }
    }
    let count = asked.len();
    let faults: Vec<String> = asked.join_all().await.into_iter().flatten().collect();
    println!("{count} raw requests");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 0, "no cart was added");
    shop.stop().await;
}

#[tokio::test]
async fn a_refusal_by_the_server_is_in_the_clients_language() {
    let shop = Shop::start().await;
    for base in [&shop.web.base, &shop.direct["gifticon"].base] {
        for target in
            [format!("/{}", "a".repeat(9_000)), format!("/{}", "a".repeat(70_000)), "/?\"".into()]
        {
            let sent = request(&format!("GET {target} HTTP/1.1"), "Accept-Language: ko\r\n", "");
            let answer = ask(base, &sent, false).await;
            assert!(answer.head.contains("content-language: ko"), "{}", answer.head);
        }
        // The request before a pipelined one that cannot be parsed is answered.
        let both = format!("{}{}", get("/actuator/health"), get("/?\""));
        let answers = exchange(base, &both, false).await;
        assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
        assert!(answers.contains("HTTP/1.1 400 Bad Request\r\n"), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn options_says_what_a_path_allows() {
    let shop = Shop::start().await;
    let all = [&shop.web.base, &shop.direct["gifticon"].base];
    for base in all {
        for (path, allowed) in [
            ("/gifticons", "GET HEAD POST OPTIONS"),
            ("/gifticons/", "GET HEAD POST OPTIONS"),
            ("/gifticons/1", "GET HEAD PATCH DELETE OPTIONS"),
            ("/gifticons/search", "GET HEAD OPTIONS"),
            ("/actuator/health", "GET HEAD OPTIONS"),
            ("/", "GET HEAD OPTIONS"),
            ("*", "GET HEAD POST PUT PATCH DELETE OPTIONS"),
        ] {
            let answer =
                ask(base, &request(&format!("OPTIONS {path} HTTP/1.1"), "", ""), false).await;
            let allow = answer.header("allow").unwrap_or_default().to_uppercase();
            let mut allow: Vec<&str> = allow.split(',').map(str::trim).collect();
            let mut allowed: Vec<&str> = allowed.split(' ').collect();
            allow.sort_unstable();
            allowed.sort_unstable();
            assert_eq!((answer.status, allow), (200, allowed), "{path}");
        }
        for path in ["/nothing", "/gifticons/1/x", "/carts/x/y"] {
            let answer =
                ask(base, &request(&format!("OPTIONS {path} HTTP/1.1"), "", ""), false).await;
            assert_eq!(answer.status, 404, "{path}");
        }
        let refused = ask(base, &request("PUT /gifticons HTTP/1.1", "", ""), false).await;
        assert!(refused.header("allow").unwrap().contains("options"), "{}", refused.head);
    }
    let preflight = "Access-Control-Request-Method: POST\r\n";
    let answer =
        ask(&shop.web.base, &request("OPTIONS /carts HTTP/1.1", preflight, ""), false).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("access-control-allow-methods").unwrap().contains("post"));
    assert!(answer.header("allow").is_none(), "the gateway answers a preflight itself");
    shop.stop().await;
}

#[tokio::test]
async fn a_slash_at_the_end_is_the_same_path() {
    let shop = Shop::start().await;
    shop.web.register(1, 100, 5000).await;
    shop.web.add(1, 1, None).await.unwrap();
    for (base, paths) in [
        (
            &shop.web.base,
            &[
                "/gifticons",
                "/gifticons/1",
                "/gifticons/search",
                "/carts",
                "/carts/1",
                "/payments",
                "/mypages/search",
                "/actuator/health",
            ][..],
        ),
        (
            &shop.direct["gifticon"].base,
            &["/gifticons", "/gifticons/1", "/gifticons/search", "/actuator/health/liveness"],
        ),
    ] {
        for path in paths {
            for query in ["", "?page=0&size=5"] {
                let without = ask(base, &get(&format!("{path}{query}")), false).await;
                let with = ask(base, &get(&format!("{path}/{query}")), false).await;
                assert_eq!((without.status, with.status), (200, 200), "{path}{query}");
                // The items may change in between, but not the links.
                assert_eq!(without.body["_links"]["self"], with.body["_links"]["self"], "{path}");
            }
        }
    }
    let answer = ask(&shop.web.base, &request("DELETE /carts/1/ HTTP/1.1", "", ""), false).await;
    assert_eq!(answer.status, 204);
    shop.stop().await;
}

#[tokio::test]
async fn a_client_that_half_closes_after_a_whole_request_is_answered() {
    let shop = Shop::start().await;
    shop.web.register(1, 100, 5000).await;
    let body = r#"{"gifticonId":1,"quantity":1}"#;
    let sent = post(&format!("Content-Length: {}\r\n", body.len()), body);
    for base in [&shop.web.base, &shop.direct["cart"].base] {
        let answer = ask(base, &sent, true).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let two = exchange(base, &format!("{}{}", get("/carts"), get("/carts/1")), true).await;
        assert_eq!(two.matches("HTTP/1.1 200 OK").count(), 2, "{two}");
    }
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 2);
    shop.stop().await;
}

#[tokio::test]
async fn a_link_names_the_host_that_was_called() {
    let shop = Shop::start().await;
    let own = |answer: &Value| answer["_links"]["self"]["href"].as_str().unwrap().to_owned();
    for base in [&shop.web.base, &shop.direct["gifticon"].base] {
        for (sent, called) in [
            ("GET /gifticons HTTP/1.1\r\nHost: shop:1\r\n\r\n", "http://shop:1/"),
            ("GET http://shop/gifticons HTTP/1.1\r\nHost: other\r\n\r\n", "http://shop/"),
            ("GET /gifticons HTTP/1.0\r\nHost: shop\r\n\r\n", "http://shop/"),
            ("GET /gifticons HTTP/1.0\r\n\r\n", "http://localhost/"),
        ] {
            let answer = ask(base, sent, false).await;
            assert!(own(&answer.body).starts_with(called), "{sent}: {}", answer.body);
        }
    }
    shop.stop().await;
}

#[tokio::test]
async fn headers_that_the_gateway_adds_do_not_count_for_the_limit() {
    let shop = Shop::start().await;
    let base = &shop.web.base;
    for (lines, status) in [(100, 200), (101, 431)] {
        let many = "X-Many: x\r\n".repeat(lines - 3); // besides Host, an id and an origin
        let answer = ask(base, &request("GET /gifticons HTTP/1.1", &many, ""), false).await;
        assert_eq!(answer.status, status, "{lines} lines: {}", answer.head);
    }
    let empty = request("GET /gifticons HTTP/1.1", "X-Large: \r\n", "").len();
    for (bytes, status) in [(64 * 1024 - 1, 200), (64 * 1024 + 512, 431)] {
        let large = format!("X-Large: {}\r\n", "x".repeat(bytes - empty));
        let answer = ask(base, &request("GET /gifticons HTTP/1.1", &large, ""), false).await;
        assert_eq!(answer.status, status, "{bytes} bytes: {}", answer.head);
    }
    shop.stop().await;
}
