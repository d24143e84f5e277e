//! Who may do what, with an issuer: every route of the OpenAPI document, by everybody, with every kind of token.

#[path = "who_may/abuse.rs"]
mod abuse;
mod common;
#[path = "who_may/other_sites.rs"]
mod other_sites;
#[path = "who_may/stream_ends.rs"]
mod stream_ends;

use chassis::base::config::Guests;
use chassis::testing::{Algorithm, TestIssuer, base64url, eventually, signing_key};
use common::Shop;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// Who may use the operations at a path, besides those who may use all of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    Everybody,
    Customers,
    Readers,
    Mds,
}

/// The kinds of callers, each with the roles in their token; `None` has none.
const CALLERS: [(&str, Option<&[&str]>); 6] = [
    ("nobody", None),
    ("alice", Some(&["customer"])),
    ("bob", Some(&["customer"])),
    ("minji", Some(&["md"])),
    ("ops", Some(&["operator"])),
    ("stranger", Some(&["offline_access"])),
];

/// Returns who may use an operation. This is the table of `docs/how/identity.md`.
fn who_may(method: &Method, path: &str) -> May {
    match (method.as_str(), path.split('/').nth(1).unwrap()) {
        ("GET", "gifticons") => May::Everybody,
        (_, "gifticons") => May::Mds,
        ("GET", "carts" | "payments" | "mypages") if path.ends_with("/search") => May::Everybody,
        ("GET", "carts" | "payments" | "mypages" | "live") => May::Readers,
        (_, "carts") => May::Customers,
        other => panic!("nobody said who may {other:?}"),
    }
}

/// Returns the status of a refusal, or `None` for whom may.
fn refusal(may: May, roles: Option<&[&str]>) -> Option<u16> {
    let wanted: &[&str] = match may {
        May::Everybody => return None,
        May::Customers => &["customer"],
        May::Readers => &["customer", "md", "operator"],
        May::Mds => &["md"],
    };
    match roles {
        None => Some(401),
        Some(roles) if roles.iter().any(|role| wanted.contains(role)) => None,
        Some(_) => Some(403),
    }
}

struct Walk {
    shop: Shop,
    issuer: TestIssuer,
    client: Client,
}

impl Walk {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a shop with an issuer and settings that `change` changes.
    async fn with(change: impl FnOnce(&mut standalone::StandaloneConfig)) -> Self {
        let issuer = TestIssuer::start().await;
        let auth = issuer.auth();
        let shop = Shop::with(|config| {
            config.auth = auth.clone();
            change(config);
        })
        .await;
        let walk = Self { shop, issuer, client: Client::builder().no_proxy().build().unwrap() };
        let url = format!("{}/carts", walk.shop.web.base);
        let token = walk.issuer.token("alice", &["customer"]);
        eventually("keys of the issuer", async || {
            let response = walk.client.get(&url).bearer_auth(&token).send().await.unwrap();
            (response.status() == 200).then_some(())
        })
        .await;
        walk
    }

    /// Returns a request for each operation of the document, with what it needs to be understood.
    fn operations(&self) -> Vec<(Method, String, RequestBuilder)> {
        let document: Value =
            serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                if operation["tags"][0] == "pages" {
                    continue; // everybody gets one; what it shows comes by the other operations
                }
                let query: Vec<String> = operation["parameters"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|parameter| parameter["in"] == "query" && parameter["required"] == true)
                    .map(|parameter| format!("{}=1", parameter["name"].as_str().unwrap()))
                    .collect();
                let path_here = format!("{}?{}", path.replace("{id}", "1"), query.join("&"));
                let url = format!("{}{path_here}", self.shop.web.base);
                let mut request = self.client.request(method.clone(), url);
                let example = &operation["requestBody"]["content"]["application/json"]["example"];
                if !example.is_null() {
                    request = request.json(example);
                }
                operations.push((method, path.clone(), request));
            }
        }
        assert!(operations.len() > 15, "the document has operations");
        operations
    }

    /// Returns tokens that nobody may believe, each with what is wrong with it.
    fn bad_tokens(&self) -> Vec<(&'static str, String)> {
        let (issuer, key) = (&self.issuer, self.issuer.key());
        let claims = issuer.claims("alice", &["customer", "md", "operator"]);
        let with = |name: &str, value: Value| {
            let mut changed = claims.clone();
            changed[name] = value;
            key.sign(&changed)
        };
        let foreign = signing_key(&key.id, Algorithm::ES256);
        let good = key.sign(&claims);
        let body = good.split('.').nth(1).unwrap();
        let head = |algorithm: &str| {
            base64url(json!({ "alg": algorithm, "kid": key.id }).to_string().as_bytes())
        };
        let signed = format!("{}.{body}", head("HS256"));
        let secret = key.jwk()["x"].as_str().unwrap();
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = base64url(ring::hmac::sign(&secret, signed.as_bytes()).as_ref());
        vec![
            ("expired", with("exp", json!(1_700_000_000))),
            ("foreign", foreign.sign(&claims)),
            ("of another issuer", with("iss", json!("https://id.example"))),
            ("alg none", format!("{}.{body}.", head("none"))),
            ("HS256 with the public key", format!("{signed}.{tag}")),
            ("of another audience", with("aud", json!("account"))),
            ("no token", "x".into()),
        ]
    }
}

fn challenge(response: &Response) -> &str {
    response.headers().get("www-authenticate").map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn every_route_is_for_those_who_may_and_nobody_else() {
    walk_by(Walk::start().await, &CALLERS).await;
}

/// Somebody without a token is a guest, who may what a customer may.
#[tokio::test]
async fn every_route_that_is_for_customers_is_for_guests_where_they_are_allowed() {
    let walk = Walk::with(|config| config.auth.auth_guests = Guests::Allow).await;
    for (method, path, request) in walk.operations() {
        let status = request.send().await.unwrap().status().as_u16();
        let what = format!("{method} {path} by a guest: {status}");
        match refusal(who_may(&method, &path), Some(&["customer"])) {
            None => assert!(![401, 403].contains(&status) && status < 500, "{what}"),
            Some(_) => assert_eq!(status, 401, "{what}"),
        }
    }
    walk_by(walk, &CALLERS[1..]).await; // those with a token
}

async fn walk_by(walk: Walk, callers: &[(&str, Option<&[&str]>)]) {
    for (method, path, request) in walk.operations() {
        let may = who_may(&method, &path);
        for &(name, roles) in callers {
            let mut request = request.try_clone().unwrap();
            if let Some(roles) = roles {
                request = request.bearer_auth(walk.issuer.token(name, roles));
            }
            let response = request.send().await.unwrap();
            let (status, wanted) = (response.status().as_u16(), refusal(may, roles));
            let what = format!("{method} {path} by {name}: {status}");
            match wanted {
                None => assert!(![401, 403].contains(&status) && status < 500, "{what}"),
                Some(wanted) => assert_eq!(status, wanted, "{what}"),
            }
            match status {
                401 => assert_eq!(challenge(&response), "Bearer", "{what}"),
                403 => assert_eq!(
                    challenge(&response),
                    "Bearer error=\"insufficient_scope\"",
                    "{what}"
                ),
                _ => {}
            }
        }
    }
    walk.shop.stop().await;
}

#[tokio::test]
async fn a_bad_token_opens_no_route_and_is_not_told_why() {
    let walk = Walk::start().await;
    let direct: Vec<String> =
        walk.shop.direct.values().map(|service| service.base.clone()).collect();
    for (why, token) in walk.bad_tokens() {
        for (method, path, request) in walk.operations() {
            let response = request.bearer_auth(&token).send().await.unwrap();
            assert_eq!(response.status(), 401, "{method} {path}: {why}");
            assert_eq!(challenge(&response), "Bearer error=\"invalid_token\"");
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["type"], "/problems/unauthenticated");
            assert_eq!(problem["detail"], "this token is not accepted; sign in again", "{why}");
        }
        // The services check for themselves.
        for base in &direct {
            let response = walk.client.get(base).bearer_auth(&token).send().await.unwrap();
            assert_eq!(response.status(), 401, "{base}: {why}");
        }
    }
    walk.shop.stop().await;
}

#[tokio::test]
async fn a_token_in_a_query_is_none() {
    let walk = Walk::start().await;
    let token = walk.issuer.token("alice", &["customer"]);
    let url = format!("{}/carts?access_token={token}", walk.shop.web.base);
    let response = walk.client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 401);
    walk.shop.stop().await;
}

#[tokio::test]
async fn reservations_are_for_services_alone() {
    let walk = Walk::start().await;
    let path = "/reservations/018f0000-0000-7000-8000-000000000000";
    let body = json!({ "gifticonId": 1, "quantity": 1 });
    for (base, refused) in [(&walk.shop.web.base, 404), (&walk.shop.direct["gifticon"].base, 403)] {
        for roles in [&["customer"][..], &["md", "operator"]] {
            let request = walk.client.put(format!("{base}{path}")).json(&body);
            let request = request.bearer_auth(walk.issuer.token("mallory", roles));
            let request = request.header("x-service-token", "x".repeat(40));
            assert_eq!(request.send().await.unwrap().status(), refused, "{base}");
        }
    }
    // Cart has the token.
    let md = walk.issuer.token("minji", &["md"]);
    let gifticon =
        json!({ "gifticonId": 1, "name": "Cake", "availableQuantity": 5, "price": 5000 });
    let post = async |path: &str, token: &str, body: &Value| {
        let request = walk.client.post(format!("{}{path}", walk.shop.web.base)).bearer_auth(token);
        request.json(body).send().await.unwrap().status()
    };
    assert_eq!(post("/gifticons", &md, &gifticon).await, StatusCode::CREATED);
    let alice = walk.issuer.token("alice", &["customer"]);
    let cart = json!({ "gifticonId": 1, "quantity": 1 });
    assert_eq!(post("/carts", &alice, &cart).await, StatusCode::CREATED);
    walk.shop.stop().await;
}

#[tokio::test]
async fn operators_alone_use_the_management_routes_where_others_reach_them() {
    let issuer = TestIssuer::start().await;
    let client = Client::builder().no_proxy().build().unwrap();
    for (address, guarded) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let auth = issuer.auth();
        let shop = Shop::with(|config| {
            config.auth = auth.clone();
            config.listeners.management_addr = address.parse().unwrap();
        })
        .await;
        let base = shop.management["cart"].base.replace("0.0.0.0", "127.0.0.1");
        let ask = async |path: &str, roles: Option<&[&str]>| {
            let mut request = client.get(format!("{base}{path}"));
            if let Some(roles) = roles {
                request = request.bearer_auth(issuer.token("ops", roles));
            }
            request.send().await.unwrap().status().as_u16()
        };
        eventually("keys", async || {
            (ask("/admin/parked", Some(&["operator"])).await == 200).then_some(())
        })
        .await;
        let nobody = if guarded { 401 } else { 200 };
        assert_eq!(ask("/admin/parked", None).await, nobody);
        if guarded {
            assert_eq!(ask("/admin/parked", Some(&["md", "customer"])).await, 403);
        }
        for path in ["/metrics", "/actuator/health"] {
            assert_eq!(ask(path, None).await, 200, "{path}: probes and Prometheus have no token");
        }
        shop.stop().await;
    }
}

#[tokio::test]
async fn an_owner_writes_so_often_a_second_and_no_more() {
    let walk = Walk::start().await;
    let url = format!("{}/carts", walk.shop.web.base);
    let cart = json!({ "gifticonId": 9, "quantity": 1 });
    let write = async |name: &str| {
        let token = walk.issuer.token(name, &["customer"]);
        let response = walk.client.post(&url).bearer_auth(token).json(&cart).send().await.unwrap();
        let retry =
            response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry)
    };
    let began = std::time::Instant::now();
    let (mut taken, mut refused) = (0_u64, 0);
    while refused < 5 {
        match write("alice").await {
            (404, None) => taken += 1, // there is no such gifticon
            (429, Some(retry)) => {
                assert_eq!(retry, "1");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
        assert!(taken < 200, "nothing is refused");
    }
    let seconds = began.elapsed().as_secs() + 1;
    assert!((20..=20 + 20 * seconds).contains(&taken), "{taken} in {seconds} s");
    assert_eq!(write("bob").await.0, 404, "others are not harmed");
    let read = walk.client.get(&url).bearer_auth(walk.issuer.token("alice", &["customer"]));
    assert_eq!(read.send().await.unwrap().status(), 200, "reads are not counted");
    walk.shop.stop().await;
}
