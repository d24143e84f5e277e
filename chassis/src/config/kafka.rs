//! TLS and SASL to Kafka, in the names of librdkafka.

use crate::service::Unusable;
use clap::ValueEnum;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How the process connects to Kafka and says who it is.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KafkaSecurity {
    /// Protocol to Kafka; ssl and sasl_ssl need a build with the cargo feature kafka-tls
    #[arg(long, env, value_enum, ignore_case = true, default_value = "plaintext")]
    pub kafka_security_protocol: Protocol,

    /// SASL mechanism; SCRAM needs a build with the cargo feature kafka-tls
    #[arg(long, env, value_enum, ignore_case = true)]
    pub kafka_sasl_mechanism: Option<Mechanism>,

    /// User for SASL
    #[arg(long, env)]
    pub kafka_sasl_username: Option<String>,

    /// Password for SASL
    #[arg(long, env, hide_env_values = true)]
    pub kafka_sasl_password: Option<Secret>,

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

/// What goes over the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Protocol {
    /// Nothing is encrypted, nobody says who they are.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

/// How a client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mechanism {
    /// User and password as they are.
    #[value(name = "PLAIN")]
    Plain,
    /// A proof of the password, by SHA-256.
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    /// A proof of the password, by SHA-512.
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
}

/// How a broker's certificate is compared with its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Identification {
    /// As a browser does.
    Https,
    /// Not at all.
    None,
}

/// A secret. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl FromStr for Secret {
    type Err = &'static str;

    fn from_str(secret: &str) -> Result<Self, Self::Err> {
        if secret.is_empty() { Err("it is empty") } else { Ok(Self(secret.to_owned())) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A setting of librdkafka: our name, its name, the value.
pub(crate) type ClientSetting = (&'static str, &'static str, String);

impl KafkaSecurity {
    /// Returns the settings of librdkafka, or the first setting that does not fit the others or this build.
    pub(crate) fn client_settings(&self) -> Result<Vec<ClientSetting>, Unusable> {
        let protocol = self.kafka_security_protocol;
        let tls = matches!(protocol, Protocol::Ssl | Protocol::SaslSsl);
        let sasl = matches!(protocol, Protocol::SaslPlaintext | Protocol::SaslSsl);
        let built_with_tls = cfg!(feature = "kafka-tls");
        if tls && !built_with_tls {
            let why = "this build has no TLS to Kafka; build it with the cargo feature kafka-tls";
            return Err(unusable("KAFKA_SECURITY_PROTOCOL", why));
        }
        let of_sasl = self.sasl_settings();
        let of_tls = self.tls_settings()?;
        if let Some(&(name, ..)) = of_sasl.first().filter(|_| !sasl) {
            return Err(unusable(
                name,
                "it needs KAFKA_SECURITY_PROTOCOL to be sasl_ssl or sasl_plaintext",
            ));
        }
        if let Some(&(name, ..)) = of_tls.first().filter(|_| !tls) {
            return Err(unusable(name, "it needs KAFKA_SECURITY_PROTOCOL to be ssl or sasl_ssl"));
        }
        if sasl {
            for needed in ["KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"] {
                if !of_sasl.iter().any(|(name, ..)| *name == needed) {
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
        let protocol = ("KAFKA_SECURITY_PROTOCOL", "security.protocol", name_of(&protocol));
        Ok([protocol].into_iter().chain(of_sasl).chain(of_tls).collect())
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

    fn tls_settings(&self) -> Result<Vec<ClientSetting>, Unusable> {
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

fn unusable(setting: &'static str, why: &str) -> Unusable {
    Unusable { setting, why: why.to_owned() }
}

/// The name that librdkafka and clap have for a value.
fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Returns the path of a file that can be read.
fn readable(setting: &'static str, path: &Path) -> Result<String, Unusable> {
    let why =
        |what: &str| unusable(setting, &format!("{}: {what}; it is a PEM file", path.display()));
    std::fs::read(path).map_err(|error| why(&error.to_string()))?;
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| why("the path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        security: KafkaSecurity,
    }

    /// What becomes of these flags: the settings of the client, or the setting that is refused.
    fn parsed(flags: &str) -> Result<Vec<(&'static str, String)>, &'static str> {
        let flags = flags.split_whitespace().map(|flag| format!("--kafka-{flag}"));
        let cli = Cli::try_parse_from(["x".to_owned()].into_iter().chain(flags)).unwrap();
        assert!(!format!("{cli:?}").contains("s3cret"), "{cli:?}");
        match cli.security.client_settings() {
            Ok(settings) => {
                Ok(settings.into_iter().map(|(_, name, value)| (name, value)).collect())
            }
            Err(Unusable { setting, why }) => {
                assert!(!why.contains("s3cret"), "{why}");
                Err(setting)
            }
        }
    }

    #[test]
    fn settings_that_do_not_fit_each_other_are_refused_by_name() {
        let user = "sasl-username=shop sasl-password=s3cret";
        let plain = format!("security-protocol=SASL_PLAINTEXT sasl-mechanism=plain {user}");
        let told = parsed(&plain).unwrap();
        assert!(told.contains(&("security.protocol", "sasl_plaintext".into())), "{told:?}");
        assert!(told.contains(&("sasl.mechanism", "PLAIN".into())), "{told:?}");
        assert!(told.contains(&("sasl.password", "s3cret".into())));
        assert_eq!(parsed("").unwrap(), [("security.protocol", "plaintext".to_owned())]);
        for (flags, setting) in [
            (user.to_owned(), "KAFKA_SASL_USERNAME"),
            ("ssl-ca-location=/dev/null".to_owned(), "KAFKA_SSL_CA_LOCATION"),
            ("ssl-ca-location=/no/such.pem".to_owned(), "KAFKA_SSL_CA_LOCATION"),
            (
                "ssl-endpoint-identification-algorithm=none".to_owned(),
                "KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM",
            ),
            (format!("security-protocol=sasl_plaintext {user}"), "KAFKA_SASL_MECHANISM"),
            (
                "security-protocol=sasl_plaintext sasl-mechanism=PLAIN".to_owned(),
                "KAFKA_SASL_USERNAME",
            ),
            (
                "security-protocol=sasl_plaintext sasl-mechanism=PLAIN sasl-username=shop"
                    .to_owned(),
                "KAFKA_SASL_PASSWORD",
            ),
        ] {
            assert_eq!(parsed(&flags), Err(setting), "{flags}");
        }
    }

    #[tokio::test]
    async fn plain_without_encryption_needs_no_openssl() {
        let security = KafkaSecurity {
            kafka_security_protocol: Protocol::SaslPlaintext,
            kafka_sasl_mechanism: Some(Mechanism::Plain),
            kafka_sasl_username: Some("shop".into()),
            kafka_sasl_password: Some("s3cret".parse().unwrap()),
            ..KafkaSecurity::default()
        };
        let bus = crate::bus::KafkaBus::secured("127.0.0.1:1", "t", &security).unwrap();
        assert!(!format!("{bus:?}").contains("s3cret"), "{bus:?}");
    }

    #[test]
    fn what_needs_openssl_is_refused_without_it_and_taken_with_it() {
        let user = "sasl-username=shop sasl-password=s3cret";
        for (flags, setting) in [
            ("security-protocol=ssl".to_owned(), "KAFKA_SECURITY_PROTOCOL"),
            (
                format!("security-protocol=sasl_ssl sasl-mechanism=PLAIN {user}"),
                "KAFKA_SECURITY_PROTOCOL",
            ),
            (
                format!("security-protocol=sasl_plaintext sasl-mechanism=SCRAM-SHA-512 {user}"),
                "KAFKA_SASL_MECHANISM",
            ),
        ] {
            if cfg!(feature = "kafka-tls") {
                assert!(parsed(&flags).is_ok(), "{flags}");
            } else {
                assert_eq!(parsed(&flags), Err(setting), "{flags}");
            }
        }
    }
}
