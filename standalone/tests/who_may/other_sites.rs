//! What pages of other sites may not make an operator's browser do at the management address.

use super::common::Shop;
use chassis::testing::{TestIssuer, answer};
use reqwest::{Client, Method};
use serde_json::json;

type Headers<'a> = &'a [(&'a str, &'a str)];

/// How a request was made, by its headers, and whether it is served on loopback and elsewhere.
const CALLS: [(&str, Headers<'_>, bool, bool); 9] = [
    ("by curl", &[], true, true),
    ("by kubectl port-forward", &[("host", "localhost:9082")], true, true),
    ("by IPv6", &[("host", "[::1]:9082")], true, true),
    ("by the address bar", &[("sec-fetch-site", "none")], true, true),
    ("by a form of another site", &[("sec-fetch-site", "cross-site")], false, false),
    ("by a neighbour", &[("sec-fetch-site", "same-site")], false, false),
    ("by an old browser", &[("origin", "https://evil.example")], false, false),
    ("by a page that hides where it is from", &[("origin", "null")], false, false),
    (
        "by a page whose name means this machine",
        &[
            ("host", "rebound.example"),
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://rebound.example"),
        ],
        false,
        true,
    ),
];

#[tokio::test]
async fn pages_of_other_sites_use_no_management_routes() {
    let issuer = TestIssuer::start().await;
    let client = Client::builder().no_proxy().build().unwrap();
    for (address, with_issuer) in
        [("127.0.0.1:0", false), ("127.0.0.1:0", true), ("0.0.0.0:0", false)]
    {
        let shop = Shop::with(|config| {
            config.listeners.management_addr = address.parse().unwrap();
            if with_issuer {
                config.auth = issuer.auth();
            }
        })
        .await;
        let base = shop.management["cart"].base.replace("0.0.0.0", "127.0.0.1");
        let ask = async |method: Method, path: &str, headers: Headers<'_>| {
            let request = client.request(method, format!("{base}{path}"));
            let request =
                headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
            answer(request).await
        };
        let mut replays = 0;
        for (how, headers, on_loopback, elsewhere) in CALLS {
            let is_served = if address.starts_with("127") { on_loopback } else { elsewhere };
            let (status, body) = ask(Method::POST, "/admin/parked/replay", headers).await;
            if is_served {
                assert_eq!((status, body), (200, json!({ "replayed": 0, "left": 0 })), "{how}");
                replays += 1;
            } else {
                assert_eq!((status, &body["type"]), (403, &json!("/problems/cross-site")), "{how}");
                let detail = body["detail"].as_str().unwrap();
                assert!(detail.contains("curl") || detail.contains("127.0.0.1"), "{detail}");
            }
            let read = ask(Method::GET, "/admin/parked", headers).await.0;
            assert_eq!(read, if is_served { 200 } else { 403 }, "{how}");
            // Probes and Prometheus call a pod by its address.
            for path in ["/metrics", "/actuator/health"] {
                assert_eq!(ask(Method::GET, path, headers).await.0, 200, "{how}: {path}");
            }
        }
        let (_, audit) = ask(Method::GET, "/admin/audit", &[]).await;
        let rows = audit.as_array().map_or(0, Vec::len);
        assert_eq!(rows, replays, "what was refused was done: {audit}");
        shop.stop().await;
    }
}
