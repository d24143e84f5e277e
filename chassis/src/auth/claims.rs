//! What the claims of a token say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Upper bound for `sub`, in characters (OpenID Connect Core, section 2).
const SUBJECT_LENGTH_MAX: usize = 255;

/// Returns `sub`, if it can be the subject of an owner.
pub(super) fn subject(claims: &Value) -> Option<&str> {
    claims["sub"].as_str().filter(|subject| {
        (1..=SUBJECT_LENGTH_MAX).contains(&subject.chars().count())
            && !subject.chars().any(char::is_control)
    })
}

/// Returns `exp`.
pub(super) fn expiry(claims: &Value) -> Option<SystemTime> {
    let seconds = claims["exp"].as_f64().filter(|seconds| (0.0..1e12).contains(seconds))?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds))
}

/// Returns true if a token, whose signature is not checked, is no longer good after `time`.
pub fn expires_within(token: &str, time: Duration) -> bool {
    let part = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = part.and_then(|part| serde_json::from_slice(&part).ok());
    let expiry = claims.and_then(|claims| expiry(&claims));
    expiry.is_none_or(|expiry| expiry < SystemTime::now() + time)
}
