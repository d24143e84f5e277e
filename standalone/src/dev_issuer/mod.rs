//! The issuer `dev`: sample accounts without passwords, for a shop on one's own machine.
//!
//! It is an OpenID provider as others are, so that nothing else in the shop knows of it. Its key is in the data directory.

mod accounts;
mod grants;
mod key;
mod routes;

pub use accounts::{ACCOUNTS, Account};
pub(crate) use key::signing_key;
pub(crate) use routes::start;

use chassis::auth::SigningKey;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The client of the pages.
pub(crate) const CLIENT_ID: &str = "gifticon-pages";

/// What the tokens of an issuer have in common.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    /// `iss`.
    pub(crate) issuer: String,
    /// `aud` of access tokens.
    pub(crate) audience: String,
    /// Path of the list of roles, with dots.
    pub(crate) roles_claim: String,
}

impl Claims {
    /// Returns an access token of `subject` with these roles for `lifetime`.
    pub(crate) fn access_token(
        &self,
        key: &SigningKey,
        subject: &str,
        roles: &[String],
        lifetime: Duration,
    ) -> String {
        let mut claims = self.of(subject, &self.audience, lifetime);
        let names: Vec<_> = self.roles_claim.split('.').collect();
        let nested = names.iter().rev().fold(json!(roles), |inner, name| json!({ *name: inner }));
        for (name, value) in nested.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        key.sign(&claims)
    }

    /// Returns the claims that every token has.
    fn of(&self, subject: &str, audience: &str, lifetime: Duration) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let until = now + lifetime.as_secs();
        json!({ "iss": self.issuer, "sub": subject, "aud": audience, "iat": now, "exp": until })
    }
}
