//! Which fault is reported if a request has several, and the text of a refusal.

use super::common::Shop;
use super::common::services::services;
use super::wire::{ask, exchange};
use super::{ORIGIN, request};
use gateway::services::SERVICES;
use serde_json::Value;
use std::time::Duration;

#[tokio::test]
async fn nobody_waits_for_a_body_that_no_route_reads() {
    let shop = Shop::start().await;
    shop.web.register(1, 100, 5000).await;
    let lines =
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 50\r\n";
    for base in [&shop.web.base, &shop.direct["gifticon"].base] {
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
async fn an_unknown_path_is_404_for_every_method() {
    let shop = Shop::start().await;
    for base in [&shop.web.base, &shop.direct["gifticon"].base] {
        // HEAD is in the table of bad requests, because its answer has no body.
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

/// Returns the detail of the refusal of `line` in English and in Korean, and its instance.
async fn refusal(base: &str, line: &str, body: &str) -> (String, String, Value) {
    let mut details = Vec::new();
    let mut instance = Value::Null;
    for lang in ["en", "ko"] {
        let length = body.len();
        let lines = format!(
            "Accept-Language: {lang}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
        );
        let mut sent = request(&format!("{line} HTTP/1.1"), &lines, body);
        if line.contains("/admin/") {
            // Not from the page of another site, which is refused for that.
            sent = sent.replace(&format!("Origin: {ORIGIN}\r\n"), "");
            sent = sent.replace("Host: shop", "Host: localhost");
        }
        let answer = ask(base, &sent, false).await;
        assert!(answer.status >= 400, "{line}: {}", answer.head);
        details.push(answer.body["detail"].as_str().unwrap_or_default().to_owned());
        instance = answer.body["instance"].clone();
    }
    let korean = details.pop().unwrap();
    (details.pop().unwrap(), korean, instance)
}

#[tokio::test]
async fn a_refusal_says_what_can_be_done_and_of_what_path_it_is() {
    let shop = Shop::start().await;
    let root = shop.management["cart"].base.strip_suffix("/cart").unwrap().to_owned();
    let (gateway, service) = (&shop.web.base, &shop.direct["gifticon"].base);
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
async fn a_refused_head_request_has_the_content_length_of_get() {
    let shop = Shop::start().await;
    let root = shop.management["cart"].base.strip_suffix("/cart").unwrap().to_owned();
    for base in [&shop.web.base, &shop.direct["gifticon"].base, &root] {
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

/// Checks that each process serves the paths of its `surface`, and that the gateway reads the same bodies as the services.
#[tokio::test]
async fn each_process_serves_the_paths_that_it_names() {
    let shop = Shop::start().await;
    let services = services().map(|of| (&shop.direct[of.name].base, (of.surface)()));
    let gateway = (&shop.web.base, gateway::services::surface());
    let uuid = "018f0000-0000-7000-8000-000000000000";
    for (base, surface) in services.iter().chain([&gateway]) {
        for path in &surface.paths {
            let path = path.replace("{id}", "1").replace("{reservation}", uuid);
            let sent = request(&format!("OPTIONS {path} HTTP/1.1"), "", "");
            assert_eq!(ask(base, &sent, false).await.status, 200, "{path}");
        }
        for (method, path) in surface.bodies {
            assert!(surface.paths.iter().any(|named| path.starts_with(named)), "{method} {path}");
        }
    }
    let read = services.iter().flat_map(|(_, surface)| surface.bodies);
    let read: Vec<_> = read.filter(|(_, path)| !path.starts_with("/reservations")).collect();
    // The pages of the gateway read forms besides.
    let of_services = |path: &str| SERVICES.iter().any(|service| path.starts_with(service.path));
    let forwarded = gateway.1.bodies.iter().filter(|(_, path)| of_services(path));
    assert_eq!(read, forwarded.collect::<Vec<_>>());
    shop.stop().await;
}
