//! Spans: the parts of a trace, as OpenTelemetry has them.
//!
//! A service without a collector records none. It then hands the `traceparent` of a request on as it came, and each function
//! here returns at its first line. A trace that whoever began it did not sample costs nothing either.

use crate::base::export;
use crate::base::metrics::Metrics;
use crate::base::trace::Trace;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, Status, TraceContextExt, TraceFlags, TraceState, Tracer as _,
};
pub use opentelemetry::trace::{SpanBuilder, SpanKind};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Starts the spans of one service. The default one records nothing.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

struct Recorder {
    service: &'static str,
    tracer: SdkTracer,
}

impl Tracer {
    /// Returns the tracer of a service of this process, which exports its spans if [`export::begin`] was told a collector.
    pub fn of(service: &'static str, metrics: &Metrics) -> Self {
        let exported = export::tracer(service, metrics);
        Self(exported.map(|tracer| Arc::new(Recorder { service, tracer })))
    }

    /// Returns a tracer whose spans go to `processor`.
    #[cfg(test)]
    pub(crate) fn recording(
        service: &'static str,
        processor: impl opentelemetry_sdk::trace::SpanProcessor + 'static,
    ) -> Self {
        use opentelemetry::trace::TracerProvider as _;
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder();
        let provider = provider.with_span_processor(processor).build();
        Self(Some(Arc::new(Recorder { service, tracer: provider.tracer("chassis") })))
    }

    /// Returns true if traces may be recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Starts a span within `parent`. Returns `None` if it is not recorded: what follows then belongs to `parent` itself.
    pub fn child(
        &self,
        parent: Option<&Trace>,
        describe: impl FnOnce(&'static str) -> SpanBuilder,
    ) -> Option<Span> {
        let (recorder, parent) = (self.0.as_deref()?, parent?);
        if !parent.is_sampled() {
            return None;
        }
        let context = Context::new().with_remote_span_context(context_of(parent));
        let span = recorder.tracer.build_with_context(describe(recorder.service), &context);
        span.is_recording().then(|| Span::new(span))
    }

    /// Begins a trace. Returns it with its first span, which is `None` if the trace is not recorded.
    pub fn root(
        &self,
        describe: impl FnOnce(&'static str) -> SpanBuilder,
    ) -> (Trace, Option<Span>) {
        let Some(recorder) = self.0.as_deref() else { return (Trace::start(), None) };
        let span = recorder.tracer.build_with_context(describe(recorder.service), &Context::new());
        let trace = trace_of(span.span_context());
        (trace, span.is_recording().then(|| Span::new(span)))
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.0.as_ref().map(|recorder| recorder.service)).finish()
    }
}

/// A span that is recorded. It ends when it is dropped.
///
/// It is boxed, because most requests and orders have none, and a missing one should cost a word.
pub struct Span(Box<Recorded>);

struct Recorded {
    span: opentelemetry_sdk::trace::Span,
    trace: Trace,
    failure: OnceLock<Cow<'static, str>>,
}

impl Span {
    fn new(span: opentelemetry_sdk::trace::Span) -> Self {
        let trace = trace_of(span.span_context());
        Self(Box::new(Recorded { span, trace, failure: OnceLock::new() }))
    }

    /// Returns the trace as this span hands it on: its children name this span as their parent.
    pub fn trace(&self) -> Trace {
        self.0.trace
    }

    /// Sets an attribute. Never a personal one: no owner, no phone number, no code, no amount.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.span.set_attribute(KeyValue::new(name, value));
    }

    /// Marks what it stands for as failed, and says why. The first reason stays.
    pub fn fail(&self, why: impl Into<Cow<'static, str>>) {
        let _ = self.0.failure.set(why.into());
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&format_args!("{}", self.0.trace)).finish()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(why) = self.0.failure.take() {
            self.0.span.set_status(Status::error(why));
        }
    }
}

/// Returns the trace that a span hands on, or `parent` if there is no span.
pub fn trace_within(span: Option<&Span>, parent: Option<Trace>) -> Option<Trace> {
    span.map(Span::trace).or(parent)
}

/// Returns the description of a span.
pub fn describe<const N: usize>(
    kind: SpanKind,
    name: impl Into<Cow<'static, str>>,
    attributes: [(&'static str, Value); N],
) -> SpanBuilder {
    let attributes = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
    SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes)
}

/// Returns a link to another trace.
pub fn link(trace: &Trace) -> Link {
    Link::with_context(context_of(trace))
}

/// Returns a trace as OpenTelemetry has it.
fn context_of(trace: &Trace) -> SpanContext {
    let flags = TraceFlags::default().with_sampled(trace.is_sampled());
    SpanContext::new(trace.id(), trace.span_id(), flags, true, TraceState::NONE)
}

fn trace_of(context: &SpanContext) -> Trace {
    Trace::of_parts(context.trace_id(), context.span_id(), context.trace_flags())
}
