//! Traces: a W3C `traceparent` that is passed on over HTTP, outbox and bus. `base/span` records the spans of a trace.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use uuid::Uuid;

/// The W3C header that carries the trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A `traceparent`: names the request that a piece of work goes back to, across services and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace(Arc<str>);

impl Trace {
    /// Returns a new trace.
    pub(crate) fn start() -> Self {
        Self::random("01")
    }

    /// Returns a new trace of which nobody records anything: for a call that many purchases share.
    pub fn unsampled() -> Self {
        Self::random("00")
    }

    fn random(flags: &str) -> Self {
        let (trace, span) = (Uuid::new_v4().simple(), Uuid::new_v4().simple().to_string());
        Self(format!("00-{trace}-{}-{flags}", &span[..16]).into())
    }

    /// Returns the trace whose whole `traceparent` this is.
    pub(super) fn of_parts(traceparent: std::fmt::Arguments<'_>) -> Self {
        Self(traceparent.to_string().into())
    }

    /// Returns the trace in `headers`, if there is one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(Self::parse)
    }

    /// Parses a `traceparent` of version 00.
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

    /// Returns the whole `traceparent`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the trace id: 32 hex digits, the same in all of the trace.
    pub fn id(&self) -> &str {
        &self.0[3..35]
    }

    /// Returns the id of the span that this names: 16 hex digits.
    pub(crate) fn span_id(&self) -> &str {
        &self.0[36..52]
    }

    /// Returns true if its spans are recorded. Who begins a trace decides, and the flags carry the decision.
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.0[53..55], 16).is_ok_and(|flags| flags & 1 == 1)
    }

    /// Returns the value of the header.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a traceparent is a legal header")
    }
}

tokio::task_local! {
    static CURRENT: Trace;
}

/// Runs `work` as part of `trace`. A task that it spawns does not inherit it.
///
/// As all that only wrap a future it is no `async fn`, which would hold it twice: where it was, and where it runs.
pub fn with<F: Future>(trace: Trace, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(trace, work)
}

/// Runs `work` as part of `trace`, if there is one.
pub(crate) fn with_sync<T>(trace: Option<&Trace>, work: impl FnOnce() -> T) -> T {
    match trace {
        Some(trace) => CURRENT.sync_scope(trace.clone(), work),
        None => work(),
    }
}

/// Returns the trace of the current task.
pub fn current() -> Option<Trace> {
    CURRENT.try_with(Clone::clone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_made_or_passed_on() {
        let made = Trace::start();
        assert_eq!(Trace::parse(made.as_str()), Some(made));
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::parse(given).unwrap();
        assert_eq!(
            (trace.as_str(), trace.id(), trace.span_id()),
            (given, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
        );
        for (flags, is_sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            let trace = Trace::parse(&format!("{}{flags}", &given[..53])).unwrap();
            assert_eq!(trace.is_sampled(), is_sampled, "{flags}");
        }
        assert!(!Trace::unsampled().is_sampled());
        for wrong in
            ["", "00-0-0-01", &given[..50], &given.to_uppercase(), &given.replace('b', "g")]
        {
            assert_eq!(Trace::parse(wrong), None, "{wrong} was taken");
        }
    }

    /// A request is copied into its wrappers, and the memory for them is written each time.
    #[test]
    fn work_as_part_of_a_trace_is_held_once() {
        let work = || async {
            let held = [1_u8; 1_024];
            std::future::ready(()).await;
            held
        };
        let alone = size_of_val(&work());
        assert!(size_of_val(&with(Trace::start(), work())) < alone * 3 / 2);
    }
}
