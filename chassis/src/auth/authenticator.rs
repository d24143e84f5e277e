//! Finds out who makes a request.

use crate::auth::cache::Cache;
use crate::auth::issuer::{Issuer, Looks, NoKey, Source};
use crate::auth::{Principal, Role, crypto};
use crate::base::config::{Auth, AuthAlgorithm, Guests};
use crate::base::metrics::{Counter, Metrics};
use axum::http::{HeaderMap, header};
use common_events::Owner;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tracing::{debug, warn};

/// Upper bound for a token, in bytes.
const TOKEN_SIZE_MAX: usize = 8 * 1024;
/// Upper bound for `sub`, in characters (OpenID Connect Core, section 2).
const SUBJECT_LENGTH_MAX: usize = 255;
/// How far the clocks of the issuer and of this process may be apart. Tokens carry wall-clock times, so that their expiry is the
/// one thing here that the wall clock decides.
const LEEWAY: Duration = Duration::from_secs(30);

/// Finds out who makes a request. Clones share everything.
#[derive(Clone)]
pub struct Authenticator(Option<Arc<Checks>>);

struct Checks {
    issuer: Arc<Issuer>,
    /// `iss` of the tokens.
    name: String,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    roles_claim: Vec<String>,
    guests: Guests,
    cache: Cache,
    checked: Counter,
    refused: Counter,
}

/// Why nobody is known to make a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Its token is bad.
    InvalidToken,
    /// The issuer was not reached yet, so that no token can be checked.
    IssuerAway,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = self.0.as_ref().map(|checks| &checks.name);
        f.debug_struct("Authenticator").field("issuer", &issuer).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Returns the authenticator of open mode: everybody is the guest, who may do everything.
    pub fn open() -> Self {
        Self(None)
    }

    /// Returns the authenticator for these settings. Begins to look for the keys of the issuer.
    pub fn new(auth: &Auth, metrics: &Metrics) -> anyhow::Result<Self> {
        let (checked, refused) = (Counter::default(), Counter::default());
        metrics.register("tokens_checked", "Tokens whose signature was checked", checked.clone());
        metrics.register("tokens_refused", "Requests with a bad token", refused.clone());
        let looks = Looks::new(metrics);
        let Some(name) = auth.auth_issuer.clone() else { return Ok(Self::open()) };
        crypto::install();
        let source = match &auth.auth_jwks_url {
            Some(url) => Source::Url(url.clone()),
            None => Source::Discovery { issuer: name.clone() },
        };
        let algorithms: Vec<Algorithm> =
            auth.auth_algorithms.iter().copied().map(algorithm).collect();
        let mut validation = Validation::new(algorithms.first().copied().unwrap_or_default());
        validation.algorithms.clone_from(&algorithms);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_audience(&[&auth.auth_audience]);
        validation.set_issuer(&[&name]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self(Some(Arc::new(Checks {
            issuer: Issuer::follow(source, looks)?,
            name,
            algorithms,
            validation,
            roles_claim: auth.auth_roles_claim.split('.').map(ToOwned::to_owned).collect(),
            guests: auth.auth_guests,
            cache: Cache::default(),
            checked,
            refused,
        }))))
    }

    /// Returns true in open mode.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Returns who makes a request with these headers, and `None` for somebody without a token who is no guest.
    ///
    /// # Errors
    /// If there is a token that cannot be believed. In open mode that is any: no issuer is known.
    pub async fn principal(&self, headers: &HeaderMap) -> Result<Option<Principal>, Denied> {
        let Some(checks) = &self.0 else {
            return if has_bearer(headers) {
                Err(Denied::InvalidToken)
            } else {
                Ok(Some(Principal::open()))
            };
        };
        let found = match token(headers) {
            Ok(Some(token)) => checks.check(token).await.map(Some),
            Ok(None) => Ok(match checks.guests {
                Guests::Allow => Some(Principal::new(Owner::GUEST, [Role::Customer])),
                Guests::Deny => None,
            }),
            Err(denied) => Err(denied),
        };
        if found == Err(Denied::InvalidToken) {
            checks.refused.inc();
        }
        found
    }
}

impl Checks {
    /// Returns whose token it is.
    async fn check(&self, token: &str) -> Result<Principal, Denied> {
        if token.len() > TOKEN_SIZE_MAX {
            return Err(Denied::InvalidToken);
        }
        let (hash, generation) = (Cache::hash(token), self.issuer.generation());
        if let Some(principal) = self.cache.get(&hash, generation) {
            return Ok(principal);
        }
        let refused = |why: &ErrorKind| {
            debug!(?why, "a token was refused"); // never the token itself
            Denied::InvalidToken
        };
        let head = decode_header(token).map_err(|error| refused(error.kind()))?;
        if !self.algorithms.contains(&head.alg) {
            return Err(refused(&ErrorKind::InvalidAlgorithm));
        }
        let key =
            self.issuer.key(head.kid.as_deref(), head.alg).await.map_err(|none| match none {
                NoKey::Unknown => refused(&ErrorKind::InvalidKeyFormat),
                NoKey::Away => Denied::IssuerAway,
            })?;
        let mut validation = self.validation.clone();
        validation.algorithms = vec![head.alg];
        self.checked.inc();
        let data = decode::<Value>(token, &key, &validation);
        let claims = data.map_err(|error| refused(error.kind()))?.claims;
        let subject = claims["sub"].as_str().filter(|subject| {
            (1..=SUBJECT_LENGTH_MAX).contains(&subject.chars().count())
                && !subject.chars().any(char::is_control)
        });
        let subject = subject.ok_or_else(|| refused(&ErrorKind::InvalidSubject))?;
        let expires = claims["exp"].as_f64().filter(|seconds| (0.0..1e12).contains(seconds));
        let expires = expires.ok_or_else(|| refused(&ErrorKind::ExpiredSignature))?;
        let owner = Owner::of_subject(&self.name, subject);
        let principal = Principal::new(owner, self.roles(&claims));
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(expires) + LEEWAY;
        self.cache.put(hash, principal.clone(), until, generation);
        Ok(principal)
    }

    /// Returns the roles in the claims. Without such a list there are none.
    fn roles(&self, claims: &Value) -> Vec<Role> {
        let list = self.roles_claim.iter().try_fold(claims, |value, name| value.get(name));
        let Some(list) = list.and_then(Value::as_array) else {
            debug!("a token has no list of roles");
            return Vec::new();
        };
        list.iter().filter_map(Value::as_str).filter_map(Role::named).collect()
    }
}

/// Says at the start of a process whether everybody may do everything.
pub fn log_mode(auth: &Auth) {
    match &auth.auth_issuer {
        None => warn!("open mode: everybody may do everything; set AUTH_ISSUER to change that"),
        Some(issuer) => {
            tracing::info!(issuer, audience = auth.auth_audience, guests = ?auth.auth_guests, "tokens are needed");
        }
    }
}

fn algorithm(algorithm: AuthAlgorithm) -> Algorithm {
    match algorithm {
        AuthAlgorithm::Rs256 => Algorithm::RS256,
        AuthAlgorithm::Rs384 => Algorithm::RS384,
        AuthAlgorithm::Rs512 => Algorithm::RS512,
        AuthAlgorithm::Ps256 => Algorithm::PS256,
        AuthAlgorithm::Ps384 => Algorithm::PS384,
        AuthAlgorithm::Ps512 => Algorithm::PS512,
        AuthAlgorithm::Es256 => Algorithm::ES256,
        AuthAlgorithm::Es384 => Algorithm::ES384,
        AuthAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

/// Returns the bearer token of a request.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| Denied::InvalidToken)?;
    match (text.split_once(' '), values.next()) {
        (Some((scheme, token)), None) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(token.trim()))
        }
        _ => Err(Denied::InvalidToken),
    }
}

/// Returns true if a request has a bearer token.
fn has_bearer(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().get(..7);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
    })
}
