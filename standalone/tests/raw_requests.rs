//! Requests byte by byte, as no client library would send them: what the HTTP server refuses by itself
//! is answered like any other refusal, at the gateway and at a service.

mod common;
#[path = "raw_requests/wire.rs"]
mod wire;

use common::Shop;
use serde_json::Value;
use std::time::Duration;
use wire::{Raw, ask, exchange};

const ORIGIN: &str = "https://page.example";

/// A request with a head of `lines` besides `Host`, an id and an origin.
fn request(line: &str, lines: &str, body: &str) -> String {
    format!("{line}\r\nHost: shop\r\nX-Request-Id: mine\r\nOrigin: {ORIGIN}\r\n{lines}\r\n{body}")
}

fn get(target: &str) -> String {
    request(&format!("GET {target} HTTP/1.1"), "", "")
}

fn post(lines: &str, body: &str) -> String {
    request("POST /carts/ HTTP/1.1", &format!("Content-Type: application/json\r\n{lines}"), body)
}

/// Requests that the server itself refuses, and how.
fn rows() -> Vec<Raw> {
    let line = |line: &str| request(line, "", "");
    let with = |lines: &str| request("GET /gifticons HTTP/1.1", lines, "");
    let hosts = |hosts: &str| {
        format!("GET /gifticons HTTP/1.1\r\n{hosts}X-Request-Id: mine\r\nOrigin: {ORIGIN}\r\n\r\n")
    };
    let target = |bytes: usize| get(&format!("/gifticons?x={}", "a".repeat(bytes - 13)));
    let sized = |length: usize, body: &str| post(&format!("Content-Length: {length}\r\n"), body);
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let many = "X-Many: x\r\n".repeat(117); // also of what a service takes
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
async fn what_the_server_cannot_read_is_refused_with_a_problem() {
    let shop = Shop::start().await;
    shop.web.register(1, 100, 5000).await;
    let mut asked = tokio::task::JoinSet::new();
    for (public, base) in [(true, &shop.web.base), (false, &shop.direct.cart.base)] {
        for row in rows() {
            // Of the four, cart has no gifticons: the rows are about what is no request at all.
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
    assert_eq!(shop.web.get("/carts").await["page"]["totalElements"], 0, "nothing was done");
    shop.stop().await;
}

#[tokio::test]
async fn a_refusal_by_the_server_is_in_the_clients_language() {
    let shop = Shop::start().await;
    for base in [&shop.web.base, &shop.direct.gifticon.base] {
        for target in
            [format!("/{}", "a".repeat(9_000)), format!("/{}", "a".repeat(70_000)), "/?\"".into()]
        {
            let sent = request(&format!("GET {target} HTTP/1.1"), "Accept-Language: ko\r\n", "");
            let answer = ask(base, &sent, false).await;
            assert!(answer.head.contains("content-language: ko"), "{}", answer.head);
        }
        // A pipelined request that cannot be read does not cost the one before its answer.
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
    let all = [&shop.web.base, &shop.direct.gifticon.base];
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
    assert!(answer.header("allow").is_none(), "a preflight is not for the service");
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
            &shop.direct.gifticon.base,
            &["/gifticons", "/gifticons/1", "/gifticons/search", "/actuator/health/liveness"],
        ),
    ] {
        for path in paths {
            for query in ["", "?page=0&size=5"] {
                let without = ask(base, &get(&format!("{path}{query}")), false).await;
                let with = ask(base, &get(&format!("{path}/{query}")), false).await;
                assert_eq!((without.status, with.status), (200, 200), "{path}{query}");
                // A payment may be written in between; its links are not.
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
    for base in [&shop.web.base, &shop.direct.cart.base] {
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
    for base in [&shop.web.base, &shop.direct.gifticon.base] {
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
async fn what_the_gateway_adds_to_a_head_does_not_count_against_its_client() {
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

#[tokio::test]
async fn nobody_waits_for_a_body_that_no_route_reads() {
    let shop = Shop::start().await;
    shop.web.register(1, 100, 5000).await;
    let lines =
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 50\r\n";
    for base in [&shop.web.base, &shop.direct.gifticon.base] {
        for (line, status) in [
            ("GET /gifticons", 200),
            ("GET /gifticons/1", 200),
            ("OPTIONS /gifticons/1", 200),
            ("GET /nothing", 404),
            ("POST /nothing", 404),
            ("PUT /gifticons/abc", 404),
            ("PATCH /gifticons/abc", 404),
            ("PUT /gifticons/1", 405),
            ("POST /gifticons/1", 405),
            ("DELETE /gifticons/9", 404),
        ] {
            let sent = request(&format!("{line} HTTP/1.1"), lines, "");
            let asked = ask(base, &sent, false);
            let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
            let answer = answer.unwrap_or_else(|_| panic!("{line} waits for a body"));
            assert_eq!(answer.status, status, "{line}: {}", answer.head);
        }
    }
    shop.stop().await;
}

#[tokio::test]
async fn a_path_has_one_answer_to_whether_it_is_there_whatever_the_method() {
    let shop = Shop::start().await;
    for base in [&shop.web.base, &shop.direct.gifticon.base] {
        // The table of bad requests has HEAD: its answer has a length and no body.
        for method in ["GET", "OPTIONS", "PUT", "POST", "PATCH", "DELETE", "CONNECT", "TRACE"] {
            for path in ["/nothing", "/gifticons/abc", "/gifticons/-1", "/gifticons/1.5/"] {
                let sent = request(&format!("{method} {path} HTTP/1.1"), "", "");
                let answer = ask(base, &sent, false).await;
                assert_eq!(answer.status, 404, "{method} {path}: {}", answer.head);
                assert_eq!(answer.header("allow"), None, "{method} {path}");
            }
        }
        for method in ["CONNECT", "TRACE", "PUT"] {
            let sent = request(&format!("{method} /gifticons HTTP/1.1"), "", "");
            let answer = ask(base, &sent, false).await;
            assert_eq!(answer.status, 405);
            assert_eq!(answer.header("allow"), Some("get,head,post,options"), "{method}");
        }
    }
    shop.stop().await;
}

/// The detail of the refusal of `line`, in English and in Korean, and its instance.
async fn refusal(base: &str, line: &str, body: &str) -> (String, String, Value) {
    let mut said = Vec::new();
    let mut instance = Value::Null;
    for lang in ["en", "ko"] {
        let length = body.len();
        let lines = format!(
            "Accept-Language: {lang}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
        );
        let answer = ask(base, &request(&format!("{line} HTTP/1.1"), &lines, body), false).await;
        assert!(answer.status >= 400, "{line}: {}", answer.head);
        said.push(answer.body["detail"].as_str().unwrap_or_default().to_owned());
        instance = answer.body["instance"].clone();
    }
    let korean = said.pop().unwrap();
    (said.pop().unwrap(), korean, instance)
}

#[tokio::test]
async fn a_refusal_says_what_can_be_done_and_of_what_path_it_is() {
    let shop = Shop::start().await;
    let management = &shop.management.cart.base;
    let (own, gateway, service) =
        (format!("{management}"), &shop.web.base, &shop.direct.gifticon.base);
    let root = own.strip_suffix("/cart").unwrap().to_owned();
    for (base, line, body, en, ko, instance) in [
        (
            gateway,
            "GET /nothing",
            "",
            "/gifticons, /carts, /payments, /mypages",
            "경로",
            "/nothing",
        ),
        (service, "GET /nothing", "", "/gifticons/search/findByGifticonId", "경로", "/nothing"),
        (gateway, "GET /carts/1/x", "", "/carts/{id}", "경로", "/carts/1/x"),
        (
            gateway,
            "PUT /gifticons",
            "",
            "takes GET,HEAD,POST",
            "메서드는 GET,HEAD,POST",
            "/gifticons",
        ),
        (gateway, "POST /payments", "{}", "takes GET,HEAD", "메서드는 GET,HEAD", "/payments"),
        (gateway, "GET /carts/abc", "", "whole number", "정수", "/carts/abc"),
        (service, "PUT /reservations/t-1", "{}", "UUID", "UUID", "/reservations/t-1"),
        (gateway, "GET /carts?\"", "", "escaped", "퍼센트 인코딩", "/carts"),
        (
            gateway,
            "POST /carts",
            "{\"gifticonId\":1}",
            "quantity is missing",
            "quantity 필드가 필요",
            "/carts",
        ),
        (
            gateway,
            "POST /carts",
            "{\"gifticonId\":[]}",
            "gifticonId: ",
            "gifticonId 필드에는 정수",
            "/carts",
        ),
        (gateway, "POST /carts", "{", "not JSON", "JSON 형식이 올바르지 않습니다", "/carts"),
        (&root, "GET /cart/nothing", "", "/cart/admin/parked", "경로", "/cart/nothing"),
        (&root, "POST /cart/metrics", "", "takes GET,HEAD", "메서드는 GET,HEAD", "/cart/metrics"),
        (&root, "DELETE /cart/admin/parked/1", "", "reason", "reason", "/cart/admin/parked/1"),
        (
            &root,
            "POST /cart/admin/parked/x/replay",
            "",
            "whole number",
            "정수",
            "/cart/admin/parked/x/replay",
        ),
        (&root, "PUT /cart/admin/parked/x", "", "whole number", "정수", "/cart/admin/parked/x"),
    ] {
        let (english, korean, of) = refusal(base, line, body).await;
        let english = english.replace(", HEAD", ",HEAD").replace(", POST", ",POST");
        let korean = korean.replace(", HEAD", ",HEAD").replace(", POST", ",POST");
        assert!(english.contains(en), "{line}: {english}");
        assert!(korean.contains(ko), "{line}: {korean}");
        assert_eq!(of, instance, "{line}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn the_head_of_a_refusal_has_the_length_of_the_whole() {
    let shop = Shop::start().await;
    let root = shop.management.cart.base.strip_suffix("/cart").unwrap().to_owned();
    for base in [&shop.web.base, &shop.direct.gifticon.base, &root] {
        for line in [
            "/nothing HTTP/1.1",
            "/gifticons/abc HTTP/1.1",
            "/gifticons/9 HTTP/1.1",
            "/gifticons?sort=x HTTP/1.1",
            "http://user@shop/gifticons HTTP/1.1",
            "/gifticons?\" HTTP/1.1",
            "/gifticons/9 HTTP/1.0",
        ] {
            let mut lengths = Vec::new();
            for method in ["GET", "HEAD"] {
                let sent = request(&format!("{method} {line}"), "Connection: close\r\n", "");
                let answer = exchange(base, &sent, false).await.to_ascii_lowercase();
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                assert_eq!(body.is_empty(), method == "HEAD", "{line}");
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                lengths.push(length.map(ToOwned::to_owned));
            }
            assert!(lengths[0].as_ref().is_some_and(|length| length != "0"), "{line}");
            assert_eq!(lengths[0], lengths[1], "{base} {line}");
        }
    }
    shop.stop().await;
}
