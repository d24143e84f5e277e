//! Settings: flags with an environment variable of the same name.

mod auth;
mod invalid;
mod kafka;
mod otel;
mod postgres;
mod rate_limit;
mod secret;
mod streams;
mod tls;

pub use auth::{Auth, AuthAlgorithm, Customers, DEV_ISSUER, Guests, ServiceToken, SharedSecrets};
pub use invalid::InvalidSetting;
pub(crate) use kafka::TokenRequest;
pub use kafka::{Identification, KafkaOauth, KafkaSecurity, Mechanism, Protocol};
pub use otel::{Otel, Pairs, TraceSampler};
pub use rate_limit::RateLimit;
pub(crate) use secret::ClientSetting;
pub use secret::Secret;
pub use streams::{ClientStreams, StreamsLimit};
pub use tls::TlsFiles;
pub(crate) use tls::{TLS_CERTIFICATE, TLS_KEY};

use crate::base::uri::{has_port, is_host};
use std::{fmt, net::SocketAddr, path::Path, str::FromStr, time::Duration};

/// The settings of every service.
#[derive(Clone, Debug, clap::Args)]
pub struct Host {
    #[command(flatten)]
    pub listen: Listen,

    /// Database of this service, as sqlite:PATH (created if missing) or postgres://USER:PASSWORD@HOST/NAME
    #[arg(long, env, hide_env_values = true)]
    pub database_url: DatabaseUrl,

    #[command(flatten)]
    pub auth: Auth,

    #[command(flatten)]
    pub service_token: ServiceToken,

    #[command(flatten)]
    pub rate_limit: RateLimit,
}

impl Host {
    /// Returns the settings of a service in open mode.
    pub fn new(listen: Listen, database_url: DatabaseUrl) -> Self {
        let (auth, service_token) = (Auth::open(), ServiceToken::default());
        Self { listen, database_url, auth, service_token, rate_limit: RateLimit::default() }
    }
}

/// The addresses that a process listens at.
#[derive(Clone, Debug, clap::Args)]
pub struct Listen {
    /// Address to serve HTTP on, as IP:PORT; port 0 takes any free one
    #[arg(long, env, default_value = "127.0.0.1:8080")]
    pub listen_addr: SocketAddr,

    // None only within `standalone`, which serves the management routes of all services at one address.
    /// Address of /metrics, /admin and /actuator for operators, as IP:PORT; port 0 takes any free one
    #[arg(long, env, default_value = "127.0.0.1:9080")]
    pub management_addr: Option<SocketAddr>,
}

impl Listen {
    /// Returns free ports on the loopback address.
    pub fn free() -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { listen_addr: free, management_addr: Some(free) }
    }
}

/// The settings of every process.
#[derive(Clone, Debug, clap::Args)]
pub struct Process {
    /// How long a drain may take after SIGTERM, as 20s, 1500ms or whole seconds
    #[arg(long, env, default_value = "20s", value_parser = duration)]
    pub shutdown_grace: Duration,

    /// How log lines look; RUST_LOG filters them
    #[arg(long, env, default_value = "text")]
    pub log_format: LogFormat,

    #[command(flatten)]
    pub otel: Otel,

    /// Ask the process that runs with these settings whether it is ready, and exit with 0 if so, else 1
    #[arg(long)]
    pub healthy: bool,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The broker and the topic.
#[derive(Clone, Debug, clap::Args)]
pub struct Kafka {
    /// Bootstrap servers of Kafka, as HOST:PORT,HOST:PORT
    #[arg(long, env, value_parser = brokers)]
    pub kafka_brokers: String,

    #[command(flatten)]
    pub topic: Topic,

    #[command(flatten)]
    pub security: KafkaSecurity,
}

/// The topic.
#[derive(Clone, Debug, clap::Args)]
pub struct Topic {
    /// Topic of the shop's events; created with 6 partitions if missing
    #[arg(long, env, default_value = "gifticon", value_parser = topic)]
    pub kafka_topic: String,
}

/// A database: `sqlite:PATH` or `postgres://...`. Its `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Returns the URL with its password.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path of a SQLite file as it is written, and `None` for Postgres.
    pub fn sqlite_path(&self) -> Option<&Path> {
        let path = self.0.strip_prefix("sqlite://").or_else(|| self.0.strip_prefix("sqlite:"))?;
        Some(Path::new(path))
    }

    /// Returns the URL of the SQLite file `path`. Fails if the path is not UTF-8.
    pub fn of_file(path: &Path) -> Result<Self, String> {
        let text =
            path.to_str().ok_or_else(|| format!("{}: the path has to be UTF-8", path.display()))?;
        format!("sqlite://{text}").parse() // a path may begin with two slashes itself
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let url = Self(url.to_owned());
        let postgres = ["postgres://", "postgresql://"].iter().any(|p| url.0.starts_with(p));
        match url.sqlite_path().and_then(Path::to_str) {
            Some("" | ":memory:") => Err("sqlite: needs the path of a file".into()),
            Some(path) if ["rwc", "rw", "ro", "memory"].iter().any(|mode| path.ends_with(&format!("?mode={mode}"))) => {
                Err("the path is taken as it is written: leave ?mode= out; a missing file is made".into())
            }
            Some(_) => Ok(url),
            None if postgres => postgres::check_parameters(&url.0).and_then(|()| {
                url.0.parse::<sqlx::postgres::PgConnectOptions>().map(|_| url).map_err(|error| {
                    format!("{error}; it looks like postgres://USER:PASSWORD@HOST/NAME, with what is no letter or digit in USER and PASSWORD escaped as in %2F")
                })
            }),
            None => Err("it looks like sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME".into()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sqlite_path() {
            Some(path) => write!(f, "sqlite:{}", path.display()),
            None => f.write_str("postgres://…"),
        }
    }
}

/// Parses `20s`, `1500ms` or `20`, up to an hour.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| "it looks like 20s, 1500ms or 20".to_owned())?;
    let duration = match unit {
        "" | "s" => Duration::from_secs(number),
        "ms" => Duration::from_millis(number),
        _ => return Err("it looks like 20s, 1500ms or 20".into()),
    };
    if duration > Duration::from_hours(1) {
        return Err("an hour is the most".into());
    }
    Ok(duration)
}

/// Checks a list such as `HOST:PORT,HOST:PORT`, and returns it unchanged.
pub fn brokers(text: &str) -> Result<String, String> {
    let is_broker = |broker: &str| is_host(broker) && !broker.ends_with(':') && has_port(broker);
    if text.split(',').all(|broker| is_broker(broker.trim())) {
        Ok(text.to_owned())
    } else {
        Err("it looks like HOST:PORT,HOST:PORT, without a scheme and without blanks within".into())
    }
}

/// Checks a topic's name by Kafka's own rule, and returns it unchanged.
fn topic(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=249).contains(&text.len()) && text.bytes().all(legal) && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err("it has 1 to 249 letters, digits, dots, dashes or underscores".into())
    }
}

/// True unless `authority` has a port that is not a number from 1 to 65535.
fn has_usable_port(authority: &axum::http::uri::Authority) -> bool {
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    host == authority.host() || authority.port_u16().is_some_and(|port| port > 0)
}

/// Checks a base URL such as `http://127.0.0.1:8081`, and returns it without a trailing slash.
pub fn base_url(text: &str) -> Result<String, String> {
    let malformed = || "it looks like http://HOST:PORT".to_owned();
    let uri: axum::http::Uri = text.parse().map_err(|_| malformed())?;
    if uri.scheme_str() != Some("http")
        || uri.host().is_none_or(str::is_empty)
        || uri.query().is_some()
        || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) // it is logged
        || uri.authority().is_some_and(|authority| !has_usable_port(authority))
    {
        return Err(malformed());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::SHUTDOWN_GRACE;
    use clap::{Args, FromArgMatches};

    #[test]
    fn a_drain_takes_by_default_what_the_limits_say() {
        let command = Process::augment_args(clap::Command::new("x"));
        let process = Process::from_arg_matches(&command.get_matches_from(["x"])).unwrap();
        assert_eq!(process.shutdown_grace, SHUTDOWN_GRACE);
    }

    #[test]
    fn a_database_is_sqlite_or_postgres_and_its_password_is_not_shown() {
        let url: DatabaseUrl = "sqlite:a%20b?c/%2e%2e/#cart.db".parse().unwrap();
        assert_eq!(url.sqlite_path(), Some(Path::new("a%20b?c/%2e%2e/#cart.db")));
        for path in ["//a/b.db", "a.db", "../a.db"].map(Path::new) {
            assert_eq!(DatabaseUrl::of_file(path).unwrap().sqlite_path(), Some(path));
        }
        let url: DatabaseUrl = "postgres://cart:secret@db/cart".parse().unwrap();
        assert!(!format!("{url:?}").contains("secret"));
        for wrong in [
            "",
            "mysql://x",
            "sqlite:",
            "sqlite::memory:",
            "cart.db",
            "postgres://[",
            "sqlite:cart.db?mode=rwc",
            "postgres://db/cart?pasword=x",
            "postgres://db/cart?sslmode=verify-full&sslrootcert=/no/such/ca.pem",
            "postgres://db/cart?sslkey=%2F",
        ] {
            assert!(wrong.parse::<DatabaseUrl>().is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn durations_are_seconds_or_milliseconds() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "s", "-1s", "1.5s", "1h", "20 s", "3601s", "99999999999999999999"] {
            assert!(duration(wrong).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn brokers_topics_and_base_urls_are_checked() {
        assert!(brokers("127.0.0.1:9092, kafka:9092,[::1]:9092").is_ok());
        for wrong in [
            "",
            "kafka",
            "kafka:",
            ":9092",
            "kafka:90922",
            "kafka:0",
            "a:1,,b:2",
            "kafka://a:1",
            "a b:1",
            "::1:9092",
            "[::1]",
        ] {
            assert!(brokers(wrong).is_err(), "{wrong} was taken");
        }
        assert!(topic("gifticon").is_ok());
        for wrong in ["", ".", "a b", "기프티콘"] {
            assert!(topic(wrong).is_err(), "{wrong} was taken");
        }
        assert_eq!(base_url("http://gifticon:8080/"), Ok("http://gifticon:8080".into()));
        for wrong in [
            "",
            "gifticon:8080",
            "https://x",
            "http://",
            "http://x?y",
            "http://x:99999",
            "http://x:",
            "http://x:0",
            "http://user:password@x",
        ] {
            assert!(base_url(wrong).is_err(), "{wrong} was taken");
        }
    }
}
