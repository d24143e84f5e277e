//! Traces: a W3C `traceparent` that is passed on over HTTP, outbox and bus. `base/span` records the spans of a trace.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use data_encoding::HEXLOWER;
use opentelemetry::trace::{SpanId, TraceFlags, TraceId};
use std::fmt;
use std::ops::Range;
use uuid::Uuid;

/// The W3C header that carries the trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A `traceparent`: names the request that a piece of work goes back to, across services and events. It displays as the value
/// of the header, of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    // Bytes: as numbers they would take twice the room in an `Option`.
    id: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// The places of the parts in the text.
const ID: Range<usize> = 3..35;
const SPAN: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..55;

impl Trace {
    /// Returns a new trace.
    pub(crate) fn start() -> Self {
        Self::random(TraceFlags::SAMPLED)
    }

    /// Returns a new trace of which nobody records anything: for a call that many purchases share.
    pub fn unsampled() -> Self {
        Self::random(TraceFlags::NOT_SAMPLED)
    }

    fn random(flags: TraceFlags) -> Self {
        let (id, (span, _)) = (Uuid::new_v4().into_bytes(), Uuid::new_v4().as_u64_pair());
        Self { id, span: span.to_be_bytes(), flags: flags.to_u8() }
    }

    /// Returns the trace `id`, in which `span` is the parent of what follows.
    pub(super) fn of_parts(id: TraceId, span: SpanId, flags: TraceFlags) -> Self {
        Self { id: id.to_bytes(), span: span.to_bytes(), flags: flags.to_u8() }
    }

    /// Returns the trace in `headers`, if there is one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(Self::parse)
    }

    /// Parses a `traceparent` of version 00.
    pub fn parse(text: &str) -> Option<Self> {
        let text: &[u8; 55] = text.as_bytes().try_into().ok()?;
        if !text.starts_with(b"00-") || (text[ID.end], text[SPAN.end]) != (b'-', b'-') {
            return None;
        }
        let (mut id, mut span, mut flags) = ([0; 16], [0; 8], [0]);
        HEXLOWER.decode_mut(&text[ID], &mut id).ok()?;
        HEXLOWER.decode_mut(&text[SPAN], &mut span).ok()?;
        HEXLOWER.decode_mut(&text[FLAGS], &mut flags).ok()?;
        let is_valid = id != [0; 16] && span != [0; 8];
        is_valid.then_some(Self { id, span, flags: flags[0] })
    }

    /// Returns the trace id, the same in all of the trace. Its text is 32 hex digits.
    pub fn id(&self) -> TraceId {
        TraceId::from_bytes(self.id)
    }

    /// Returns the id of the span that this names. Its text is 16 hex digits.
    pub(super) fn span_id(&self) -> SpanId {
        SpanId::from_bytes(self.span)
    }

    /// Returns true if its spans are recorded. Who begins a trace decides, and the flags carry the decision.
    pub fn is_sampled(&self) -> bool {
        TraceFlags::new(self.flags).is_sampled()
    }

    /// Returns the value of the header.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text()).expect("a traceparent is a legal header")
    }

    fn text(&self) -> [u8; 55] {
        let mut text = [b'-'; 55];
        let parts: [(_, &[u8]); 4] =
            [(0..2, &[0]), (ID, &self.id), (SPAN, &self.span), (FLAGS, &[self.flags])];
        for (place, part) in parts {
            HEXLOWER.encode_mut(part, &mut text[place]);
        }
        text
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("digits are UTF-8"))
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
        Some(trace) => CURRENT.sync_scope(*trace, work),
        None => work(),
    }
}

/// Returns the trace of the current task.
pub fn current() -> Option<Trace> {
    CURRENT.try_with(|trace| *trace).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_made_or_passed_on() {
        let made = Trace::start();
        assert_eq!(Trace::parse(&made.to_string()), Some(made));
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::parse(given).unwrap();
        assert_eq!(
            [trace.to_string(), trace.id().to_string(), trace.span_id().to_string()],
            [given, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"]
        );
        for (flags, is_sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            let trace = Trace::parse(&format!("{}{flags}", &given[..53])).unwrap();
            assert_eq!(trace.is_sampled(), is_sampled, "{flags}");
            assert_eq!(trace.to_string()[53..], *flags, "passed on as it came");
        }
        assert!(!Trace::unsampled().is_sampled());
        let zero = |part: &str| given.replace(part, &"0".repeat(part.len()));
        for wrong in [
            "",
            "00-0-0-01",
            &given[..50],
            &given.to_uppercase(),
            &given.replace('b', "g"),
            &given.replace("-01", "--1"),
            &given.replace("-01", "-+1"),
            &given.replace("00-", "01-"),
            &format!("{given}-"),
            &zero("0af7651916cd43dd8448eb211c80319c"),
            &zero("b7ad6b7169203331"),
        ] {
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
