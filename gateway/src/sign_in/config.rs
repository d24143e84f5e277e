//! The settings of signing in.

use chassis::base::config::{Secret, SharedSecrets};

/// How people sign in on the pages.
#[derive(Clone, Debug, clap::Args)]
pub struct SignInConfig {
    /// Client at the issuer by which people sign in on the pages; unset means that they cannot
    #[arg(long, env, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub oidc_client_id: Option<String>,

    /// Secret of that client; unset for a public client
    #[arg(long, env, hide_env_values = true)]
    pub oidc_client_secret: Option<Secret>,

    /// Scopes to ask the issuer for, comma separated
    #[arg(long, env, value_delimiter = ',', default_value = "openid,profile")]
    pub oidc_scopes: Vec<String>,

    /// Which token of the issuer the services get; the ID token where the access token is none that they can check
    #[arg(long, env, default_value = "access")]
    pub oidc_token_type: SessionToken,

    /// Secret of at least 32 characters that seals sessions, the same in all replicas; of several, comma separated, the first
    /// seals and each opens; unset takes a random one, and sessions end with the process
    #[arg(long, env, hide_env_values = true)]
    pub session_secret: Option<SharedSecrets>,
}

/// A token of the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SessionToken {
    /// The access token.
    Access,
    /// The ID token. `AUTH_AUDIENCE` is then the client's id.
    Id,
}

/// Nobody can sign in.
impl Default for SignInConfig {
    fn default() -> Self {
        Self {
            oidc_client_id: None,
            oidc_client_secret: None,
            oidc_scopes: vec!["openid".into(), "profile".into()],
            oidc_token_type: SessionToken::Access,
            session_secret: None,
        }
    }
}
