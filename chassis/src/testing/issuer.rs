//! An issuer of tokens for tests, on a port of loopback.

use crate::auth::install_crypto;
use crate::base::config::Auth;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;

/// A private key of RSA, for tests alone: ring makes none.
const RSA_KEY: &[u8] = include_bytes!("rsa_key.pk8");

/// Returns the bytes as a part of a token.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    /// `kid`.
    pub id: String,
    algorithm: Algorithm,
    private: Vec<u8>,
    jwk: Value,
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
}

impl SigningKey {
    /// Returns a new key for an algorithm: RS256 (always the same key), ES256 or EdDSA.
    ///
    /// # Panics
    /// Panics for another algorithm.
    pub fn new(id: &str, algorithm: Algorithm) -> Self {
        install_crypto();
        let (random, base64) = (SystemRandom::new(), base64url);
        let (private, mut jwk) = match algorithm {
            Algorithm::RS256 => {
                let pair = RsaKeyPair::from_pkcs8(RSA_KEY).expect("the key can be read");
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                let jwk = json!({ "kty": "RSA", "n": base64(&public.n), "e": base64(&public.e) });
                (RSA_KEY.to_vec(), jwk)
            }
            Algorithm::ES256 => {
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let made = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("ring makes keys");
                let pair = EcdsaKeyPair::from_pkcs8(curve, made.as_ref(), &random);
                let pair = pair.expect("the key can be read");
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                let jwk = json!({ "kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y) });
                (made.as_ref().to_vec(), jwk)
            }
            Algorithm::EdDSA => {
                let made = Ed25519KeyPair::generate_pkcs8(&random).expect("ring makes keys");
                let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).expect("the key can be read");
                let x = base64(pair.public_key().as_ref());
                (made.as_ref().to_vec(), json!({ "kty": "OKP", "crv": "Ed25519", "x": x }))
            }
            other => panic!("no key is made for {other:?}"),
        };
        jwk["kid"] = id.into();
        jwk["use"] = "sig".into();
        jwk["alg"] = json!(algorithm);
        Self { id: id.into(), algorithm, private, jwk }
    }

    /// Returns a token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let head = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        self.sign_as(&head, claims)
    }

    /// Returns a token with this head, whose algorithm must be one of the key.
    pub fn sign_as(&self, head: &Header, claims: &Value) -> String {
        let key = match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_der(&self.private),
            Algorithm::ES256 => EncodingKey::from_ec_der(&self.private),
            _ => EncodingKey::from_ed_der(&self.private),
        };
        encode(head, claims, &key).expect("claims are JSON")
    }

    /// Returns the public key as a JWKS has it.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }
}

impl TestIssuer {
    /// Starts an issuer with one key of ES256, called `first`.
    pub async fn start() -> Self {
        Self::with(vec![SigningKey::new("first", Algorithm::ES256)]).await
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

    /// Returns how often its keys were asked for.
    pub fn looks(&self) -> usize {
        self.shared.looks.load(Ordering::Relaxed)
    }

    /// Returns claims of an hour for `subject` with these roles.
    pub fn claims(&self, subject: &str, roles: &[&str]) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        json!({
            "iss": self.url, "sub": subject, "aud": "gifticon", "iat": now, "exp": now + 3_600,
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
    here(&issuer, json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }))
}

async fn keys_document(State(issuer): State<TestIssuer>) -> Result<Json<Value>, StatusCode> {
    issuer.shared.looks.fetch_add(1, Ordering::Relaxed);
    let keys = issuer.shared.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
    here(&issuer, json!({ "keys": keys.into_iter().map(|key| key.jwk).collect::<Vec<_>>() }))
}

fn here(issuer: &TestIssuer, document: Value) -> Result<Json<Value>, StatusCode> {
    let away = issuer.shared.away.load(Ordering::Relaxed);
    if away { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(Json(document)) }
}
