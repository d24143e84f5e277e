//! Logs, and the trace that a request or an event belongs to.

use crate::config::LogFormat;
use crate::service::Unusable;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};
use uuid::Uuid;

/// The W3C header that carries the trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What is logged where `RUST_LOG` says nothing. librdkafka logs four lines a second while a broker
/// is away; the bus says it once instead.
const USUAL: &str = "info,librdkafka=off,rdkafka=off";

/// Starts logging to standard error. Keep the guard: it writes what is left when it is dropped.
pub fn start(format: LogFormat) -> Result<WorkerGuard, Unusable> {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    #[expect(clippy::disallowed_methods, reason = "the variable of tracing, by its own name")]
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| USUAL.to_owned());
    let filter = EnvFilter::try_new(wanted).map_err(|error| Unusable {
        setting: EnvFilter::DEFAULT_ENV,
        why: format!("{error}; it looks like info or warn,chassis=debug"),
    })?;
    let layer = fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Only a test that starts several processes' worth of services in one can be second here.
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
    Ok(guard)
}

/// A `traceparent`: which story a piece of work belongs to, across services and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace(Arc<str>);

impl Trace {
    /// A story that begins here.
    fn begun() -> Self {
        let (trace, span) = (Uuid::new_v4().simple(), Uuid::new_v4().simple().to_string());
        Self(format!("00-{trace}-{}-01", &span[..16]).into())
    }

    /// The story that `headers` go on with, or a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let header = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        header.and_then(Self::parse).unwrap_or_else(Self::begun)
    }

    /// Reads a `traceparent` of version 00.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |part: &str, length| {
            part.len() == length
                && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                && (length == 2 || part.bytes().any(|byte| byte != b'0'))
        };
        let parts: Vec<&str> = text.split('-').collect();
        let legal = matches!(parts[..], ["00", trace, span, flags]
            if hex(trace, 32) && hex(span, 16) && hex(flags, 2));
        legal.then(|| Self(text.into()))
    }

    /// The whole header.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 digits that all of the story share.
    pub(crate) fn id(&self) -> &str {
        &self.0[3..35]
    }

    /// The value of the header.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a traceparent is a legal header")
    }
}

tokio::task_local! {
    static CURRENT: Trace;
}

/// Runs `work` as part of the story of `trace`. A spawned task must be put in again.
pub async fn with<T>(trace: Trace, work: impl Future<Output = T>) -> T {
    CURRENT.scope(trace, work).await
}

/// Runs `work` as part of the story of `trace`, if there is one.
pub(crate) fn with_sync<T>(trace: Option<&Trace>, work: impl FnOnce() -> T) -> T {
    match trace {
        Some(trace) => CURRENT.sync_scope(trace.clone(), work),
        None => work(),
    }
}

/// The story that the running task belongs to.
pub fn current() -> Option<Trace> {
    CURRENT.try_with(Clone::clone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_made_or_passed_on() {
        let made = Trace::begun();
        assert_eq!(Trace::parse(made.as_str()), Some(made));
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(Trace::parse(given).unwrap().as_str(), given);
        for wrong in
            ["", "00-0-0-01", &given[..50], &given.to_uppercase(), &given.replace('b', "g")]
        {
            assert_eq!(Trace::parse(wrong), None, "{wrong} was taken");
        }
    }
}
