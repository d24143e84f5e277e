//! An issuer of tokens for tests, drills and the bench, on a port of loopback.

pub use crate::auth::{Algorithm, SigningKey};

use crate::base::config::Auth;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A private key of RSA, for tests alone: ring makes none.
const RSA_KEY: &[u8] = include_bytes!("rsa_key.pk8");

/// Returns a key for an algorithm: RS256 (always the same key), ES256 or EdDSA.
///
/// # Panics
/// Panics for another algorithm.
pub fn signing_key(id: &str, algorithm: Algorithm) -> SigningKey {
    let key = match algorithm {
        Algorithm::RS256 => SigningKey::from_pkcs8(id, algorithm, RSA_KEY),
        _ => SigningKey::generate(id, algorithm),
    };
    key.expect("keys can be made for this algorithm")
}

/// An issuer that publishes its keys, as OpenID Connect Discovery says.
#[derive(Clone)]
pub struct TestIssuer {
    /// `iss` of its tokens, and the base URL of its documents.
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    published: Mutex<Vec<SigningKey>>,
    looks: AtomicUsize,
    away: AtomicBool,
    /// What it answers to token requests, the first first.
    token_answers: Mutex<VecDeque<(StatusCode, Value)>>,
    /// The bodies of the token requests.
    token_requests: Mutex<Vec<String>>,
    /// The bodies of the requests to revoke a token.
    revocations: Mutex<Vec<String>>,
    /// True while it answers no request about tokens.
    hangs: watch::Sender<bool>,
}

impl TestIssuer {
    /// Starts an issuer with one key of ES256, called `first`.
    pub async fn start() -> Self {
        Self::with(vec![signing_key("first", Algorithm::ES256)]).await
    }

    /// Starts an issuer with these keys.
    pub async fn with(keys: Vec<SigningKey>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let shared = Arc::new(Shared { published: Mutex::new(keys), ..Shared::default() });
        let issuer = Self { url, shared };
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys_document))
            .route("/token", post(token))
            .route("/revoke", post(revoke))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        issuer
    }

    /// Returns the settings of a process that believes it.
    pub fn auth(&self) -> Auth {
        Auth::with_issuer(self.url.clone())
    }

    /// Publishes these keys from now on.
    pub fn publish(&self, keys: Vec<SigningKey>) {
        *self.shared.published.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Returns the first key that is published.
    ///
    /// # Panics
    /// Panics if there is none.
    pub fn key(&self) -> SigningKey {
        self.shared.published.lock().unwrap_or_else(PoisonError::into_inner)[0].clone()
    }

    /// Answers 503 from now on, or works again.
    pub fn is_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::Relaxed);
    }

    /// Answers no request about tokens from now on, or those that wait and all others.
    pub fn hangs(&self, hangs: bool) {
        self.shared.hangs.send_replace(hangs);
    }

    /// Answers the next token request that has no answer yet with this status and body.
    pub fn will_answer(&self, status: u16, body: Value) {
        let status = StatusCode::from_u16(status).expect("it is a status");
        let mut answers = self.shared.token_answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push_back((status, body));
    }

    /// Returns the bodies of the token requests until now.
    pub fn token_requests(&self) -> Vec<String> {
        self.shared.token_requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the bodies of the requests to revoke a token until now.
    pub fn revocations(&self) -> Vec<String> {
        self.shared.revocations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how often its keys were asked for.
    pub fn looks(&self) -> usize {
        self.shared.looks.load(Ordering::Relaxed)
    }

    /// Waits until it answers requests about tokens.
    async fn answers(&self) {
        // The sender is our own: it is not gone.
        let _ = self.shared.hangs.subscribe().wait_for(|hangs| !hangs).await;
    }

    /// Returns claims of an hour for `subject` with these roles.
    pub fn claims(&self, subject: &str, roles: &[&str]) -> Value {
        self.claims_for(subject, roles, Duration::from_hours(1))
    }

    /// Returns claims of `lifetime` for `subject` with these roles.
    pub fn claims_for(&self, subject: &str, roles: &[&str], lifetime: Duration) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        json!({
            "iss": self.url, "sub": subject, "aud": "gifticon", "iat": now, "exp": now + lifetime.as_secs(),
            "realm_access": { "roles": roles },
        })
    }

    /// Returns a token of an hour for `subject` with these roles, by the first key.
    pub fn token(&self, subject: &str, roles: &[&str]) -> String {
        self.key().sign(&self.claims(subject, roles))
    }
}

async fn discovery(State(issuer): State<TestIssuer>) -> Result<Json<Value>, StatusCode> {
    let url = &issuer.url;
    let document = json!({
        "issuer": url, "jwks_uri": format!("{url}/keys"), "token_endpoint": format!("{url}/token"),
        "authorization_endpoint": format!("{url}/authorize"), "end_session_endpoint": format!("{url}/sign-out"),
        "revocation_endpoint": format!("{url}/revoke"),
    });
    here(&issuer, document)
}

async fn token(State(issuer): State<TestIssuer>, form: String) -> (StatusCode, Json<Value>) {
    let shared = &issuer.shared;
    shared.token_requests.lock().unwrap_or_else(PoisonError::into_inner).push(form);
    issuer.answers().await;
    let answer = shared.token_answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (status, body) = answer.unwrap_or((StatusCode::SERVICE_UNAVAILABLE, Value::Null));
    (status, Json(body))
}

async fn revoke(State(issuer): State<TestIssuer>, form: String) -> Result<(), StatusCode> {
    issuer.shared.revocations.lock().unwrap_or_else(PoisonError::into_inner).push(form);
    issuer.answers().await;
    here(&issuer, Value::Null).map(|_| ())
}

async fn keys_document(State(issuer): State<TestIssuer>) -> Result<Json<Value>, StatusCode> {
    issuer.shared.looks.fetch_add(1, Ordering::Relaxed);
    let keys = issuer.shared.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
    here(
        &issuer,
        json!({ "keys": keys.into_iter().map(|key| key.jwk().clone()).collect::<Vec<_>>() }),
    )
}

fn here(issuer: &TestIssuer, document: Value) -> Result<Json<Value>, StatusCode> {
    let away = issuer.shared.away.load(Ordering::Relaxed);
    if away { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(Json(document)) }
}
