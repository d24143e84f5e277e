//! OAUTHBEARER: the identity provider, and the client that gets tokens from it.

use crate::base::config::invalid::{InvalidSetting, unusable};
use crate::base::config::secret::{ClientSetting, Secret};
use reqwest::Url;

/// The settings of the client credentials grant.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KafkaOauth {
    /// Token endpoint of the identity provider, for OAUTHBEARER, as https://HOST/PATH
    #[arg(long, env, value_parser = token_endpoint)]
    pub kafka_sasl_oauthbearer_token_endpoint_url: Option<Url>,

    /// Client id at the identity provider
    #[arg(long, env)]
    pub kafka_sasl_oauthbearer_client_id: Option<String>,

    /// Secret of that client
    #[arg(long, env, hide_env_values = true)]
    pub kafka_sasl_oauthbearer_client_secret: Option<Secret>,

    /// Scope to ask for, where the identity provider wants one
    #[arg(long, env)]
    pub kafka_sasl_oauthbearer_scope: Option<String>,
}

const ENDPOINT_URL: &str = "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL";
const CLIENT_ID: &str = "KAFKA_SASL_OAUTHBEARER_CLIENT_ID";
const CLIENT_SECRET: &str = "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET";
const SCOPE: &str = "KAFKA_SASL_OAUTHBEARER_SCOPE";

/// A request for a token: the endpoint and the client's credentials.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    pub(crate) endpoint: Url,
    pub(crate) client_id: String,
    pub(crate) secret: Secret,
    pub(crate) scope: Option<String>,
}

impl KafkaOauth {
    /// Returns the name of the first of these settings that is set.
    fn first(&self) -> Option<&'static str> {
        let settings = [
            (ENDPOINT_URL, self.kafka_sasl_oauthbearer_token_endpoint_url.is_some()),
            (CLIENT_ID, self.kafka_sasl_oauthbearer_client_id.is_some()),
            (CLIENT_SECRET, self.kafka_sasl_oauthbearer_client_secret.is_some()),
            (SCOPE, self.kafka_sasl_oauthbearer_scope.is_some()),
        ];
        settings.into_iter().find_map(|(name, is_set)| is_set.then_some(name))
    }

    /// Fails with the first of these settings that is set: the mechanism uses none of them.
    pub(super) fn unused(&self) -> Result<(), InvalidSetting> {
        let why = "it needs KAFKA_SASL_MECHANISM to be OAUTHBEARER";
        self.first().map_or(Ok(()), |name| Err(unusable(name, why)))
    }

    /// Returns the request for a token. Of the SASL settings only the mechanism may be set.
    pub(super) fn request(
        &self,
        sasl_settings: &[ClientSetting],
    ) -> Result<TokenRequest, InvalidSetting> {
        let other = sasl_settings.iter().find(|(name, ..)| *name != "KAFKA_SASL_MECHANISM");
        if let Some(&(name, ..)) = other {
            return Err(unusable(
                name,
                "KAFKA_SASL_MECHANISM is OAUTHBEARER, which has no use for it",
            ));
        }
        let missing = |name| unusable(name, "it is missing, and OAUTHBEARER needs it");
        let endpoint = self.kafka_sasl_oauthbearer_token_endpoint_url.clone();
        let client_id = self.kafka_sasl_oauthbearer_client_id.clone();
        Ok(TokenRequest {
            endpoint: endpoint.ok_or_else(|| missing(ENDPOINT_URL))?,
            client_id: client_id.filter(|id| !id.is_empty()).ok_or_else(|| missing(CLIENT_ID))?,
            secret: self
                .kafka_sasl_oauthbearer_client_secret
                .clone()
                .ok_or_else(|| missing(CLIENT_SECRET))?,
            scope: self.kafka_sasl_oauthbearer_scope.clone(),
        })
    }
}

/// Parses the URL of a token endpoint. It must have no user and no password, since it is logged.
fn token_endpoint(text: &str) -> Result<Url, String> {
    let usable = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    };
    let url = text.parse().ok().filter(usable);
    url.ok_or_else(|| "it looks like https://HOST/PATH".to_owned())
}
