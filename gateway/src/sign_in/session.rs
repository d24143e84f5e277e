//! Who is signed in, with which tokens.

use super::cookies::{Place, SIZE_MAX, Seal};
use axum::http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

const COOKIE: &str = "gifticon_session";
/// A token is renewed when so little of its time is left.
const RENEWED_BEFORE: Duration = Duration::from_secs(30);

/// What a response does to the session of its browser. It is in the extensions of the response.
#[derive(Clone)]
pub(super) enum Change {
    Begins(Session),
    Ends,
}

impl Change {
    /// Writes it into the headers of the response, which no cache may keep then: it would hand out the session to others.
    pub(super) fn write(self, headers: &mut HeaderMap, place: &Place, seal: &Seal) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Begins(session) if seal.put(headers, place, &session.text()) => {}
            _ => place.remove(headers),
        }
    }
}

/// Who is signed in.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Session {
    /// Stays the same when its tokens are renewed. `None` in a session that an older version of the shop began.
    pub(super) id: Option<String>,
    /// What the services check.
    pub(super) token: String,
    /// The refresh token, if the issuer gave one.
    pub(super) renewal: Option<String>,
    /// The ID token, by which the issuer knows who signs out.
    pub(super) id_token: Option<String>,
    /// What they are called.
    pub(super) name: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Returns where the browser that sent `headers` keeps the session.
    pub(super) fn place(headers: &HeaderMap) -> Place {
        Place::new(headers, COOKIE)
    }

    /// Returns the session in the headers of a request.
    pub(super) fn of(headers: &HeaderMap, place: &Place, seal: &Seal) -> Option<Self> {
        serde_json::from_str(&seal.open(headers, place)?).ok()
    }

    /// Returns true if a browser can keep it.
    pub(super) fn fits(&self) -> bool {
        self.text().len() <= SIZE_MAX
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }

    /// Returns the ID token by which the issuer knows who signs out. `None` if the services take it as the token of a request: then
    /// it may not be in a URL, which browsers and servers keep.
    pub(super) fn id_token_hint(&self) -> Option<&str> {
        self.id_token.as_deref().filter(|id_token| *id_token != self.token)
    }

    /// Returns true if the token is no longer good.
    pub(super) fn has_expired(&self) -> bool {
        chassis::auth::expires_within(&self.token, Duration::ZERO)
    }

    /// Returns true if the token is no longer good, or soon not.
    pub(super) fn expires_soon(&self) -> bool {
        chassis::auth::expires_within(&self.token, RENEWED_BEFORE)
    }
}
