//! OWASP API7 and API10: an issuer that answers with nonsense, too much, or the address of somebody else, and tokens that name
//! where to get keys.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chassis::auth::{Authenticator, Denied};
use chassis::base::config::Auth;
use chassis::base::metrics::Metrics;
use chassis::testing::{Algorithm, Header, TestIssuer, eventually, peer, signing_key};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server answers with.
#[derive(Clone)]
enum Answer {
    Text(String),
    /// Bytes without an end.
    Endless,
    /// Nothing, for ever.
    Never,
    Redirect(String),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Text(text) => text.into_response(),
            Self::Endless => {
                let piece = || Ok::<_, std::io::Error>("{\"keys\": [".repeat(1_000));
                Body::from_stream(futures_util::stream::repeat_with(piece)).into_response()
            }
            Self::Never => {
                let pending = futures_util::stream::pending::<std::io::Result<&str>>();
                Body::from_stream(pending).into_response()
            }
            Self::Redirect(to) => {
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
            }
        }
    }
}

/// A server at `AUTH_JWKS_URL` that says what it is told to.
#[derive(Clone)]
struct Keys {
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Keys {
    fn start(answer: Answer) -> (Self, String) {
        let keys = Self { answer: Arc::new(Mutex::new(answer)), asked: Arc::default() };
        let serve = async |State(keys): State<Self>| {
            keys.asked.fetch_add(1, Ordering::Relaxed);
            keys.answer.lock().unwrap().clone()
        };
        let url = peer(Router::new().fallback(get(serve)).with_state(keys.clone()));
        (keys, url)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn asked(authenticator: &Authenticator, token: &str) -> Result<(), Denied> {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    authenticator.principal(&headers).await.map(drop)
}

fn authenticator(auth: &Auth) -> Authenticator {
    Authenticator::new(auth, &Metrics::default()).unwrap()
}

/// Returns the documents that are no keys of an issuer, each with a name. The last answer leads to the keys of `other`.
fn nonsense(other: &TestIssuer) -> Vec<(&'static str, Answer)> {
    let text = |text: &str| Answer::Text(text.into());
    let key = other.key().jwk().clone();
    let mut encrypting = key.clone();
    encrypting["use"] = json!("enc");
    let secret = json!({ "kty": "oct", "kid": "first", "alg": "HS256", "k": "c2VjcmV0" });
    let padded = json!({ "padding": "x".repeat(300 * 1024), "keys": [key] });
    vec![
        ("nothing", text("")),
        ("no JSON", text("<html>maintenance</html>")),
        ("half a document", text("{\"keys\": [{\"kty\":")),
        ("no keys", text("{\"keys\": []}")),
        ("keys that are no list", text("{\"keys\": \"first\"}")),
        ("a deep document", Answer::Text("[".repeat(200_000))),
        ("a shared secret", Answer::Text(json!({ "keys": [secret] }).to_string())),
        ("a key for encryption", Answer::Text(json!({ "keys": [encrypting] }).to_string())),
        ("more than 256 KiB", Answer::Text(padded.to_string())),
        ("no end", Answer::Endless),
        ("silence", Answer::Never),
        ("a redirect", Answer::Redirect(format!("{}/keys", other.url))),
    ]
}

#[tokio::test]
async fn nonsense_of_an_issuer_opens_nothing_and_what_is_good_is_taken_after_it() {
    let issuer = TestIssuer::start().await;
    let token = issuer.token("alice", &["customer"]);
    let good = Answer::Text(json!({ "keys": [issuer.key().jwk()] }).to_string());
    let mut all = Vec::new();
    for (what, answer) in nonsense(&issuer) {
        let (keys, url) = Keys::start(answer);
        let auth = Auth { auth_jwks_url: Some(url), ..issuer.auth() };
        all.push((what, keys, authenticator(&auth)));
    }
    let ask = async |(what, keys, authenticator): &(&str, Keys, Authenticator)| {
        let began = Instant::now();
        assert_eq!(asked(authenticator, &token).await, Err(Denied::IssuerAway), "{what}");
        assert!(began.elapsed() < Duration::from_secs(5), "{what} takes {:?}", began.elapsed());
        assert!(keys.asked() > 0, "{what}");
    };
    join_all(all.iter().map(ask)).await;
    assert_eq!(issuer.looks(), 0, "the redirect was not followed");
    let recovers = async |(what, keys, authenticator): &(&str, Keys, Authenticator)| {
        *keys.answer.lock().unwrap() = good.clone();
        eventually(what, async || asked(authenticator, &token).await.is_ok().then_some(())).await;
    };
    join_all(all.iter().map(recovers)).await;
}

/// `jku`, `x5u` and `jwk` in the head of a token say where its key is, and `iss` whose it is. A signer chooses them.
#[tokio::test]
async fn a_token_does_not_say_where_its_key_comes_from() {
    let (issuer, mallory) = (TestIssuer::start().await, TestIssuer::start().await);
    let authenticator = authenticator(&issuer.auth());
    let good = issuer.token("alice", &[]);
    eventually("keys", async || asked(&authenticator, &good).await.is_ok().then_some(())).await;
    let foreign = signing_key("first", Algorithm::ES256);
    mallory.publish(vec![foreign.clone()]);
    let url = format!("{}/keys", mallory.url);
    let head = |id: &str| Header { kid: Some(id.into()), ..Header::new(Algorithm::ES256) };
    let own: Value = issuer.claims("alice", &["operator"]);
    let with = |head: Header| foreign.sign_as(&head, &own);
    for (what, token) in [
        ("jku", with(Header { jku: Some(url.clone()), ..head("first") })),
        ("x5u", with(Header { x5u: Some(url.clone()), ..head("first") })),
        ("jku of an unknown key", with(Header { jku: Some(url.clone()), ..head("second") })),
        ("kid that is a URL", with(head(&url))),
        ("kid that is a path", with(head("../../../../dev/null"))),
        (
            "jwk",
            with(Header {
                jwk: Some(serde_json::from_value(foreign.jwk().clone()).unwrap()),
                ..head("first")
            }),
        ),
        ("iss", mallory.token("alice", &["operator"])),
    ] {
        let answer = asked(&authenticator, &token).await;
        assert!(matches!(answer, Err(Denied::InvalidToken | Denied::UnknownKey)), "{what}");
    }
    assert_eq!(mallory.looks(), 0);
}
