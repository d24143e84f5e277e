//! Whom a row belongs to.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Whom a cart, its payment and its view belong to: the issuer and the subject of their token, or `guest`.
///
/// Rows and events from before there were owners belong to `guest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Owner(Cow<'static, str>);

impl Owner {
    /// Everybody without a token, together.
    pub const GUEST: Self = Self(Cow::Borrowed("guest"));

    /// Returns the owner with this subject at this issuer. The issuer has no `#`: OpenID Connect forbids a fragment in it.
    pub fn of_subject(issuer: &str, subject: &str) -> Self {
        Self(Cow::Owned(format!("{issuer}#{subject}")))
    }

    /// Returns an owner as [`Owner::as_str`] wrote it.
    pub fn from_text(text: String) -> Self {
        if text == Self::GUEST.as_str() { Self::GUEST } else { Self(Cow::Owned(text)) }
    }

    /// Returns whether it can be an owner: it is not empty and has no control characters, such as NUL, which Postgres cannot
    /// store.
    pub fn is_valid(&self) -> bool {
        !self.0.is_empty() && !self.0.chars().any(char::is_control)
    }

    /// Returns the owner as one text: `ISSUER#SUBJECT`, or `guest`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `guest`.
impl Default for Owner {
    fn default() -> Self {
        Self::GUEST
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_its_issuer_and_its_subject() {
        let alice = Owner::of_subject("https://id.example", "alice");
        assert_eq!(alice.as_str(), "https://id.example#alice");
        assert_eq!(Owner::from_text(alice.to_string()), alice);
        assert_ne!(alice, Owner::of_subject("https://other.example", "alice"));
        assert_eq!(Owner::from_text("guest".into()), Owner::default());
        assert!(alice.is_valid() && Owner::GUEST.is_valid());
        assert!(!Owner::from_text(String::new()).is_valid());
        assert!(!Owner::from_text("https://id.example#a\0b".into()).is_valid());
        assert_eq!(serde_json::to_string(&alice).unwrap(), r#""https://id.example#alice""#);
    }
}
