//! What signing in consists of.

use super::attempts::Attempts;
use super::config::SignInConfig;
use super::cookies::Seal;
use super::provider::Provider;
use super::renewals::Renewals;
use chassis::auth::Authenticator;
use chassis::base::config::{Auth, Guests};
use chassis::base::metrics::Metrics;
use std::sync::Arc;

/// Signing in. Clones share everything.
#[derive(Clone)]
pub(crate) struct SignIn(pub(super) Arc<Parts>);

pub(super) struct Parts {
    pub(super) provider: Arc<Provider>,
    /// Whether somebody who is not signed in may buy.
    pub(super) guests_buy: bool,
    pub(super) authenticator: Authenticator,
    pub(super) seal: Seal,
    pub(super) renewals: Renewals,
    pub(super) attempts: Attempts,
}

impl SignIn {
    /// Returns the client of the issuer, or `None` if the settings name no client or no issuer.
    pub(crate) fn new(
        config: SignInConfig,
        auth: &Auth,
        authenticator: &Authenticator,
        metrics: &Metrics,
    ) -> anyhow::Result<Option<Self>> {
        let attempts = Attempts::new(metrics);
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
            config.oidc_token_type,
        )?;
        Ok(Some(Self(Arc::new(Parts {
            provider: Arc::new(provider),
            guests_buy: auth.auth_guests == Guests::Allow,
            authenticator: authenticator.clone(),
            seal: Seal::new(config.session_secret),
            renewals: Renewals::default(),
            attempts,
        }))))
    }
}
