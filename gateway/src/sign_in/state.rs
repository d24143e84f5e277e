//! What signing in consists of.

use super::attempts::Attempts;
use super::config::SignInConfig;
use super::cookies::Seal;
use super::provider::Provider;
use super::renewals::Renewals;
use super::signed_out::SignedOut;
use chassis::auth::Authenticator;
use chassis::base::config::{Auth, Guests};
use chassis::base::metrics::Metrics;
use std::sync::Arc;
use web::Visitor;

/// Signing in. Clones share everything.
#[derive(Clone)]
pub(crate) struct SignIn(pub(super) Arc<Parts>);

pub(super) struct Parts {
    pub(super) provider: Arc<Provider>,
    /// Who is not signed in: a guest, if guests may buy.
    pub(super) stranger: Visitor,
    pub(super) authenticator: Authenticator,
    pub(super) seal: Seal,
    pub(super) renewals: Renewals,
    pub(super) signed_out: SignedOut,
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
        let (Some(client_id), Some(issuer)) =
            (config.oidc_client_id.clone(), auth.auth_issuer.clone())
        else {
            return Ok(None);
        };
        if config.session_secret.is_none() {
            tracing::info!("sessions end when this process does: SESSION_SECRET is not set");
        }
        Ok(Some(Self(Arc::new(Parts {
            seal: Seal::new(config.session_secret.clone()),
            provider: Arc::new(Provider::new(issuer, client_id, config)?),
            stranger: match auth.auth_guests {
                Guests::Allow => Visitor::Guest,
                Guests::Deny => Visitor::Stranger,
            },
            authenticator: authenticator.clone(),
            renewals: Renewals::default(),
            signed_out: SignedOut::default(),
            attempts,
        }))))
    }
}
