//! The settings of traces: those of OpenTelemetry, by their own names. An empty one counts as unset, as its specification says.

use crate::base::config::base_url;
use crate::base::uri::unescaped;
use std::fmt;

/// How long the collector may take for a batch, unless it is told otherwise.
const EXPORT_TIMEOUT_MS: u64 = 10_000;

/// Where spans are sent, which, and under which name.
#[derive(Clone, Debug, clap::Args)]
pub struct Otel {
    /// Collector that gets the traces by OTLP/HTTP, as http://HOST:4318; unset records none
    #[arg(long, env, default_value = "", hide_default_value = true, value_parser = endpoint)]
    pub otel_exporter_otlp_endpoint: String,

    /// How traces are sent: http/protobuf, the only protocol here
    #[arg(long, env, default_value = "http/protobuf", value_parser = protocol)]
    pub otel_exporter_otlp_protocol: String,

    /// Headers for the collector, as NAME=VALUE,NAME=VALUE, with anything else than letters and digits escaped as in %20
    #[arg(long, env, default_value = "", hide_default_value = true, hide_env_values = true, value_parser = pairs)]
    pub otel_exporter_otlp_headers: Pairs,

    /// How long the collector may take for a batch of spans, in milliseconds; a batch that takes longer is dropped
    #[arg(long, env, default_value_t = EXPORT_TIMEOUT_MS, value_parser = timeout)]
    pub otel_exporter_otlp_timeout: u64,

    /// Name of the service in traces; by default its own. In standalone, the services are NAME-cart and so on
    #[arg(long, env, default_value = "", hide_default_value = true)]
    pub otel_service_name: String,

    /// What else traces say of the process, as deployment.environment.name=production,NAME=VALUE
    #[arg(long, env, default_value = "", hide_default_value = true, value_parser = pairs)]
    pub otel_resource_attributes: Pairs,

    /// Which traces that begin here are recorded; those that began elsewhere are if they are there
    #[arg(long, env, default_value = "parentbased_always_on", value_parser = sampler)]
    pub otel_traces_sampler: TraceSampler,

    /// Share of the traces that the samplers with a ratio record, as 0.1
    #[arg(long, env, default_value = "1", value_parser = ratio)]
    pub otel_traces_sampler_arg: f64,
}

/// Which traces that begin in a process are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceSampler {
    On,
    Off,
    /// A share of them.
    Ratio,
}

/// Parses a name of OpenTelemetry. Each of our processes follows the decision of whoever began a trace, also where it is told
/// not to by a name without `parentbased_`: half of a trace is of no use.
fn sampler(text: &str) -> Result<TraceSampler, String> {
    match text.strip_prefix("parentbased_").unwrap_or(text) {
        "" | "always_on" => Ok(TraceSampler::On),
        "always_off" => Ok(TraceSampler::Off),
        "traceidratio" => Ok(TraceSampler::Ratio),
        _ => Err("it is parentbased_always_on, parentbased_traceidratio or parentbased_always_off"
            .into()),
    }
}

/// Checks the protocol.
fn protocol(text: &str) -> Result<String, String> {
    match text {
        "" | "http/protobuf" => Ok(text.to_owned()),
        _ => Err("http/protobuf is the only one".into()),
    }
}

/// Parses a time in milliseconds.
fn timeout(text: &str) -> Result<u64, String> {
    let time = if text.is_empty() { Ok(EXPORT_TIMEOUT_MS) } else { text.parse() };
    time.ok().filter(|time| (1..=60_000).contains(time)).ok_or("it is between 1 and 60000".into())
}

/// Names with their values. Its `Debug` hides the values, of which one may be a token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, String)>);

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { base_url(text) }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = if text.is_empty() { Ok(1.0) } else { text.parse() };
    ratio.ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or("it is between 0 and 1".into())
}

/// Parses `NAME=VALUE,NAME=VALUE`, in which values are escaped as in a URL.
fn pairs(text: &str) -> Result<Pairs, String> {
    let malformed = || "it looks like NAME=VALUE,NAME=VALUE, with escapes as in %20".to_owned();
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').ok_or_else(malformed)?;
        let name = name.trim();
        let legal = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        let visible = |value: &String| legal && !value.contains(char::is_control);
        let value = unescaped(value.trim()).filter(visible).ok_or_else(malformed)?;
        Ok((name.to_owned(), value))
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    Ok(Pairs(parts.map(pair).collect::<Result<_, String>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_escaped_and_their_values_hidden() {
        let headers = pairs("authorization=Basic%20YTpi, x-a=1=2, b=1+1%2b,").unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            headers.0,
            [pair("authorization", "Basic YTpi"), pair("x-a", "1=2"), pair("b", "1+1+")]
        );
        assert_eq!(format!("{headers:?}"), r#"["authorization", "x-a", "b"]"#);
        assert_eq!(pairs(""), Ok(Pairs::default()));
        for wrong in ["a", "=b", "a=%2", "a=%zz", "a=%+f", "a=%ff", "a=%0a", "a b=c"] {
            assert!(pairs(wrong).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn an_empty_setting_is_unset_and_a_collector_is_reached_without_tls() {
        assert_eq!((ratio(""), ratio("0.1"), ratio("0")), (Ok(1.0), Ok(0.1), Ok(0.0)));
        for wrong in ["-0.1", "1.1", "10%", "NaN"] {
            assert!(ratio(wrong).is_err(), "{wrong} was taken");
        }
        assert_eq!((timeout(""), timeout("5")), (Ok(10_000), Ok(5)));
        assert!(timeout("0").is_err() && timeout("x").is_err() && protocol("grpc").is_err());
        assert_eq!(sampler(""), Ok(TraceSampler::On));
        assert_eq!(sampler("parentbased_traceidratio"), sampler("traceidratio"));
        assert!(sampler("xray").is_err());
        assert_eq!(endpoint(""), Ok(String::new()));
        assert_eq!(endpoint("http://collector:4318/"), Ok("http://collector:4318".into()));
        assert!(endpoint("https://collector:4318").is_err());
    }
}
