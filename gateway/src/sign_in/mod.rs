//! Signing in on the pages: the gateway is a client of the issuer (OpenID Connect, authorization code with PKCE).
//!
//! A session is the tokens of the issuer, sealed in cookies. Nothing is kept here, so that every replica knows every session.
//! Of a request with a session, the services see the token, as if the client had sent it.

mod attempt;
mod config;
mod cookies;
mod provider;
mod recognise;
mod renewals;
mod routes;
mod session;

pub use config::{SessionToken, SignInConfig};
pub(crate) use recognise::around;

use chassis::auth::Authenticator;
use chassis::base::config::{Auth, Guests};
use cookies::Seal;
use provider::Provider;
use renewals::Renewals;
use std::sync::Arc;

/// Signing in. Clones share everything.
#[derive(Clone)]
pub(crate) struct SignIn(Arc<Parts>);

struct Parts {
    provider: Arc<Provider>,
    /// Whether somebody who is not signed in may buy.
    guests_buy: bool,
    authenticator: Authenticator,
    seal: Seal,
    renewals: Renewals,
}

impl SignIn {
    /// Returns the client of the issuer, or `None` if the settings name no client or no issuer.
    pub(crate) fn new(
        config: SignInConfig,
        auth: &Auth,
        authenticator: &Authenticator,
    ) -> anyhow::Result<Option<Self>> {
        let (Some(client_id), Some(issuer)) = (config.oidc_client_id, &auth.auth_issuer) else {
            return Ok(None);
        };
        if config.session_secret.is_none() {
            tracing::info!("sessions end when this process does: SESSION_SECRET is not set");
        }
        let provider = Provider::new(
            issuer.clone(),
            client_id,
            config.oidc_client_secret,
            config.oidc_scopes,
            config.oidc_token,
        )?;
        Ok(Some(Self(Arc::new(Parts {
            provider: Arc::new(provider),
            guests_buy: auth.auth_guests == Guests::Allow,
            authenticator: authenticator.clone(),
            seal: Seal::new(config.session_secret),
            renewals: Renewals::default(),
        }))))
    }
}
