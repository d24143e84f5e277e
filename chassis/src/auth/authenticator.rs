//! Finds out who makes a request.

use crate::auth::cache::Cache;
use crate::auth::issuer::{Issuer, Looks, NoKey, Source};
use crate::auth::{Principal, Role, claims, crypto};
use crate::base::config::{Auth, AuthAlgorithm, Customers, DEV_ISSUER, Guests, InvalidSetting};
use crate::base::limits::TOKEN_LEEWAY;
use crate::base::metrics::{Counter, Metrics};
use axum::http::{HeaderMap, header};
use common_events::Owner;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use tracing::{debug, warn};

/// Upper bound for a token, in bytes.
const TOKEN_SIZE_MAX: usize = 8 * 1024;

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
    customers: Customers,
    cache: Cache,
    checked: Counter,
    refused: Counter,
}

/// Why nobody is known to make a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Its token is bad.
    InvalidToken,
    /// Its token is of a key that is not known: it is bad, or the issuer has the key since a moment ago.
    UnknownKey,
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
        if name == DEV_ISSUER {
            let why = "the issuer `dev` is there in standalone alone; name one by its URL";
            return Err(InvalidSetting { setting: "AUTH_ISSUER", why: why.into() }.into());
        }
        crypto::install();
        let source = match &auth.auth_jwks_url {
            Some(url) => Source::Url(url.clone()),
            None => Source::Discovery { issuer: name.clone() },
        };
        let algorithms: Vec<Algorithm> =
            auth.auth_algorithms.iter().copied().map(algorithm).collect();
        let mut validation = Validation::new(algorithms.first().copied().unwrap_or_default());
        validation.algorithms.clone_from(&algorithms);
        // Tokens carry wall-clock times: their expiry is the one thing here that the wall clock decides.
        validation.leeway = TOKEN_LEEWAY.as_secs();
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
            customers: auth.auth_customers,
            cache: Cache::default(),
            checked,
            refused,
        }))))
    }

    /// Returns true in open mode.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Returns true if tokens can be checked: in open mode, or once the keys of the issuer were read.
    pub(crate) fn is_able(&self) -> bool {
        self.0.as_ref().is_none_or(|checks| checks.issuer.was_reached())
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
        if matches!(found, Err(Denied::InvalidToken | Denied::UnknownKey)) {
            checks.refused.inc();
        }
        found
    }
}

/// Somebody who signed in, as the issuer tells the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whom what they make belongs to.
    pub owner: Owner,
    /// What they are called: `name`, `nickname`, `preferred_username` or `sub`.
    pub name: String,
}

impl Authenticator {
    /// Returns whose token it is.
    ///
    /// # Errors
    /// If it cannot be believed; in open mode always.
    pub async fn principal_of(&self, token: &str) -> Result<Principal, Denied> {
        self.0.as_ref().ok_or(Denied::InvalidToken)?.check(token).await
    }

    /// Returns who signed in by an ID token for `client_id` (OpenID Connect Core, section 3.1.3.7).
    ///
    /// # Errors
    /// If it cannot be believed, or its `nonce` is another.
    pub async fn identity(
        &self,
        id_token: &str,
        client_id: &str,
        nonce: &str,
    ) -> Result<Identity, Denied> {
        let checks = self.0.as_ref().ok_or(Denied::InvalidToken)?;
        let mut validation = checks.validation.clone();
        validation.set_audience(&[client_id]);
        let claims = checks.claims(id_token, validation).await?;
        let authorized = claims.get("azp").is_none_or(|party| party == client_id);
        if claims["nonce"] != nonce || !authorized {
            return Err(refused(&ErrorKind::InvalidToken));
        }
        let text = |name: &str| claims[name].as_str().filter(|text| !text.trim().is_empty());
        let name = ["name", "nickname", "preferred_username"].into_iter().find_map(text);
        let subject =
            claims::subject(&claims).ok_or_else(|| refused(&ErrorKind::InvalidSubject))?;
        let owner = Owner::of_subject(&checks.name, subject);
        Ok(Identity { owner, name: name.unwrap_or(subject).to_owned() })
    }
}

/// Refuses a token. Says why in a line of the log that has nothing of the token.
fn refused(why: &ErrorKind) -> Denied {
    debug!(?why, "a token was refused");
    Denied::InvalidToken
}

impl Checks {
    /// Returns whose token it is.
    async fn check(&self, token: &str) -> Result<Principal, Denied> {
        let (hash, generation) = (Cache::hash(token), self.issuer.generation());
        if let Some(principal) = self.cache.get(&hash, generation) {
            return Ok(principal);
        }
        // In a box: few requests come here, and the future of each would have room for this.
        let claims = Box::pin(self.claims(token, self.validation.clone())).await?;
        let subject =
            claims::subject(&claims).ok_or_else(|| refused(&ErrorKind::InvalidSubject))?;
        let expires =
            claims::expiry(&claims).ok_or_else(|| refused(&ErrorKind::ExpiredSignature))?;
        let owner = Owner::of_subject(&self.name, subject);
        let principal = Principal::new(owner, self.roles(&claims)).until(expires);
        self.cache.put(hash, principal.clone(), expires + TOKEN_LEEWAY, generation);
        Ok(principal)
    }

    /// Returns the claims of a token that its issuer signed, and that `validation` accepts.
    async fn claims(&self, token: &str, mut validation: Validation) -> Result<Value, Denied> {
        if token.len() > TOKEN_SIZE_MAX {
            return Err(Denied::InvalidToken);
        }
        let head = decode_header(token).map_err(|error| refused(error.kind()))?;
        if !self.algorithms.contains(&head.alg) {
            return Err(refused(&ErrorKind::InvalidAlgorithm));
        }
        // What is critical changes how a token is read, and no such extension is known here (RFC 7515, section 4.1.11).
        if head.crit.is_some() {
            return Err(refused(&ErrorKind::InvalidToken));
        }
        let key =
            self.issuer.key(head.kid.as_deref(), head.alg).await.map_err(|none| match none {
                NoKey::Unknown => {
                    debug!("a token was refused: its key is not known");
                    Denied::UnknownKey
                }
                NoKey::Away => Denied::IssuerAway,
            })?;
        validation.algorithms = vec![head.alg];
        self.checked.inc();
        let data = decode::<Value>(token, &key, &validation);
        let claims = data.map_err(|error| refused(error.kind()))?.claims;
        // The library takes a list of issuers too.
        if claims["iss"].is_string() { Ok(claims) } else { Err(refused(&ErrorKind::InvalidIssuer)) }
    }

    /// Returns the roles in the claims, and what everybody with a token is.
    fn roles(&self, claims: &Value) -> Vec<Role> {
        let list = self.roles_claim.iter().try_fold(claims, |value, name| value.get(name));
        let list = list.and_then(Value::as_array);
        if list.is_none() {
            debug!("a token has no list of roles");
        }
        let named = list.into_iter().flatten().filter_map(Value::as_str).filter_map(Role::named);
        let all = (self.customers == Customers::Everybody).then_some(Role::Customer);
        named.chain(all).collect()
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

/// Returns true if a request has a bearer token, even an empty one. A proxy in front may leave credentials of other schemes.
fn has_bearer(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().split(u8::is_ascii_whitespace).next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    })
}
