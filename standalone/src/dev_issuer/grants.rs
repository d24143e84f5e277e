//! What the issuer has promised: codes, and refresh tokens. They are gone with the process.

use super::Account;
use chassis::auth::base64url;
use chassis::base::config::Secret;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a code is good (RFC 6749, section 4.1.2, recommends ten minutes at most).
const CODE_LIFETIME: Duration = Duration::from_mins(1);
/// How long a refresh token is good.
const REFRESH_LIFETIME: Duration = Duration::from_hours(24 * 30);
/// Codes and refresh tokens that are kept. The oldest are forgotten.
const KEPT_MAX: usize = 10_000;

/// Somebody who chose an account, and the question that led there.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) account: Account,
    pub(super) redirect: String,
    /// SHA-256 of the verifier that the client has, as base64url.
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
}

/// Codes and refresh tokens.
#[derive(Default)]
pub(super) struct Grants {
    codes: Mutex<Lasting<Grant>>,
    refresh_tokens: Mutex<Lasting<Account>>,
}

/// Values by a key that cannot be guessed, each with the moment at which it was put there.
struct Lasting<T>(HashMap<String, (Instant, T)>);

impl<T> Default for Lasting<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Lasting<T> {
    fn put(&mut self, value: T, lifetime: Duration) -> String {
        self.0.retain(|_, (at, _)| at.elapsed() < lifetime);
        if self.0.len() >= KEPT_MAX {
            let oldest = self.0.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.0.remove(&key));
        }
        let key = Secret::random().reveal().to_owned();
        self.0.insert(key.clone(), (Instant::now(), value));
        key
    }
}

impl Grants {
    /// Returns a code for somebody who chose an account.
    pub(super) fn code(&self, grant: Grant) -> String {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner).put(grant, CODE_LIFETIME)
    }

    /// Returns what a code was for: once, in time, and to whom it was given.
    pub(super) fn redeem(&self, code: &str, verifier: &str, redirect: &str) -> Option<Grant> {
        let taken = self.codes.lock().unwrap_or_else(PoisonError::into_inner).0.remove(code);
        let (at, grant) = taken?;
        let challenge = base64url(&Sha256::digest(verifier));
        let fits = challenge == grant.challenge && redirect == grant.redirect;
        (fits && at.elapsed() < CODE_LIFETIME).then_some(grant)
    }

    /// Returns a refresh token for an account.
    pub(super) fn refresh_token(&self, account: Account) -> String {
        let mut tokens = self.refresh_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.put(account, REFRESH_LIFETIME)
    }

    /// Forgets a refresh token.
    pub(super) fn revoke(&self, token: &str) {
        self.refresh_tokens.lock().unwrap_or_else(PoisonError::into_inner).0.remove(token);
    }

    /// Returns whose refresh token it is.
    pub(super) fn refresh(&self, token: &str) -> Option<Account> {
        let tokens = self.refresh_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, account) = tokens.0.get(token)?;
        (at.elapsed() < REFRESH_LIFETIME).then_some(*account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_for_who_asked() {
        let grants = Grants::default();
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"; // RFC 7636, appendix B
        let grant = Grant {
            account: super::super::ACCOUNTS[0],
            redirect: "http://127.0.0.1/done".into(),
            challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into(),
            nonce: None,
        };
        let redeem = |code: &str, verifier: &str, redirect: &str| {
            grants.redeem(code, verifier, redirect).is_some()
        };
        let code = || grants.code(grant.clone());
        let first = code();
        assert!(redeem(&first, verifier, &grant.redirect));
        assert!(!redeem(&first, verifier, &grant.redirect));
        assert!(!redeem(&code(), "another", &grant.redirect));
        assert!(!redeem(&code(), verifier, "http://127.0.0.1/other"));
        assert!(!redeem("invented", verifier, &grant.redirect));
    }

    #[test]
    fn a_refresh_token_is_good_until_it_is_revoked() {
        let (grants, account) = (Grants::default(), super::super::ACCOUNTS[0]);
        let (token, other) = (grants.refresh_token(account), grants.refresh_token(account));
        assert_eq!(grants.refresh(&token), Some(account));
        grants.revoke(&token);
        assert_eq!((grants.refresh(&token), grants.refresh(&other)), (None, Some(account)));
    }
}
