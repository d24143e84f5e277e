//! What an issuer says of itself (OpenID Connect Discovery 1.0).

use crate::auth::https::HttpsClient;
use anyhow::{Context, ensure};
use serde::Deserialize;

/// The discovery document of an issuer, as far as it is used.
#[derive(Clone, Debug, Deserialize)]
pub struct Discovery {
    issuer: String,
    pub(super) jwks_uri: String,
    /// Where people sign in.
    pub authorization_endpoint: Option<String>,
    /// Where codes and refresh tokens become tokens.
    pub token_endpoint: Option<String>,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_endpoint: Option<String>,
    /// Where people sign out.
    pub end_session_endpoint: Option<String>,
    /// How a client may send its secret to `token_endpoint`.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
}

impl Discovery {
    /// Reads the document of `issuer`.
    ///
    /// # Errors
    /// If it cannot be read, or is of another issuer.
    pub async fn read(client: &HttpsClient, issuer: &str) -> anyhow::Result<Self> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = client.get(&url).await?;
        let discovery: Self = serde_json::from_slice(&document)
            .with_context(|| format!("{url} is no discovery document"))?;
        ensure!(
            discovery.issuer == *issuer,
            "{url} is of the issuer {}, and AUTH_ISSUER is {issuer}",
            discovery.issuer
        );
        Ok(discovery)
    }
}
