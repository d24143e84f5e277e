//! A sign-in under way, in a sealed cookie.

use super::cookies::{Place, Seal};
use super::provider::Question;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const COOKIE: &str = "gifticon_sign_in";
/// How long somebody may take at the issuer.
const TIME: Duration = Duration::from_mins(15);

/// A sign-in under way. A browser has one at most: the latest.
#[derive(Serialize, Deserialize)]
pub(super) struct Attempt {
    /// Comes back with the code: the answer belongs to this browser's question.
    pub(super) state: String,
    /// Comes back in the ID token: it was made for this sign-in.
    pub(super) nonce: String,
    /// Whose hash the issuer got first: who redeems the code asked for it (RFC 7636).
    pub(super) verifier: String,
    /// The address that the issuer sends the browser back to.
    pub(super) redirect: String,
    /// The page to show then.
    pub(super) to: String,
    /// Until when it is good, in seconds since 1970.
    until: u64,
}

impl Attempt {
    /// Returns the sign-in of a question whose answer comes to `redirect`, and then leads to the page `to`.
    pub(super) fn new(question: Question, redirect: String, to: String) -> Self {
        let Question { state, nonce, verifier, .. } = question;
        Self { state, nonce, verifier, redirect, to, until: now() + TIME.as_secs() }
    }

    /// Returns where the browser that sent `headers` keeps it.
    pub(super) fn place(headers: &HeaderMap) -> Place {
        Place::new(headers, COOKIE).for_seconds(TIME.as_secs().cast_signed())
    }

    /// Returns the sign-in under way in the headers of a request, unless it took too long.
    pub(super) fn of(headers: &HeaderMap, place: &Place, seal: &Seal) -> Option<Self> {
        let attempt: Self = serde_json::from_str(&seal.open(headers, place)?).ok()?;
        (now() < attempt.until).then_some(attempt)
    }

    /// Adds it to the headers of a response. Returns false if it is too large.
    #[must_use]
    pub(super) fn put(&self, headers: &mut HeaderMap, place: &Place, seal: &Seal) -> bool {
        serde_json::to_string(self).is_ok_and(|value| seal.put(headers, place, &value))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
