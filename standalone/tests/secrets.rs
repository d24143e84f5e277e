//! No secret is shown: not in `--help`, in `Debug`, or in the refusal of a setting. And each can come from a file.

mod common;

use chassis::base::config::Process;
use chassis::service::launch::{OnKafka, command};
use clap::{Args, Command as Flags, FromArgMatches};
use gateway::services::processes;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::process::{Command, Output};

/// What no output may contain.
const SECRET: &str = "voucher-of-the-tests-that-nobody-may-see"; // long enough for every setting

/// Returns true if a setting with this name holds a secret, as all of its value or in a URL.
fn is_secret(name: &str) -> bool {
    let ends = ["PASSWORD", "_SECRET", "_TOKEN", "_HEADERS", "_API_KEY"];
    name == "DATABASE_URL" || ends.iter().any(|end| name.ends_with(end))
}

/// Returns a value of a setting, with [`SECRET`] in it if the setting holds a secret.
fn value(name: &str) -> String {
    match name {
        "DATABASE_URL" => format!("postgres://shop:{SECRET}@db/shop"),
        name if name.ends_with("_HEADERS") => format!("authorization={SECRET}"),
        name if is_secret(name) => SECRET.into(),
        "KAFKA_BROKERS" => "kafka:9092".into(),
        name if name.ends_with("_URL") => "http://service:8080".into(),
        name => panic!("{name} is required; say here what it may be"),
    }
}

/// Returns the names of the secrets of a process. Checks that each is hidden in `--help` and in the `Debug` of the settings.
fn checked<C: Args + Debug>(command: &Flags) -> BTreeSet<String> {
    let (mut secrets, mut arguments) = (BTreeSet::new(), vec![command.get_name().to_owned()]);
    for setting in command.get_arguments() {
        let Some(name) = setting.get_env().and_then(|name| name.to_str()) else { continue };
        if is_secret(name) {
            assert!(setting.is_hide_env_values_set(), "--help shows {name}");
            assert!(setting.get_default_values().iter().all(|value| value.is_empty()), "{name}");
            secrets.insert(name.to_owned());
        }
        if is_secret(name) || setting.is_required_set() {
            arguments.push(format!("--{}={}", setting.get_long().unwrap(), value(name)));
        }
    }
    let found = command.clone().try_get_matches_from(arguments).unwrap();
    let own = C::from_arg_matches(&found).unwrap();
    let shown = format!("{own:?} {own:#?} {:?}", Process::from_arg_matches(&found).unwrap());
    assert!(!shown.contains(SECRET), "Debug shows a secret: {shown}");
    secrets
}

#[test]
fn every_secret_of_every_process_is_hidden_in_help_and_debug() {
    let standalone = command::<standalone::StandaloneConfig>("standalone", standalone::ABOUT, 0);
    let commands = common::services::commands().into_iter().chain([standalone]);
    let mut names = Vec::new();
    for command in commands {
        let secrets = match command.get_name() {
            "gifticon" => checked::<OnKafka<gifticon::GifticonConfig>>(&command),
            "cart" => checked::<OnKafka<cart::CartConfig>>(&command),
            "payment" => checked::<OnKafka<payment::PaymentConfig>>(&command),
            "mypage" => checked::<OnKafka<mypage::MypageConfig>>(&command),
            "gateway" => checked::<gateway::GatewayConfig>(&command),
            "standalone" => checked::<standalone::StandaloneConfig>(&command),
            name => panic!("add {name} here"),
        };
        let name = command.get_name().to_owned();
        let kafka = [
            "KAFKA_SASL_PASSWORD",
            "KAFKA_SSL_KEY_PASSWORD",
            "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
        ];
        let sign_in = ["OIDC_CLIENT_SECRET", "SESSION_SECRET"];
        let expected = match &*name {
            "gateway" => [&["OTEL_EXPORTER_OTLP_HEADERS"][..], &sign_in].concat(),
            "standalone" => [&["OTEL_EXPORTER_OTLP_HEADERS"][..], &kafka, &sign_in].concat(),
            _ => [&["OTEL_EXPORTER_OTLP_HEADERS", "DATABASE_URL"][..], &kafka].concat(),
        };
        for secret in expected {
            assert!(secrets.contains(secret), "{secret} of {name} was not looked at");
        }
        names.push(name);
    }
    assert_eq!(names.len(), processes().len() + 1);
}

/// Runs `standalone` on free ports until it ends. Its output must not contain [`SECRET`].
fn run(dir: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
    command.env_clear().env("RUST_LOG", "debug").args(arguments);
    for process in processes().into_iter().chain(["management"]) {
        command.env(format!("{}_ADDR", process.to_uppercase()), "127.0.0.1:0");
    }
    if !variables.iter().any(|(name, _)| name.starts_with("DATA_DIR")) {
        command.env("DATA_DIR", dir);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(!text.contains(SECRET), "a secret is shown: {text}");
    output
}

#[test]
fn a_secret_that_cannot_be_used_is_refused_in_a_line_that_does_not_show_it() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let secret = secret.to_str().unwrap();
    let missing = dir.path().join("missing");
    for (variables, named) in [
        (&[("OTEL_EXPORTER_OTLP_HEADERS", SECRET)][..], "OTEL_EXPORTER_OTLP_HEADERS: "),
        (&[("OTEL_EXPORTER_OTLP_HEADERS_FILE", secret)], "OTEL_EXPORTER_OTLP_HEADERS: "),
        // It needs a protocol, so it was read.
        (
            &[("KAFKA_SASL_PASSWORD_FILE", secret), ("KAFKA_BROKERS", "127.0.0.1:1")],
            "KAFKA_SASL_PASSWORD cannot",
        ),
        (&[("KAFKA_BROKERS_FILE", secret)], "KAFKA_BROKERS: "),
        (&[("LOG_FORMAT_FILE", secret)], "LOG_FORMAT: "),
        (
            &[("KAFKA_SASL_PASSWORD_FILE", secret), ("KAFKA_SASL_PASSWORD", SECRET)],
            "KAFKA_SASL_PASSWORD_FILE cannot",
        ),
        (
            &[("KAFKA_SASL_PASSWORD_FILE", missing.to_str().unwrap())],
            "KAFKA_SASL_PASSWORD_FILE cannot",
        ),
        (&[("DATA_DIR_FILE", secret)], "DATA_DIR_FILE cannot"),
        (&[("TLS_KEY_FILE", secret)], "TLS_KEY_FILE cannot"),
        (&[("TLS_KEY", secret)], "TLS_CERTIFICATE cannot"),
        (&[("TLS_KEY", secret), ("TLS_CERTIFICATE", secret)], "TLS_CERTIFICATE cannot"),
        (&[("GIFTICON_TIMEOUT_MS_FILE", secret)], "GIFTICON_TIMEOUT_MS: "),
    ] {
        let output = run(dir.path(), variables, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variables:?}: {stderr}");
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains(named)).collect();
        assert_eq!(lines.len(), 1, "{variables:?}: {stderr}");
    }
}

#[test]
fn help_needs_no_file_and_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let variables = [
        ("KAFKA_SASL_PASSWORD", SECRET),
        ("OTEL_EXPORTER_OTLP_HEADERS", SECRET),
        ("KAFKA_BROKERS_FILE", "/no/such/file"),
    ];
    let output = run(dir.path(), &variables, &["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("_FILE") && text.contains("--kafka-sasl-password"), "{text}");
}
