//! Exports spans by OTLP/HTTP: each service from a thread of its own, so that nothing of the shop waits for a collector.
//!
//! The processor and the exporter of OpenTelemetry do the same. But the one keeps to itself how many spans it dropped, and the
//! other encodes them late, which costs more.

mod collector;

use crate::base::config::{InvalidSetting, Otel, TraceSampler};
use crate::base::limits::TRACE_FLUSH_TIMEOUT;
use crate::base::metrics::Metrics;
use crate::base::outage::Outage;
use collector::{Collector, SpanBatch};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use prometheus_client::metrics::counter::Counter;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Spans that wait for the collector, beyond which more are dropped and counted: some 4 MB.
const SPANS_WAITING_MAX: usize = 8_192;
/// Spans in one request to the collector. So many are sent at once.
const SPAN_BATCH_SIZE: usize = 512;
/// How long fewer spans wait.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The exports of this process, if it has a collector.
static EXPORTS: OnceLock<Exports> = OnceLock::new();

struct Exports {
    process: &'static str,
    settings: Otel,
    /// One for each service.
    queues: Mutex<Vec<Arc<Queue>>>,
}

/// Has the services that start later in this process export their spans, if the settings name a collector.
///
/// # Errors
/// The headers for the collector cannot be sent.
pub fn begin(process: &'static str, settings: Otel) -> Result<(), InvalidSetting> {
    if settings.otel_exporter_otlp_endpoint.is_empty() {
        return Ok(());
    }
    Collector::new(&settings, &Resource::builder_empty().build())?;
    let _ = EXPORTS.set(Exports { process, settings, queues: Mutex::default() });
    Ok(())
}

/// Sends the spans that still wait, for [`TRACE_FLUSH_TIMEOUT`] at most.
pub async fn flush() {
    let Some(exports) = EXPORTS.get() else { return };
    let queues = exports.queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let until = Instant::now() + TRACE_FLUSH_TIMEOUT;
    let flush = move || {
        for queue in &queues {
            queue.flush(until);
        }
    };
    let _ = tokio::task::spawn_blocking(flush).await;
}

/// Starts the export of a service, and returns its tracer. `None` if this process has no collector.
pub(super) fn tracer(service: &'static str, metrics: &Metrics) -> Option<SdkTracer> {
    let exports = EXPORTS.get()?;
    let settings = &exports.settings;
    let resource = resource(service, exports.process, settings);
    let collector = Collector::new(settings, &resource).ok()?; // one like it was made at the start
    let queue = Arc::new(Queue {
        state: Mutex::default(),
        changed: Condvar::new(),
        exported: metrics.spans_exported.clone(),
        not_exported: metrics.spans_dropped("export_failed"),
        overflowed: metrics.spans_dropped("queue_full"),
    });
    let outage = Outage::new(format!("exports of the spans of {service}"));
    let work = Arc::clone(&queue);
    let started = thread::Builder::new().name("spans".to_owned());
    started.spawn(move || work.run(&collector, &outage)).expect("a thread can be started");
    exports.queues.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&queue));
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(sampler(settings))
        .with_span_processor(Processor(queue))
        .build();
    Some(provider.tracer("chassis"))
}

/// Returns what traces say of a service.
fn resource(service: &'static str, process: &'static str, settings: &Otel) -> Resource {
    const SERVICE_NAME: &str = "service.name";
    let attributes = &settings.otel_resource_attributes.0;
    let among = || attributes.iter().find(|(name, _)| name == SERVICE_NAME).map(|(_, name)| name);
    let set = Some(&settings.otel_service_name).filter(|name| !name.is_empty()).or_else(among);
    let name = match set {
        None => service.to_owned(),
        Some(name) if service == process => name.clone(),
        Some(name) => format!("{name}-{service}"),
    };
    let others = attributes.iter().filter(|(name, _)| name != SERVICE_NAME);
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
        ])
        .with_attributes(others.map(|(name, value)| KeyValue::new(name.clone(), value.clone())))
        .with_service_name(name)
        .build()
}

/// Returns what decides about the traces that begin here. All others are recorded if whoever began them records them.
fn sampler(settings: &Otel) -> Sampler {
    let root = match settings.otel_traces_sampler {
        TraceSampler::On => Sampler::AlwaysOn,
        TraceSampler::Off => Sampler::AlwaysOff,
        TraceSampler::Ratio => Sampler::TraceIdRatioBased(settings.otel_traces_sampler_arg),
    };
    Sampler::ParentBased(Box::new(root))
}

/// The spans of a service on their way to the collector.
struct Queue {
    state: Mutex<State>,
    /// Told when a batch is full, when someone waits for the end, and when a batch is done.
    changed: Condvar,
    exported: Counter,
    not_exported: Counter,
    overflowed: Counter,
}

#[derive(Default)]
struct State {
    /// Full batches, and the one that is being filled.
    full: VecDeque<SpanBatch>,
    filling: SpanBatch,
    /// True while a batch is with the collector.
    sending: bool,
    /// True while someone waits until all is sent.
    flushing: bool,
}

impl State {
    /// Returns how many spans wait.
    fn waiting(&self) -> usize {
        self.full.len() * SPAN_BATCH_SIZE + self.filling.count
    }

    fn is_done(&self) -> bool {
        self.waiting() == 0 && !self.sending
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a span, or drops it if too many wait.
    fn add(&self, span: SpanData) {
        let span = collector::to_proto(span);
        let mut state = self.state();
        if state.waiting() == SPANS_WAITING_MAX {
            drop(state);
            self.overflowed.inc();
            return;
        }
        state.filling.push(&span);
        // The thread is woken once a batch: waking it for each span would be a call of the kernel each.
        if state.filling.count == SPAN_BATCH_SIZE {
            let batch = std::mem::take(&mut state.filling);
            state.full.push_back(batch);
            self.changed.notify_all();
        }
    }

    /// Waits until all spans are sent, or `until`. Returns whether they are.
    fn flush(&self, until: Instant) -> bool {
        let mut state = self.state();
        state.flushing = true;
        self.changed.notify_all();
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(state, left, |state| !state.is_done());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.flushing = false;
        self.changed.notify_all();
        state.is_done()
    }

    /// Sends spans, for ever.
    fn run(&self, collector: &Collector, outage: &Outage) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime for the collector can be made");
        loop {
            let batch = self.next_batch();
            match runtime.block_on(collector.send(&batch)) {
                Ok(()) => {
                    outage.works();
                    self.exported.inc_by(batch.count as u64);
                }
                Err(error) => {
                    outage.failed(&format!("{error:#}"));
                    self.not_exported.inc_by(batch.count as u64);
                }
            }
            self.done();
        }
    }

    /// Notes that the batch that was taken last is sent, or lost.
    fn done(&self) {
        self.state().sending = false;
        self.changed.notify_all();
    }

    /// Waits until there are spans to send, and takes them.
    fn next_batch(&self) -> SpanBatch {
        let mut state = self.state();
        loop {
            let too_few = |state: &mut State| state.full.is_empty() && !state.flushing;
            let waited = self.changed.wait_timeout_while(state, EXPORT_INTERVAL, too_few);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.waiting() > 0 {
                state.sending = true;
                let batch = state.full.pop_front();
                return batch.unwrap_or_else(|| std::mem::take(&mut state.filling));
            }
            if state.flushing {
                // Whoever flushes sees that nothing is left, and says so.
                let waited =
                    self.changed.wait_while(state, |state| state.flushing && state.waiting() == 0);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Hands the spans of the SDK to the queue.
struct Processor(Arc<Queue>);

impl SpanProcessor for Processor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.add(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.shutdown_with_timeout(TRACE_FLUSH_TIMEOUT)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        if self.0.flush(Instant::now() + timeout) {
            Ok(())
        } else {
            Err(OTelSdkError::Timeout(timeout))
        }
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Processor")
    }
}

#[cfg(test)]
mod tests;
