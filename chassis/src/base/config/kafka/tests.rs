use super::*;
use clap::Parser;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    security: KafkaSecurity,
}

/// Returns the settings of the client for these flags, or the name of the setting that is refused.
fn parsed(flags: &str) -> Result<Vec<(&'static str, String)>, &'static str> {
    let flags = flags.split_whitespace().map(|flag| format!("--kafka-{flag}"));
    let cli = Cli::try_parse_from(["x".to_owned()].into_iter().chain(flags)).unwrap();
    assert!(!format!("{cli:?}").contains("s3cret"), "{cli:?}");
    match cli.security.checked() {
        Ok((settings, request)) => {
            assert!(!format!("{request:?}").contains("s3cret"), "{request:?}");
            Ok(settings.into_iter().map(|(_, name, value)| (name, value)).collect())
        }
        Err(InvalidSetting { setting, why }) => {
            assert!(!why.contains("s3cret"), "{why}");
            Err(setting)
        }
    }
}

#[test]
fn settings_that_do_not_fit_each_other_are_refused_by_name() {
    let user = "sasl-username=shop sasl-password=s3cret";
    let plain = format!("security-protocol=SASL_PLAINTEXT sasl-mechanism=plain {user}");
    let settings = parsed(&plain).unwrap();
    assert!(settings.contains(&("security.protocol", "sasl_plaintext".into())), "{settings:?}");
    assert!(settings.contains(&("sasl.mechanism", "PLAIN".into())), "{settings:?}");
    assert!(settings.contains(&("sasl.password", "s3cret".into())));
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
        ("security-protocol=sasl_plaintext sasl-mechanism=PLAIN".to_owned(), "KAFKA_SASL_USERNAME"),
        (
            "security-protocol=sasl_plaintext sasl-mechanism=PLAIN sasl-username=shop".to_owned(),
            "KAFKA_SASL_PASSWORD",
        ),
        (format!("{plain} sasl-oauthbearer-scope=x"), "KAFKA_SASL_OAUTHBEARER_SCOPE"),
        (
            "sasl-oauthbearer-client-secret=s3cret".to_owned(),
            "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
        ),
    ] {
        assert_eq!(parsed(&flags), Err(setting), "{flags}");
    }
}

const BEARER: &str = "security-protocol=sasl_plaintext sasl-mechanism=OAUTHBEARER \
    sasl-oauthbearer-token-endpoint-url=https://idp/token sasl-oauthbearer-client-id=shop \
    sasl-oauthbearer-client-secret=s3cret";

#[cfg(feature = "kafka-tls")]
#[test]
fn oauthbearer_needs_an_endpoint_and_a_client_with_a_secret_and_no_user() {
    let settings = parsed(BEARER).unwrap();
    assert!(settings.contains(&("sasl.mechanism", "OAUTHBEARER".into())), "{settings:?}");
    assert!(
        !format!("{settings:?}").contains("s3cret"),
        "librdkafka has no use for it: {settings:?}"
    );
    for missing in ["token-endpoint-url", "client-id", "client-secret"] {
        let without = |flag: &&str| !flag.starts_with(&format!("sasl-oauthbearer-{missing}="));
        let flags: Vec<_> = BEARER.split_whitespace().filter(without).collect();
        let variable = missing.to_uppercase().replace('-', "_");
        let setting = parsed(&flags.join(" ")).unwrap_err();
        assert_eq!(setting, format!("KAFKA_SASL_OAUTHBEARER_{variable}"));
    }
    let user = format!("{BEARER} sasl-username=shop");
    assert_eq!(parsed(&user), Err("KAFKA_SASL_USERNAME"));
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
        (BEARER.to_owned(), "KAFKA_SASL_MECHANISM"),
    ] {
        if cfg!(feature = "kafka-tls") {
            assert!(parsed(&flags).is_ok(), "{flags}");
        } else {
            assert_eq!(parsed(&flags), Err(setting), "{flags}");
        }
    }
}
