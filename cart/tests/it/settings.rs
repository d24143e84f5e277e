//! What the process says about settings that it cannot use, and that it needs no broker to run.

use chassis::testing::eventually;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

fn cart(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cart"));
    command.env_clear().envs(settings.iter().copied());
    command
}

/// The exit status and what was said on standard error, which is one line.
fn refusal(settings: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let output = cart(settings).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    (output.status.code(), said)
}

#[test]
fn a_setting_that_cannot_be_used_is_named_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", dir.path().join("cart.db").display());
    let good = [
        ("KAFKA_BROKERS", "127.0.0.1:9092"),
        ("DATABASE_URL", &database),
        ("GIFTICON_URL", "http://127.0.0.1:8081"),
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("MANAGEMENT_ADDR", "127.0.0.1:0"),
    ];
    for missing in ["KAFKA_BROKERS", "DATABASE_URL", "GIFTICON_URL"] {
        let settings: Vec<_> = good.into_iter().filter(|(name, _)| *name != missing).collect();
        let (status, said) = refusal(&settings, &[]);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains(missing), "{missing} is missing: {said}");
    }
    for (wrong, value) in [
        ("KAFKA_BROKERS", ""),
        ("KAFKA_BROKERS", "kafka"),
        ("KAFKA_BROKERS", "kafka://a:1"),
        ("KAFKA_BROKERS", "a b:1"),
        ("DATABASE_URL", "postgres://db/x?sslmode=require&sslrootcert=/no/such/ca.pem"),
        ("KAFKA_TOPIC", "a topic"),
        ("KAFKA_SECURITY_PROTOCOL", "tls"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("KAFKA_SASL_USERNAME", "cart"),
        ("KAFKA_SASL_PASSWORD", "secret"),
        ("KAFKA_SASL_PASSWORD", ""),
        ("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "idp.example.com/token"),
        ("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "https://idp.example.com/token"),
        ("KAFKA_SASL_OAUTHBEARER_CLIENT_ID", "cart"),
        ("KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", "secret"),
        ("KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", ""),
        ("KAFKA_SASL_OAUTHBEARER_SCOPE", "kafka"),
        ("KAFKA_SSL_KEY_PASSWORD", "secret"),
        ("KAFKA_SSL_CA_LOCATION", "/no/such/ca.pem"),
        ("DATABASE_URL", "mysql://x"),
        ("DATABASE_URL", "sqlite:/proc/no/such/place.db"),
        ("GIFTICON_URL", "gifticon"),
        ("GIFTICON_TIMEOUT_MS", "0"),
        ("GIFTICON_TIMEOUT_MS", "soon"),
        ("LISTEN_ADDR", "localhost"),
        ("LISTEN_ADDR", "192.0.2.1:80"),
        ("MANAGEMENT_ADDR", "9082"),
        ("MANAGEMENT_ADDR", "192.0.2.1:80"),
        ("SHUTDOWN_GRACE", "a while"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "cart=loud"),
    ] {
        let settings: Vec<_> =
            good.into_iter().chain([("RUST_LOG", "off"), (wrong, value)]).collect();
        let (status, said) = refusal(&settings, &[]);
        assert_eq!(status, Some(2), "{wrong}={value}: {said}");
        assert!(said.contains(wrong), "{wrong}={value}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let (status, said) = refusal(&good, &["--gifticon-utl=http://x"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("--gifticon-utl"), "{said}");
}

#[test]
fn a_secret_is_not_shown_with_the_setting_that_it_is_in() {
    let good = [
        ("KAFKA_BROKERS", "127.0.0.1:9092"),
        ("DATABASE_URL", "sqlite:/proc/no/such/place.db"),
        ("GIFTICON_URL", "http://127.0.0.1:8081"),
        ("RUST_LOG", "off"),
    ];
    for (setting, value) in [
        ("DATABASE_URL", "postgres://shop:s3c/ret@db/x"),
        ("DATABASE_URL", "postgres://shop:s3c?ret@db/x"),
        ("DATABASE_URL", "postgres://shop:s3c#ret@db/x"),
        ("DATABASE_URL", "postgres://shop:s3c:ret@db:port/x"),
        ("DATABASE_URL", "postgres://shop@db/x?pasword=s3cret"),
        ("DATABASE_URL", "mysql://shop:s3cret@db/x"),
        ("GIFTICON_URL", "ftp://shop:s3c@ret@db/x"),
        ("KAFKA_BROKERS", "sasl://shop:s3cret@kafka"),
        ("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "https://shop:s3cret@idp/token"),
    ] {
        let settings: Vec<_> = good.into_iter().chain([(setting, value)]).collect();
        let (status, said) = refusal(&settings, &[]);
        assert_eq!(status, Some(2), "{setting}={value}: {said}");
        assert!(said.contains(setting), "{setting}={value}: {said}");
        assert!(!said.contains("s3c") && !said.contains("ret"), "{setting}={value}: {said}");
    }
    let (_, said) = refusal(&good, &["postgres://shop:s3c/ret@db/x"]);
    assert!(!said.contains("s3c"), "{said}");
}

/// The cause of an outage, once, and not for each request or try: those are for DEBUG.
#[test]
fn a_database_with_nobody_on_its_port_is_logged_once_with_the_cause() {
    let mut child = cart(&[
        ("KAFKA_BROKERS", "127.0.0.1:1"),
        ("DATABASE_URL", "postgres://cart:s3cret@127.0.0.1:1/cart"),
        ("GIFTICON_URL", "http://127.0.0.1:1"),
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("RUST_LOG", "warn,chassis::base::outage=debug,librdkafka=off,rdkafka=off"),
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (writes, errors) = (Arc::clone(&log), BufReader::new(child.stderr.take().unwrap()));
    let reader = thread::spawn(move || {
        errors.lines().map_while(Result::ok).for_each(|line| writes.lock().unwrap().push(line));
    });
    let lines = |level: &str, text: &str| {
        let log = log.lock().unwrap();
        log.iter().filter(|line| line.contains(level) && line.contains(text)).count()
    };
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let base = line.strip_prefix("cart listens on ").unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tries = "attempts to use postgres 127.0.0.1:1/cart";
    runtime.block_on(async {
        let client = chassis::http::client::new().unwrap();
        for _ in 0..100 {
            let answer = client.get(format!("{base}/carts")).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 503);
        }
        eventually("two tries more", async || (lines("DEBUG", tries) >= 2).then_some(())).await;
    });
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    child.wait().unwrap();
    reader.join().unwrap();
    let all = log.lock().unwrap().join("\n");
    assert_eq!(lines("WARN", tries), 1, "{all}");
    assert!((1..=3).contains(&lines("WARN", "refused")), "once for each kind of work: {all}");
    assert_eq!(lines("", "timed out") + lines("", "s3cret"), 0, "{all}");
}

#[test]
fn help_names_every_setting() {
    let output = cart(&[]).arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for name in [
        "LISTEN_ADDR",
        "DATABASE_URL",
        "KAFKA_BROKERS",
        "KAFKA_TOPIC",
        "GIFTICON_URL",
        "GIFTICON_TIMEOUT_MS",
        "SHUTDOWN_GRACE",
        "LOG_FORMAT",
        "127.0.0.1:8082",
        "MANAGEMENT_ADDR",
        "127.0.0.1:9082",
    ] {
        assert!(help.contains(name), "{name} is not in {help}");
    }
}

#[test]
fn neither_broker_nor_database_need_be_there_to_start_and_to_stop() {
    let nobody = "127.0.0.1:1"; // nothing listens there
    for database in ["sqlite", "postgres://cart:secret@127.0.0.1:1/cart"] {
        let dir = tempfile::tempdir().unwrap();
        let file = format!("sqlite:{}", dir.path().join("cart.db").display());
        let sqlite = database == "sqlite";
        let mut child = cart(&[
            ("KAFKA_BROKERS", nobody),
            ("DATABASE_URL", if sqlite { &file } else { database }),
            ("GIFTICON_URL", "http://127.0.0.1:1"),
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("MANAGEMENT_ADDR", "127.0.0.1:0"),
            ("RUST_LOG", "off"),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let base = line.strip_prefix("cart listens on ").unwrap().to_owned();
        let status = |path: &str| {
            let url = format!("{base}{path}");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                chassis::http::client::new()
                    .unwrap()
                    .get(url)
                    .send()
                    .await
                    .unwrap()
                    .status()
                    .as_u16()
            })
        };
        assert_eq!(status("/actuator/health/liveness"), 200);
        assert_eq!(status("/actuator/health/readiness"), if sqlite { 200 } else { 503 });
        assert_eq!(status("/carts"), if sqlite { 200 } else { 503 });
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(child.wait().unwrap().success(), "it drains although its peers are away");
    }
}
