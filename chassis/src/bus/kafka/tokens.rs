//! Tokens for SASL OAUTHBEARER, by the client credentials grant of OAuth 2.0.
//!
//! librdkafka asks for a token on the thread that polls a client, which for a consumer is one of the runtime. So nothing is
//! fetched there: one task of the process has the next token ready before anybody asks for it.

use crate::base::clock;
use crate::base::config::TokenRequest;
use anyhow::{anyhow, bail};
use rdkafka::client::OAuthToken;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde_json::Value;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

/// How long the identity provider may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The first pause after a failure. Each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The part of a token's life, in tenths, after which the next one is fetched. A client asks after eight tenths.
const RENEWED_AFTER: u32 = 7;

/// The tokens of a process. Without a request, for the other mechanisms, there are none.
#[derive(Clone, Default)]
pub(super) struct Tokens(Option<Arc<Shared>>);

struct Shared {
    client_id: String,
    latest: watch::Receiver<Option<Token>>,
    /// What fetches them, until it is started.
    fetcher: Mutex<Option<Fetcher>>,
}

struct Token {
    value: String,
    lifetime: Duration,
    expires: Instant,
}

impl Token {
    /// Returns for how long it lives from now on, if it does.
    fn left(&self) -> Option<Duration> {
        let left = self.expires.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

impl Tokens {
    /// Returns the tokens that a request gets. Nothing is fetched yet.
    pub(super) fn of(request: TokenRequest) -> reqwest::Result<Self> {
        // A redirect would take the secret to somebody else.
        let builder = reqwest::Client::builder().redirect(Policy::none()).no_proxy();
        let client = builder.timeout(ANSWER).build()?;
        let (sender, latest) = watch::channel(None);
        let client_id = request.client_id.clone();
        let fetcher = Mutex::new(Some(Fetcher { request, client, latest: sender }));
        Ok(Self(Some(Arc::new(Shared { client_id, latest, fetcher }))))
    }

    /// Returns whether clients need tokens.
    pub(super) fn are_used(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until there is a valid token. The first call starts to fetch them, for as long as the bus or a client lives.
    pub(super) async fn ready(&self) {
        let Some(shared) = &self.0 else { return };
        let fetcher = shared.fetcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(fetcher) = fetcher {
            tokio::spawn(fetcher.run());
        }
        let valid = |token: &Option<Token>| token.as_ref().and_then(Token::left).is_some();
        let _ = shared.latest.clone().wait_for(valid).await; // it fails where the runtime ends
    }

    /// Returns the latest token for a client of librdkafka, at once. After an error the client asks again in 10 s.
    pub(super) fn latest(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let shared = self.0.as_ref().ok_or("OAUTHBEARER is not set up")?;
        let latest = shared.latest.borrow();
        let token = latest.as_ref().and_then(|token| Some((token, token.left()?)));
        let (token, left) = token.ok_or("there is none now")?;
        // librdkafka wants a time of the wall clock. Where that jumps back, it asks too late and is refused; a client that
        // reaches no broker is made anew, and asks at once.
        let expires = clock::now().saturating_add(i64::try_from(left.as_millis())?);
        Ok(OAuthToken {
            token: token.value.clone(),
            principal_name: shared.client_id.clone(),
            lifetime_ms: expires,
        })
    }
}

/// Keeps the latest token fresh.
struct Fetcher {
    request: TokenRequest,
    client: reqwest::Client,
    latest: watch::Sender<Option<Token>>,
}

impl Fetcher {
    async fn run(self) {
        let (mut said, mut pause) = (None, FIRST_PAUSE);
        loop {
            let wait = match self.fetch().await {
                Ok(token) => {
                    if said.take().is_some() {
                        info!("the identity provider gives tokens for Kafka again");
                    }
                    pause = FIRST_PAUSE;
                    let wait = (token.lifetime * RENEWED_AFTER / 10).max(FIRST_PAUSE);
                    self.latest.send_replace(Some(token));
                    wait
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    if said.as_ref() != Some(&error) {
                        let endpoint = self.request.endpoint.as_str();
                        warn!(endpoint, error, "no token for Kafka; trying again");
                        said = Some(error);
                    }
                    let next = (2 * pause).min(LONGEST_PAUSE);
                    std::mem::replace(&mut pause, next)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.latest.closed() => return,
            }
        }
    }

    async fn fetch(&self) -> anyhow::Result<Token> {
        let TokenRequest { endpoint, client_id, secret, scope } = &self.request;
        let mut form = endpoint.clone(); // a form is written as a query is
        form.query_pairs_mut().clear().append_pair("grant_type", "client_credentials");
        if let Some(scope) = scope {
            form.query_pairs_mut().append_pair("scope", scope);
        }
        let request = self
            .client
            .post(endpoint.clone())
            .basic_auth(client_id, Some(secret.reveal()))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(form.query().unwrap_or_default().to_owned());
        let asked = Instant::now();
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(reqwest::Error::without_url)?;
        if !status.is_success() {
            // Only the code: its description may be another one each time.
            match serde_json::from_slice(&body) {
                Ok(Refusal { error }) => bail!("it answers {status}: {error:.80}"),
                Err(_) => bail!("it answers {status}"),
            }
        }
        // The reason that JSON is wrong may have a part of a token in it.
        let granted = serde_json::from_slice(&body).map_err(|_| anyhow!("it answers no token"))?;
        token(granted, asked)
    }
}

/// Why there is no token, as RFC 6749 has it.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// An answer with a token.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// In seconds. A number, and of some providers a text.
    expires_in: Option<Value>,
}

/// Reads the answer to a request that was sent at `asked`.
fn token(granted: Granted, asked: Instant) -> anyhow::Result<Token> {
    let Granted { access_token: value, expires_in } = granted;
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("it answers a token that Kafka cannot take"); // librdkafka would say so to nobody
    }
    let lifetime = expires_in.as_ref().and_then(seconds).or_else(|| own_lifetime(&value));
    let lifetime = lifetime.filter(|lifetime| !lifetime.is_zero());
    let lifetime = lifetime.ok_or_else(|| anyhow!("it does not say how long its token lives"))?;
    let expires = asked.checked_add(lifetime).ok_or_else(|| anyhow!("its token never ends"))?;
    Ok(Token { value, lifetime, expires })
}

fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(number).ok()
}

/// Returns how long a JSON Web Token lives, by itself: from `iat` to `exp`, both of which an access token has (RFC 9068).
/// The wall clock, here or at the provider, does not matter.
fn own_lifetime(token: &str) -> Option<Duration> {
    let claims = base64url(token.split('.').nth(1)?)?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    seconds(claims.get("exp")?)?.checked_sub(seconds(claims.get("iat")?)?)
}

fn base64url(text: &str) -> Option<Vec<u8>> {
    let (mut held, mut bits, mut bytes) = (0_u32, 0_u32, Vec::with_capacity(text.len()));
    for byte in text.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
