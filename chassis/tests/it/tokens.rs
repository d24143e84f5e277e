//! Whose tokens are believed, with a real issuer on loopback.

use axum::http::{HeaderMap, HeaderValue, header};
use chassis::auth::{Authenticator, Denied, Principal, Role};
use chassis::base::config::{Auth, AuthAlgorithm, Guests};
use chassis::base::metrics::Metrics;
use chassis::testing::{Algorithm, Header, TestIssuer, eventually, signing_key};
use common_events::Owner;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const REFUSED: Result<Option<Principal>, Denied> = Err(Denied::InvalidToken);

fn authenticator(auth: &Auth) -> Authenticator {
    Authenticator::new(auth, &Metrics::default()).unwrap()
}

fn bearing(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

async fn asked(authenticator: &Authenticator, token: &str) -> Result<Option<Principal>, Denied> {
    authenticator.principal(&bearing(token)).await
}

/// Returns the authenticator once it knows the keys.
async fn ready(issuer: &TestIssuer) -> Authenticator {
    let authenticator = authenticator(&issuer.auth());
    let token = issuer.token("somebody", &[]);
    eventually("keys", async || asked(&authenticator, &token).await.is_ok().then_some(())).await;
    authenticator
}

#[tokio::test]
async fn a_token_says_who_and_what_they_may() {
    let algorithms = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    let keys = algorithms.map(|algorithm| signing_key(&format!("{algorithm:?}"), algorithm));
    let issuer = TestIssuer::with(keys.to_vec()).await;
    let authenticator = ready(&issuer).await;
    for key in &keys {
        let token = key.sign(&issuer.claims("alice", &["customer", "offline_access", "md"]));
        for _ in 0..2 {
            let principal = asked(&authenticator, &token).await.unwrap().unwrap();
            assert_eq!(principal.owner(), &Owner::of_subject(&issuer.url, "alice"));
            let roles = [Role::Customer, Role::Md, Role::Operator].map(|role| principal.has(role));
            assert_eq!(roles, [true, true, false], "{}", key.id);
        }
    }
    assert_eq!(authenticator.principal(&HeaderMap::new()).await, Ok(None));
}

/// Each with why it is none.
#[tokio::test]
async fn a_token_that_is_not_whole_and_ours_is_refused() {
    let rsa = signing_key("rsa", Algorithm::RS256);
    let ec = signing_key("ec", Algorithm::ES256);
    let issuer = TestIssuer::with(vec![ec.clone(), rsa.clone()]).await;
    let authenticator = ready(&issuer).await;
    let claims = issuer.claims("alice", &["customer"]);
    let now = claims["iat"].as_u64().unwrap();
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        ec.sign(&changed)
    };
    let without = |name: &str| {
        let mut changed = claims.clone();
        changed.as_object_mut().unwrap().remove(name);
        ec.sign(&changed)
    };
    let good = ec.sign(&claims);
    assert!(asked(&authenticator, &good).await.is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let base64 = |json: Value| chassis::testing::base64url(json.to_string().as_bytes());
    let none = base64(json!({ "alg": "none", "typ": "JWT", "kid": "ec" }));
    // Who checks an HS256 token with the public key as the secret believes whoever knows that key: everybody.
    let head = base64(json!({ "alg": "HS256", "typ": "JWT", "kid": "rsa" }));
    let signed = format!("{head}.{}", parts[1]);
    let secret = rsa.jwk()["n"].as_str().unwrap();
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = chassis::testing::base64url(ring::hmac::sign(&secret, signed.as_bytes()).as_ref());
    let foreign = signing_key("ec", Algorithm::ES256); // the same `kid`
    let other_family = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::ES256) };
    let mut critical = Header { kid: Some("ec".into()), ..Header::new(Algorithm::ES256) };
    critical.crit = Some(vec!["b64".into()]);
    let mut admin = claims.clone();
    admin["realm_access"]["roles"] = json!(["operator"]);
    for (why, token) in [
        ("nothing", String::new()),
        ("no token", "x".into()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("not signed", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", format!("{none}.{}.", parts[1])),
        ("alg none with a signature", format!("{none}.{}.{}", parts[1], parts[2])),
        ("a shared secret", format!("{signed}.{tag}")),
        ("other claims", format!("{}.{}.{}", parts[0], base64(admin), parts[2])),
        ("another key with the same id", foreign.sign(&claims)),
        ("another audience", with("aud", json!("account"))),
        ("no audience", without("aud")),
        ("another issuer", with("iss", json!("https://id.example"))),
        ("a list of issuers", with("iss", json!([issuer.url]))),
        ("a critical extension", ec.sign_as(&critical, &claims)),
        ("no issuer", without("iss")),
        ("expired", with("exp", json!(now - 31))),
        ("no end", without("exp")),
        ("an end that is no number", with("exp", json!("never"))),
        ("not yet", with("nbf", json!(now + 60))),
        ("no subject", without("sub")),
        ("an empty subject", with("sub", json!(""))),
        ("a subject that is no text", with("sub", json!(7))),
        ("a long subject", with("sub", json!("x".repeat(256)))),
        ("a subject with a line break", with("sub", json!("a\nb"))),
        ("too long", with("more", json!("x".repeat(9_000)))),
    ] {
        assert_eq!(asked(&authenticator, &token).await, REFUSED, "{why}");
    }
    let of_another_family = ec.sign_as(&other_family, &claims);
    assert_eq!(asked(&authenticator, &of_another_family).await, Err(Denied::UnknownKey));
    // The clocks may be half a minute apart.
    assert!(asked(&authenticator, &with("exp", json!(now - 20))).await.is_ok());
    assert!(asked(&authenticator, &with("nbf", json!(now + 20))).await.is_ok());
    assert!(asked(&authenticator, &with("aud", json!(["account", "gifticon"]))).await.is_ok());
}

#[tokio::test]
async fn a_token_comes_in_one_header() {
    let issuer = TestIssuer::start().await;
    let authenticator = ready(&issuer).await;
    let token = issuer.token("alice", &[]);
    let mut twice = bearing(&token);
    twice.append(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    assert_eq!(authenticator.principal(&twice).await, REFUSED);
    for value in ["Basic YTpi", &token, "Bearer", "Bearer\u{e9} x"] {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        assert_eq!(authenticator.principal(&headers).await, REFUSED);
    }
    let value = HeaderValue::from_str(&format!("bearer {token}")).unwrap();
    let lower = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    assert!(authenticator.principal(&lower).await.is_ok(), "schemes have no case");
}

#[tokio::test]
async fn roles_are_where_the_setting_says() {
    let issuer = TestIssuer::start().await;
    let auth = |path: &str| Auth { auth_roles_claim: path.into(), ..issuer.auth() };
    let mut claims = issuer.claims("alice", &["md"]);
    claims["roles"] = json!(["operator"]);
    claims["text"] = json!("md");
    let token = issuer.key().sign(&claims);
    for (path, md, operator) in [
        ("realm_access.roles", true, false),
        ("roles", false, true),
        ("text", false, false),
        ("a.b", false, false),
    ] {
        let authenticator = authenticator(&auth(path));
        let known = async || asked(&authenticator, &token).await.ok().flatten();
        let principal = eventually("keys", known).await;
        assert_eq!(
            (principal.has(Role::Md), principal.has(Role::Operator)),
            (md, operator),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_allowed_is_refused() {
    let issuer = TestIssuer::start().await;
    let auth = Auth { auth_algorithms: vec![AuthAlgorithm::Rs256], ..issuer.auth() };
    assert_eq!(asked(&authenticator(&auth), &issuer.token("alice", &[])).await, REFUSED);
}

#[tokio::test]
async fn without_a_token_somebody_is_a_guest_where_guests_are_allowed() {
    let issuer = TestIssuer::start().await;
    let auth = Auth { auth_guests: Guests::Allow, ..issuer.auth() };
    let guest = authenticator(&auth).principal(&HeaderMap::new()).await.unwrap().unwrap();
    assert!(guest.is_guest() && guest.has(Role::Customer) && !guest.has(Role::Md));
    let open = authenticator(&Auth::open());
    assert_eq!(open.principal(&HeaderMap::new()).await, Ok(Some(Principal::open())));
    assert_eq!(asked(&open, &issuer.token("alice", &[])).await, REFUSED, "no issuer is known");
    for (value, is_token) in [("Bearer", true), ("BEARER\tx", true), ("Basic YTpi", false)] {
        let headers =
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
        assert_eq!(open.principal(&headers).await.is_err(), is_token, "{value}");
    }
}

/// The key is looked for before a signature is checked: whoever sends random ids could make the issuer busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_unknown_keys_are_one_look() {
    let issuer = TestIssuer::start().await;
    let authenticator = ready(&issuer).await;
    let (before, began) = (issuer.looks(), Instant::now());
    let stranger = signing_key("x", Algorithm::ES256);
    let claims = issuer.claims("mallory", &["operator"]);
    let one = stranger.sign(&claims);
    let (_, rest) = one.split_once('.').unwrap();
    let tokens: Vec<String> = (0..10_000)
        .map(|number| {
            let head = json!({ "alg": "ES256", "typ": "JWT", "kid": format!("unknown-{number}") });
            format!("{}.{rest}", chassis::testing::base64url(head.to_string().as_bytes()))
        })
        .collect();
    let known = issuer.token("alice", &[]);
    for some in tokens.chunks(500) {
        let refused = join_all(some.iter().map(|token| asked(&authenticator, token))).await;
        assert!(refused.into_iter().all(|one| one == Err(Denied::UnknownKey)));
        assert!(asked(&authenticator, &known).await.is_ok(), "nobody else is harmed");
    }
    let intervals = usize::try_from(began.elapsed().as_secs() / 10).unwrap() + 1;
    assert!(issuer.looks() - before <= intervals, "{} looks", issuer.looks() - before);
}

#[tokio::test]
async fn a_key_that_the_issuer_rotates_is_taken_within_seconds() {
    let issuer = TestIssuer::start().await;
    let authenticator = ready(&issuer).await;
    let (old, new) = (issuer.key(), signing_key("second", Algorithm::EdDSA));
    let claims = issuer.claims("alice", &[]);
    issuer.publish(vec![new.clone(), old.clone()]);
    let began = Instant::now();
    eventually("the new key", async || {
        assert!(asked(&authenticator, &old.sign(&claims)).await.is_ok(), "the old key holds");
        asked(&authenticator, &new.sign(&claims)).await.is_ok().then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_issuer_that_is_away_harms_nobody_whose_key_is_known() {
    let issuer = TestIssuer::start().await;
    issuer.is_away(true);
    let authenticator = authenticator(&issuer.auth());
    let token = issuer.token("alice", &[]);
    assert_eq!(asked(&authenticator, &token).await, Err(Denied::IssuerAway), "nobody can know");
    issuer.is_away(false);
    eventually("the issuer", async || asked(&authenticator, &token).await.is_ok().then_some(()))
        .await;
    issuer.is_away(true);
    for name in ["bob", "carol", "dave"] {
        let fresh = issuer.token(name, &["customer"]);
        assert!(asked(&authenticator, &fresh).await.is_ok(), "its key is known");
    }
    let unknown = signing_key("second", Algorithm::ES256).sign(&issuer.claims("eve", &[]));
    assert_eq!(asked(&authenticator, &unknown).await, Err(Denied::UnknownKey));
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_not_believed() {
    let issuer = TestIssuer::start().await;
    let auth = Auth::with_issuer(format!("{}/", issuer.url)); // it calls itself so without the slash
    let token = issuer.token("alice", &[]);
    assert_eq!(asked(&authenticator(&auth), &token).await, Err(Denied::IssuerAway));
    let keys = format!("{}/keys", issuer.url);
    let auth = Auth { auth_jwks_url: Some(keys), ..Auth::with_issuer("https://id.example") };
    let authenticator = authenticator(&auth);
    let mut claims = issuer.claims("alice", &[]);
    claims["iss"] = json!("https://id.example");
    let token = issuer.key().sign(&claims);
    eventually("keys", async || asked(&authenticator, &token).await.is_ok().then_some(())).await;
}
