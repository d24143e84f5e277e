//! OAUTHBEARER: who asks which identity provider for tokens.

use crate::base::config::invalid::{InvalidSetting, unusable};
use crate::base::config::secret::{ClientSetting, Secret};
use reqwest::Url;

/// How the process gets tokens, by the client credentials grant.
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

const ENDPOINT: &str = "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL";
const ID: &str = "KAFKA_SASL_OAUTHBEARER_CLIENT_ID";
const SECRET: &str = "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET";
const SCOPE: &str = "KAFKA_SASL_OAUTHBEARER_SCOPE";

/// What is asked for a token, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    pub(crate) endpoint: Url,
    pub(crate) client_id: String,
    pub(crate) secret: Secret,
    pub(crate) scope: Option<String>,
}

impl KafkaOauth {
    /// Returns the first of these settings that is there.
    fn first(&self) -> Option<&'static str> {
        let there = [
            (ENDPOINT, self.kafka_sasl_oauthbearer_token_endpoint_url.is_some()),
            (ID, self.kafka_sasl_oauthbearer_client_id.is_some()),
            (SECRET, self.kafka_sasl_oauthbearer_client_secret.is_some()),
            (SCOPE, self.kafka_sasl_oauthbearer_scope.is_some()),
        ];
        there.into_iter().find_map(|(name, there)| there.then_some(name))
    }

    /// Fails by the first of these settings that is there, for a mechanism that uses none of them.
    pub(super) fn unused(&self) -> Result<(), InvalidSetting> {
        let why = "it needs KAFKA_SASL_MECHANISM to be OAUTHBEARER";
        self.first().map_or(Ok(()), |name| Err(unusable(name, why)))
    }

    /// Returns what to ask for a token. `of_sasl` are the settings of SASL, of which only the mechanism goes with it.
    pub(super) fn request(
        &self,
        of_sasl: &[ClientSetting],
    ) -> Result<TokenRequest, InvalidSetting> {
        let other = of_sasl.iter().find(|(name, ..)| *name != "KAFKA_SASL_MECHANISM");
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
            endpoint: endpoint.ok_or_else(|| missing(ENDPOINT))?,
            client_id: client_id.filter(|id| !id.is_empty()).ok_or_else(|| missing(ID))?,
            secret: self
                .kafka_sasl_oauthbearer_client_secret
                .clone()
                .ok_or_else(|| missing(SECRET))?,
            scope: self.kafka_sasl_oauthbearer_scope.clone(),
        })
    }
}

/// Reads the URL of a token endpoint. It has no user and no password: it goes to the log.
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
