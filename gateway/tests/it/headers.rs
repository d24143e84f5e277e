//! Headers that the gateway replaces, removes or adds: `X-Forwarded-*`, hop-by-hop headers, ids and traces, CORS.

use crate::common::{behind, byte_server, gateway, header_values, mirror, raw, refusing};
use axum::Router;
use axum::routing::{any, get};
use chassis::Running;
use chassis::testing::peer;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[tokio::test]
async fn forwarded_headers_of_an_untrusted_client_are_replaced() {
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
    assert_eq!(header_values(&mirrored, "x-forwarded-host"), ["shop.example:8088"]);
    assert_eq!(header_values(&mirrored, "x-forwarded-proto"), ["http"]);
    assert_eq!(header_values(&mirrored, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(header_values(&mirrored, "host"), [upstream.strip_prefix("http://").unwrap()]);
    assert_eq!(header_values(&mirrored, "x-kept"), ["yes"]);
    for name in ["x-forwarded-port", "x-forwarded-prefix", "forwarded", "x-real-ip"] {
        assert!(header_values(&mirrored, name).is_empty(), "{name} was forwarded");
    }
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
        assert_eq!(header_values(&mirrored, name), [value], "{name}");
    }
    assert!(
        header_values(&mirrored, "forwarded").is_empty()
            && header_values(&mirrored, "x-real-ip").is_empty()
    );
    let link = |answer: &Value| answer["_links"]["carts"]["href"].as_str().unwrap().to_owned();
    let root = ask.replace("GET /carts", "GET /");
    let (_, _, index) = raw(trusting.addr(), &root).await;
    assert!(link(&index).starts_with("https://shop.example/shop/carts"), "{index}");

    let standard = "GET /carts HTTP/1.1\r\nHost: inner\r\n\
                    Forwarded: for=1.2.3.4;proto=https;host=shop.example\r\n\r\n";
    let (_, _, mirrored) = raw(trusting.addr(), standard).await;
    assert_eq!(header_values(&mirrored, "x-forwarded-proto"), ["https"]);
    assert_eq!(header_values(&mirrored, "x-forwarded-host"), ["shop.example"]);

    let invalid = "GET /carts HTTP/1.1\r\nHost: inner\r\nX-Forwarded-Host: :::\r\n\
                   X-Forwarded-Proto: gopher\r\nX-Forwarded-Port: x\r\n\r\n";
    let (_, _, mirrored) = raw(trusting.addr(), invalid).await;
    assert_eq!(header_values(&mirrored, "x-forwarded-host"), ["inner"]);
    assert_eq!(header_values(&mirrored, "x-forwarded-proto"), ["http"]);
    assert!(header_values(&mirrored, "x-forwarded-port").is_empty());

    let wary = behind(&upstream, &[], &["10.0.0.0/8"]).await;
    let (_, _, mirrored) = raw(wary.addr(), ask).await;
    assert_eq!(header_values(&mirrored, "x-forwarded-host"), ["inner:8080"]);
    assert_eq!(header_values(&mirrored, "x-forwarded-proto"), ["http"]);
    assert_eq!(header_values(&mirrored, "x-forwarded-for"), ["127.0.0.1"]);
    let (_, _, index) = raw(wary.addr(), &root).await;
    assert!(link(&index).starts_with("http://inner:8080/carts"), "{index}");
}

#[tokio::test]
async fn hop_by_hop_headers_are_not_forwarded() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let upstream = byte_server(move |mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(stream.message().await.unwrap().to_ascii_lowercase()).unwrap();
            let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Inner\r\nX-Inner: secret\r\n\
                          Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Kept: yes\r\n\
                          Content-Length: 2\r\n\r\nok";
            stream.send(answer).await;
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
    let request = received.recv().await.unwrap();
    assert_eq!(status, 200);
    for (text, removed) in [
        (
            &request,
            &["secret", "timeout=9", "trailers", "proxy-auth", "websocket", "connection:"][..],
        ),
        (&head, &["secret", "timeout=5", "proxy-auth"][..]),
    ] {
        assert!(text.contains("x-kept: yes"), "{text}");
        for removed in removed {
            assert!(!text.contains(removed), "{removed} was forwarded: {text}");
        }
    }
    assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "the body is incomplete: {request}");
}

#[tokio::test]
async fn a_request_gets_an_id_and_a_trace() {
    let gateway = gateway(&mirror().await, &[]).await;
    let ask = async |id: &str, trace: &str| {
        let request = Client::default().get(format!("{}/carts", gateway.url()));
        let request = request.header("x-request-id", id).header("traceparent", trace);
        let answer = request.send().await.unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let mirrored: Value = answer.json().await.unwrap();
        assert_eq!(
            header_values(&mirrored, "x-request-id"),
            [&id],
            "the client and the service get the same id"
        );
        let traces = header_values(&mirrored, "traceparent");
        assert_eq!(traces.len(), 1, "{traces:?}");
        (id, traces[0].to_owned())
    };
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (id, forwarded) = ask("checkout-17", trace).await;
    assert_eq!((id.as_str(), &forwarded[..35]), ("checkout-17", &trace[..35]));
    let long = "x".repeat(129);
    for (id, trace) in
        [("", ""), ("two words", "00-0-0-01"), (&long, &trace.replace("0af7", "0AF7"))]
    {
        let (new_id, new_trace) = ask(id, trace).await;
        assert!(new_id != id && (1..=128).contains(&new_id.len()), "{new_id}");
        let parts: Vec<&str> = new_trace.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!((parts[0], &lengths[..]), ("00", &[2, 32, 16, 2][..]), "{new_trace}");
    }
    let (_, head, _) = raw(gateway.addr(), "GET /nothing HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert!(head.contains("x-request-id: "), "an error response has no id: {head}");
}

/// Returns the allowed origin, and whether credentials are allowed, in the response to a page of `origin`.
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
            let allowed = cors(&gateway, method.clone(), path, "https://any.example").await;
            assert_eq!(allowed, [Some("*".into()), None], "{method} {path}");
        }
    }
}

#[tokio::test]
async fn pages_of_named_origins_may_call_with_credentials_and_no_others() {
    let named = ["https://shop.example", "http://localhost:3000"];
    let gateway = gateway(&mirror().await, &named).await;
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        for origin in named {
            let allowed = cors(&gateway, method.clone(), "/carts", origin).await;
            assert_eq!(allowed, [Some(origin.into()), Some("true".into())], "{method} {origin}");
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
    let (_port, refusing) = refusing();
    for (upstream, refusal) in [(refusing, 502), (busy, 503), (late, 504)] {
        let gateway = gateway(&upstream, &[]).await;
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
async fn every_response_says_what_browsers_must_not_do() {
    let (_port, refusing) = refusing();
    let upstream =
        Router::new().route("/carts", get(async || ([("referrer-policy", "no-referrer")], "")));
    let gateways = [gateway(&refusing, &[]).await, gateway(&peer(upstream), &[]).await];
    let preflight = "OPTIONS /carts HTTP/1.1\r\nHost: s\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: POST";
    for (request, policy) in [
        ("GET / HTTP/1.1\r\nHost: s", "same-origin"),
        ("GET /shop HTTP/1.1\r\nHost: s\r\nAccept: text/html", "same-origin"),
        ("GET /nothing HTTP/1.1\r\nHost: s", "same-origin"),
        ("GET /?\" HTTP/1.1\r\nHost: s", "same-origin"),
        ("GET /actuator/health HTTP/1.1\r\nHost: s", "same-origin"),
        ("GET /gifticons HTTP/1.1\r\nHost: s", "same-origin"),
        ("OPTIONS /carts HTTP/1.1\r\nHost: s", "same-origin"),
        (preflight, "same-origin"),
        ("GET /carts HTTP/1.1\r\nHost: s", "same-origin or that of the service"),
    ] {
        for (gateway, own) in gateways.iter().zip([false, true]) {
            let (_, head, _) = raw(gateway.addr(), &format!("{request}\r\n\r\n")).await;
            let has = |line: &str| head.lines().filter(|one| *one == line).count() == 1;
            assert!(has("x-content-type-options: nosniff"), "{request}: {head}");
            let own = own && policy.ends_with("service");
            let policy = if own { "no-referrer" } else { "same-origin" };
            assert!(has(&format!("referrer-policy: {policy}")), "{request}: {head}");
            assert!(!head.contains("strict-transport-security"), "{request}: {head}");
        }
    }
}

#[tokio::test]
async fn browsers_keep_to_https_where_a_trusted_proxy_says_that_they_use_it() {
    let upstream =
        Router::new().fallback(any(async || ([("strict-transport-security", "max-age=0")], "")));
    let upstream = peer(upstream);
    let trusting = behind(&upstream, &[], &["127.0.0.0/8"]).await;
    let strict = gateway(&upstream, &[]).await;
    for (gateway, proto, kept) in
        [(&trusting, "https", true), (&trusting, "http", false), (&strict, "https", false)]
    {
        for target in ["/carts", "/nothing", "/?\""] {
            let ask =
                format!("GET {target} HTTP/1.1\r\nHost: s\r\nX-Forwarded-Proto: {proto}\r\n\r\n");
            let (_, head, _) = raw(gateway.addr(), &ask).await;
            let header = "strict-transport-security: max-age=31536000";
            // Of a head that cannot be read, the headers of a proxy are not known either.
            let kept = kept && target != "/?\"";
            assert_eq!(head.lines().any(|line| line == header), kept, "{proto} {target}: {head}");
            assert!(
                kept || !head.contains("strict-transport-security"),
                "{proto} {target}: {head}"
            );
        }
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_send_the_headers_that_the_shop_reads() {
    let gateway = gateway(&mirror().await, &[]).await;
    let request = Client::default().request(Method::OPTIONS, format!("{}/carts", gateway.url()));
    let request = request.header("origin", "https://a.example");
    let request = request.header("access-control-request-method", "POST").header(
        "access-control-request-headers",
        "authorization,idempotency-key,if-match,last-event-id",
    );
    let answer = request.send().await.unwrap();
    let list = |name: &str| {
        let value = answer.headers()[name].to_str().unwrap().to_ascii_lowercase();
        value.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>()
    };
    let allowed = list("access-control-allow-headers");
    for header in [
        "accept",
        "accept-language",
        "authorization",
        "content-type",
        "idempotency-key",
        "if-match",
        "if-none-match",
        "last-event-id",
        "traceparent",
        "x-request-id",
    ] {
        assert!(allowed.iter().any(|one| one == header), "{header} is not in {allowed:?}");
    }
    let request = Client::default().get(format!("{}/carts", gateway.url()));
    let answer = request.header("origin", "https://a.example").send().await.unwrap();
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap();
    for header in ["etag", "location", "retry-after", "www-authenticate", "x-request-id"] {
        assert!(exposed.to_ascii_lowercase().contains(header), "{header} is not in {exposed}");
    }
}
