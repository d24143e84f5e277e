//! Tokens for SASL OAUTHBEARER, by the client credentials grant of OAuth 2.0.
//!
//! librdkafka asks for a token on the thread that polls the client, which for a consumer is a thread of the runtime and must
//! not block. So a task of the process fetches each token before a client needs it.

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

/// Upper bound for a response of the identity provider.
const TOKEN_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause after a failure. Each later one is twice as long.
const TOKEN_RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const TOKEN_RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// The part of a token's lifetime, in tenths, after which the next token is fetched. A client asks for it after 8 tenths.
const RENEW_AFTER_TENTHS: u32 = 7;

/// The tokens of a process. Empty for SASL mechanisms without tokens.
#[derive(Clone, Default)]
pub(super) struct Tokens(Option<Arc<Shared>>);

struct Shared {
    client_id: String,
    latest: watch::Receiver<Option<Token>>,
    /// The fetcher, until it is started.
    fetcher: Mutex<Option<Fetcher>>,
}

struct Token {
    value: String,
    lifetime: Duration,
    expires: Instant,
}

impl Token {
    /// Returns the remaining lifetime, or `None` if the token has expired.
    fn remaining(&self) -> Option<Duration> {
        let remaining = self.expires.saturating_duration_since(Instant::now());
        (!remaining.is_zero()).then_some(remaining)
    }
}

impl Tokens {
    /// Returns the tokens for a request. Does not fetch one yet.
    pub(super) fn of(request: TokenRequest) -> reqwest::Result<Self> {
        // Following a redirect would send the secret to another server.
        let builder = reqwest::Client::builder().redirect(Policy::none()).no_proxy();
        let client = builder.timeout(TOKEN_REQUEST_TIMEOUT).build()?;
        let (sender, latest) = watch::channel(None);
        let client_id = request.client_id.clone();
        let fetcher = Mutex::new(Some(Fetcher { request, client, latest: sender }));
        Ok(Self(Some(Arc::new(Shared { client_id, latest, fetcher }))))
    }

    /// Returns true if clients need tokens.
    pub(super) fn are_used(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until there is a valid token. The first call starts the fetcher, which runs as long as the bus or a client lives.
    pub(super) async fn ready(&self) {
        let Some(shared) = &self.0 else { return };
        let fetcher = shared.fetcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(fetcher) = fetcher {
            tokio::spawn(fetcher.run());
        }
        let valid = |token: &Option<Token>| token.as_ref().and_then(Token::remaining).is_some();
        let _ = shared.latest.clone().wait_for(valid).await; // fails only when the runtime ends
    }

    /// Returns the latest token for a client of librdkafka, without waiting. After an error the client asks again in 10 s.
    pub(super) fn latest(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let shared = self.0.as_ref().ok_or("OAUTHBEARER is not set up")?;
        let latest = shared.latest.borrow();
        let token = latest.as_ref().and_then(|token| Some((token, token.remaining()?)));
        let (token, remaining) = token.ok_or("there is none now")?;
        // librdkafka takes a time of the wall clock. If the clock jumps back, librdkafka renews too late and is refused; the
        // watchdog then replaces the client, and the new one asks at once.
        let expires = clock::now().saturating_add(i64::try_from(remaining.as_millis())?);
        Ok(OAuthToken {
            token: token.value.clone(),
            principal_name: shared.client_id.clone(),
            lifetime_ms: expires,
        })
    }
}

/// Fetches tokens, each before the previous one expires.
struct Fetcher {
    request: TokenRequest,
    client: reqwest::Client,
    latest: watch::Sender<Option<Token>>,
}

impl Fetcher {
    /// Runs until all receivers are dropped.
    async fn run(self) {
        let (mut logged, mut pause) = (None, TOKEN_RETRY_PAUSE_MIN);
        loop {
            let wait = match self.fetch().await {
                Ok(token) => {
                    if logged.take().is_some() {
                        info!("the identity provider gives tokens for Kafka again");
                    }
                    pause = TOKEN_RETRY_PAUSE_MIN;
                    let wait =
                        (token.lifetime * RENEW_AFTER_TENTHS / 10).max(TOKEN_RETRY_PAUSE_MIN);
                    self.latest.send_replace(Some(token));
                    wait
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    if logged.as_ref() != Some(&error) {
                        let endpoint = self.request.endpoint.as_str();
                        warn!(endpoint, error, "no token for Kafka; trying again");
                        logged = Some(error);
                    }
                    let next = (2 * pause).min(TOKEN_RETRY_PAUSE_MAX);
                    std::mem::replace(&mut pause, next)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.latest.closed() => return,
            }
        }
    }

    /// Requests a token.
    async fn fetch(&self) -> anyhow::Result<Token> {
        let TokenRequest { endpoint, client_id, secret, scope } = &self.request;
        let mut form = endpoint.clone(); // a form has the syntax of a query
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
        let sent = Instant::now();
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        let body = response.bytes().await.map_err(reqwest::Error::without_url)?;
        if !status.is_success() {
            // Only the error code: the description may differ each time, and would be logged each time.
            match serde_json::from_slice(&body) {
                Ok(Refusal { error }) => bail!("it answers {status}: {error:.80}"),
                Err(_) => bail!("it answers {status}"),
            }
        }
        // The error of the parser could contain a part of a token.
        let granted = serde_json::from_slice(&body).map_err(|_| anyhow!("it answers no token"))?;
        token(granted, sent)
    }
}

/// An error response (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// A response with a token (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// In seconds. A number; some providers send a string.
    expires_in: Option<Value>,
}

/// Returns the token of a response to a request that was sent at `sent`.
fn token(granted: Granted, sent: Instant) -> anyhow::Result<Token> {
    let Granted { access_token: value, expires_in } = granted;
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("it answers a token that Kafka cannot take"); // librdkafka would not report this
    }
    let lifetime = expires_in.as_ref().and_then(seconds).or_else(|| own_lifetime(&value));
    let lifetime = lifetime.filter(|lifetime| !lifetime.is_zero());
    let lifetime = lifetime.ok_or_else(|| anyhow!("it does not say how long its token lives"))?;
    let expires = sent.checked_add(lifetime).ok_or_else(|| anyhow!("its token never ends"))?;
    Ok(Token { value, lifetime, expires })
}

/// Returns the duration of a number of seconds, or of a string with one.
fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(number).ok()
}

/// Returns the lifetime of a JSON Web Token by its own claims: from `iat` to `exp`, which an access token has (RFC 9068).
/// The difference is independent of the wall clocks here and at the provider.
fn own_lifetime(token: &str) -> Option<Duration> {
    let claims = base64url(token.split('.').nth(1)?)?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    seconds(claims.get("exp")?)?.checked_sub(seconds(claims.get("iat")?)?)
}

/// Decodes base64url without padding (RFC 4648, section 5).
fn base64url(text: &str) -> Option<Vec<u8>> {
    let (mut buffer, mut bits, mut bytes) = (0_u32, 0_u32, Vec::with_capacity(text.len()));
    for byte in text.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        buffer = buffer << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits).ok()?);
            buffer &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
