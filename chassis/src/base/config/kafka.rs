//! TLS and SASL to Kafka: our settings, and those of librdkafka that they become.

mod oauth;

use crate::base::config::invalid::{InvalidSetting, unusable};
use crate::base::config::secret::{ClientSetting, Secret};
use crate::base::config::tls::refuse_content;
use clap::ValueEnum;
use std::path::{Path, PathBuf};

pub use oauth::KafkaOauth;
pub(crate) use oauth::TokenRequest;

/// Encryption and authentication to Kafka.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KafkaSecurity {
    /// Protocol to Kafka; ssl and sasl_ssl need a build with the cargo feature kafka-tls
    #[arg(long, env, value_enum, ignore_case = true, default_value = "plaintext")]
    pub kafka_security_protocol: Protocol,

    /// SASL mechanism; SCRAM and OAUTHBEARER need a build with the cargo feature kafka-tls
    #[arg(long, env, value_enum, ignore_case = true)]
    pub kafka_sasl_mechanism: Option<Mechanism>,

    /// User for PLAIN and SCRAM
    #[arg(long, env)]
    pub kafka_sasl_username: Option<String>,

    /// Password for PLAIN and SCRAM
    #[arg(long, env, hide_env_values = true)]
    pub kafka_sasl_password: Option<Secret>,

    #[command(flatten)]
    pub oauth: KafkaOauth,

    /// PEM file of the CAs that signed the brokers' certificates; unset means those of the system
    #[arg(long, env)]
    pub kafka_ssl_ca_location: Option<PathBuf>,

    /// PEM file of this client's certificate, where brokers ask for one
    #[arg(long, env)]
    pub kafka_ssl_certificate_location: Option<PathBuf>,

    /// PEM file of the key of this client's certificate
    #[arg(long, env)]
    pub kafka_ssl_key_location: Option<PathBuf>,

    /// Password of that key
    #[arg(long, env, hide_env_values = true)]
    pub kafka_ssl_key_password: Option<Secret>,

    /// How a broker's certificate must name it: https checks the host, none checks nothing; unset means https
    #[arg(long, env, value_enum, ignore_case = true)]
    pub kafka_ssl_endpoint_identification_algorithm: Option<Identification>,
}

/// The protocol of a connection to Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither encryption nor authentication.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

/// The SASL mechanism by which a client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mechanism {
    /// User and password in clear text.
    #[value(name = "PLAIN")]
    Plain,
    /// A proof of the password, by SHA-256.
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    /// A proof of the password, by SHA-512.
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
    /// A token of an identity provider.
    #[value(name = "OAUTHBEARER")]
    Oauthbearer,
}

/// How a broker's certificate is compared with its host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Identification {
    /// The host name must match, as in a browser.
    Https,
    /// Not compared.
    None,
}

/// The settings of librdkafka, and with OAUTHBEARER the request for its tokens.
pub(crate) type Checked = (Vec<ClientSetting>, Option<TokenRequest>);

impl KafkaSecurity {
    /// Returns the settings for librdkafka. Fails with the first setting that does not fit the others or this build.
    pub(crate) fn checked(&self) -> Result<Checked, InvalidSetting> {
        let protocol = self.kafka_security_protocol;
        let tls = matches!(protocol, Protocol::Ssl | Protocol::SaslSsl);
        let sasl = matches!(protocol, Protocol::SaslPlaintext | Protocol::SaslSsl);
        let built_with_tls = cfg!(feature = "kafka-tls");
        if tls && !built_with_tls {
            let why = "this build has no TLS to Kafka; build it with the cargo feature kafka-tls";
            return Err(unusable("KAFKA_SECURITY_PROTOCOL", why));
        }
        let sasl_settings = self.sasl_settings();
        let tls_settings = self.tls_settings()?;
        if let Some(&(name, ..)) = sasl_settings.first().filter(|_| !sasl) {
            return Err(unusable(
                name,
                "it needs KAFKA_SECURITY_PROTOCOL to be sasl_ssl or sasl_plaintext",
            ));
        }
        if let Some(&(name, ..)) = tls_settings.first().filter(|_| !tls) {
            return Err(unusable(name, "it needs KAFKA_SECURITY_PROTOCOL to be ssl or sasl_ssl"));
        }
        let bearer = self.kafka_sasl_mechanism == Some(Mechanism::Oauthbearer);
        if sasl {
            let required = ["KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"];
            for needed in required.into_iter().filter(|_| !bearer) {
                if !sasl_settings.iter().any(|(name, ..)| *name == needed) {
                    return Err(unusable(
                        needed,
                        "it is missing, and KAFKA_SECURITY_PROTOCOL needs it",
                    ));
                }
            }
            if self.kafka_sasl_mechanism != Some(Mechanism::Plain) && !built_with_tls {
                let why = "this build has PLAIN only; build it with the cargo feature kafka-tls";
                return Err(unusable("KAFKA_SASL_MECHANISM", why));
            }
        }
        let request = if bearer {
            Some(self.oauth.request(&sasl_settings)?)
        } else {
            self.oauth.unused()?;
            None
        };
        let protocol = ("KAFKA_SECURITY_PROTOCOL", "security.protocol", name_of(&protocol));
        Ok(([protocol].into_iter().chain(sasl_settings).chain(tls_settings).collect(), request))
    }

    fn sasl_settings(&self) -> Vec<ClientSetting> {
        let password = self.kafka_sasl_password.as_ref().map(|Secret(secret)| secret.clone());
        let mechanism = self.kafka_sasl_mechanism.as_ref().map(name_of);
        let all = [
            ("KAFKA_SASL_MECHANISM", "sasl.mechanism", mechanism),
            ("KAFKA_SASL_USERNAME", "sasl.username", self.kafka_sasl_username.clone()),
            ("KAFKA_SASL_PASSWORD", "sasl.password", password),
        ];
        all.into_iter().filter_map(|(ours, theirs, value)| Some((ours, theirs, value?))).collect()
    }

    fn tls_settings(&self) -> Result<Vec<ClientSetting>, InvalidSetting> {
        let files = [
            ("KAFKA_SSL_CA_LOCATION", "ssl.ca.location", &self.kafka_ssl_ca_location),
            (
                "KAFKA_SSL_CERTIFICATE_LOCATION",
                "ssl.certificate.location",
                &self.kafka_ssl_certificate_location,
            ),
            ("KAFKA_SSL_KEY_LOCATION", "ssl.key.location", &self.kafka_ssl_key_location),
        ];
        let mut settings = Vec::new();
        for (ours, theirs, path) in files {
            if let Some(path) = path {
                settings.push((ours, theirs, readable(ours, path)?));
            }
        }
        if let Some(Secret(secret)) = &self.kafka_ssl_key_password {
            settings.push(("KAFKA_SSL_KEY_PASSWORD", "ssl.key.password", secret.clone()));
        }
        if let Some(algorithm) = &self.kafka_ssl_endpoint_identification_algorithm {
            settings.push((
                "KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM",
                "ssl.endpoint.identification.algorithm",
                name_of(algorithm),
            ));
        }
        Ok(settings)
    }
}

/// Returns the name that librdkafka and clap use for a value.
fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Returns `path` as text. Fails if the file cannot be read.
fn readable(setting: &'static str, path: &Path) -> Result<String, InvalidSetting> {
    refuse_content(setting, path)?;
    let why =
        |what: &str| unusable(setting, &format!("{}: {what}; it is a PEM file", path.display()));
    std::fs::read(path).map_err(|error| why(&error.to_string()))?;
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| why("the path is not UTF-8"))
}

#[cfg(test)]
mod tests;
