//! The settings of who may do what: `AUTH_*` and `SERVICE_TOKEN`.

use crate::base::config::secret::Secret;
use std::str::FromStr;

/// Lower bound for a secret that processes share, in characters.
const SECRET_LENGTH_MIN: usize = 32;

/// Whose tokens are believed, and what they need.
#[derive(Clone, Debug, clap::Args)]
pub struct Auth {
    /// Issuer of the tokens, as https://HOST/PATH, exactly as `iss` in them; unset means open mode: everybody may do everything
    #[arg(long, env, value_parser = issuer)]
    pub auth_issuer: Option<String>,

    /// Audience that a token must have
    #[arg(long, env, default_value = Self::AUDIENCE, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub auth_audience: String,

    /// Path of the list of roles in a token, with dots
    #[arg(long, env, default_value = Self::ROLES_CLAIM, value_parser = claim_path)]
    pub auth_roles_claim: String,

    /// Whether somebody without a token is a guest, who may buy; only with an issuer
    #[arg(long, env, default_value = "deny")]
    pub auth_guests: Guests,

    /// Whose token makes a customer: that with the role, or everybody's; for issuers that know no roles
    #[arg(long, env, default_value = "with-role")]
    pub auth_customers: Customers,

    /// Algorithms that a token may be signed with, comma separated
    #[arg(long, env, value_delimiter = ',', default_value = "RS256,ES256,EdDSA")]
    pub auth_algorithms: Vec<AuthAlgorithm>,

    /// URL of the issuer's keys (JWKS); unset takes it from the issuer's /.well-known/openid-configuration
    #[arg(long, env, value_parser = http_url)]
    pub auth_jwks_url: Option<String>,
}

impl Auth {
    /// The audience, unless the setting says otherwise.
    pub const AUDIENCE: &str = "gifticon";
    /// The path of the list of roles, unless the setting says otherwise.
    pub const ROLES_CLAIM: &str = "realm_access.roles";

    /// Returns true in open mode.
    pub fn is_open(&self) -> bool {
        self.auth_issuer.is_none()
    }

    /// Returns the settings of open mode.
    pub fn open() -> Self {
        Self {
            auth_issuer: None,
            auth_audience: Self::AUDIENCE.into(),
            auth_roles_claim: Self::ROLES_CLAIM.into(),
            auth_guests: Guests::Deny,
            auth_customers: Customers::WithRole,
            auth_algorithms: AuthAlgorithm::DEFAULT.to_vec(),
            auth_jwks_url: None,
        }
    }

    /// Returns the default settings with an issuer.
    pub fn with_issuer(issuer: impl Into<String>) -> Self {
        Self { auth_issuer: Some(issuer.into()), ..Self::open() }
    }
}

/// Open mode.
impl Default for Auth {
    fn default() -> Self {
        Self::open()
    }
}

/// Whether requests without a token are served as a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Guests {
    /// They are refused, unless nobody needs to be known.
    Deny,
    /// They are a guest's, who may buy as a customer may. What guests own belongs to all of them.
    Allow,
}

/// Whose token makes a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Customers {
    /// That which has the role `customer`.
    WithRole,
    /// Every token that the issuer signed for this audience.
    Everybody,
}

/// An algorithm of signatures. Those with a shared secret (HS256) are none of them: who can check such a token can make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuthAlgorithm {
    #[value(name = "RS256")]
    Rs256,
    #[value(name = "RS384")]
    Rs384,
    #[value(name = "RS512")]
    Rs512,
    #[value(name = "PS256")]
    Ps256,
    #[value(name = "PS384")]
    Ps384,
    #[value(name = "PS512")]
    Ps512,
    #[value(name = "ES256")]
    Es256,
    #[value(name = "ES384")]
    Es384,
    #[value(name = "EdDSA")]
    EdDsa,
}

impl AuthAlgorithm {
    /// Those that are allowed by default.
    pub const DEFAULT: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];
}

/// The secret that services know each other by.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServiceToken {
    /// Secret of at least 32 characters that cart sends to gifticon with reservations; gifticon takes each of several, comma
    /// separated, and cart sends the first
    #[arg(long, env, hide_env_values = true)]
    pub service_token: Option<SharedSecrets>,
}

impl ServiceToken {
    /// Returns a token that nobody else knows.
    pub fn random() -> Self {
        Self { service_token: Some(SharedSecrets::random()) }
    }
}

/// Secrets of at least 32 characters that processes share: the first is used, and each is accepted. Their `Debug` hides them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSecrets(Vec<Secret>);

impl SharedSecrets {
    /// Returns a secret that nobody else knows.
    pub fn random() -> Self {
        Self(vec![Secret::random()])
    }

    /// Returns the secret to use. Never log it.
    pub fn first(&self) -> &str {
        self.0[0].reveal()
    }

    /// Returns the secrets to accept. Never log them.
    pub fn each(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Secret::reveal)
    }
}

impl FromStr for SharedSecrets {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let secret = |text: &str| {
            let text = text.trim();
            let valid =
                text.len() >= SECRET_LENGTH_MIN && text.bytes().all(|byte| byte.is_ascii_graphic());
            let secret = || text.parse::<Secret>().ok();
            valid.then(secret).flatten().ok_or("it has at least 32 visible ASCII characters")
        };
        Ok(Self(text.split(',').map(secret).collect::<Result<_, _>>()?))
    }
}

/// The value of `AUTH_ISSUER` that means the issuer of `standalone`.
pub const DEV_ISSUER: &str = "dev";

/// Checks an issuer, and returns it unchanged: tokens name it letter by letter.
fn issuer(text: &str) -> Result<String, String> {
    if text == DEV_ISSUER {
        return Ok(text.to_owned());
    }
    let url = http_url(text)?;
    if url.contains(['?', '#']) {
        return Err("an issuer has neither a query nor a fragment".into());
    }
    Ok(url)
}

/// Checks a URL of HTTP or HTTPS, and returns it unchanged.
fn http_url(text: &str) -> Result<String, String> {
    let malformed = || "it looks like https://HOST/PATH".to_owned();
    let uri: axum::http::Uri = text.parse().map_err(|_| malformed())?;
    let host = uri.host().unwrap_or_default();
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_empty() || has_user {
        return Err(malformed());
    }
    Ok(text.to_owned())
}

/// Checks the path of a claim, and returns it unchanged.
fn claim_path(text: &str) -> Result<String, String> {
    if text.split('.').any(str::is_empty) {
        return Err("it looks like realm_access.roles".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn parse(args: &[&str]) -> Result<Auth, clap::Error> {
        let command = Auth::augment_args(clap::Command::new("x"));
        let found = command.try_get_matches_from([&["x"], args].concat())?;
        Auth::from_arg_matches(&found)
    }

    #[test]
    fn open_mode_is_the_default() {
        let auth = parse(&[]).unwrap();
        assert_eq!(format!("{auth:?}"), format!("{:?}", Auth::open()));
    }

    #[test]
    fn no_algorithm_has_a_shared_secret() {
        let auth = parse(&["--auth-algorithms", "PS256,ES384"]).unwrap();
        assert_eq!(auth.auth_algorithms, [AuthAlgorithm::Ps256, AuthAlgorithm::Es384]);
        for wrong in ["HS256", "none", "RS256,HS512", "rs256", ""] {
            assert!(parse(&["--auth-algorithms", wrong]).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn issuers_and_claims_are_checked() {
        for right in ["https://id.example/realms/shop", "http://127.0.0.1:1/"] {
            assert_eq!(issuer(right), Ok(right.to_owned()));
        }
        for wrong in ["", "id.example", "ftp://x", "https://x?a", "https://", "https://u:p@x/"] {
            assert!(issuer(wrong).is_err(), "{wrong} was taken");
        }
        assert!(claim_path("roles").is_ok() && claim_path("a.b.c").is_ok());
        for wrong in ["", ".", "a.", "a..b"] {
            assert!(claim_path(wrong).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn service_tokens_are_long_and_hidden() {
        let (old, new) = ("o".repeat(32), "n".repeat(40));
        let tokens: SharedSecrets = format!("{new}, {old}").parse().unwrap();
        assert_eq!(tokens.first(), new);
        assert_eq!(tokens.each().collect::<Vec<_>>(), [&new, &old]);
        assert!(!format!("{tokens:?}").contains("nnn"));
        for wrong in ["", "short", &format!("{new},"), &format!("{new},{}", " ".repeat(40))] {
            assert!(wrong.parse::<SharedSecrets>().is_err(), "{wrong} was taken");
        }
    }
}
