//! Exports spans by OTLP/HTTP: each service from a thread of its own, so that nothing of the shop waits for a collector.
//!
//! The processor of the SDK does the same, but keeps to itself how many spans it dropped.

use crate::base::config::{InvalidSetting, Otel, TraceSampler};
use crate::base::limits::TRACE_FLUSH_TIMEOUT;
use crate::base::metrics::Metrics;
use crate::base::outage::Outage;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use prometheus_client::metrics::counter::Counter;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Spans that wait for the collector, beyond which more are dropped and counted: some 5 MB.
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
/// A setting of OpenTelemetry that the exporter reads itself cannot be used.
pub fn begin(process: &'static str, settings: Otel) -> Result<(), InvalidSetting> {
    if settings.otel_exporter_otlp_endpoint.is_empty() {
        return Ok(());
    }
    exporter(&settings).map_err(|error| InvalidSetting {
        setting: "OTEL_EXPORTER_OTLP_ENDPOINT",
        why: format!("{error:#}"),
    })?;
    let _ = EXPORTS.set(Exports { process, settings, queues: Mutex::default() });
    Ok(())
}

/// Sends the spans that still wait, for [`TRACE_FLUSH_TIMEOUT`] at most.
pub async fn flush() {
    let Some(exports) = EXPORTS.get() else { return };
    let queues = exports.queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let until = Instant::now() + TRACE_FLUSH_TIMEOUT;
    let flush = move || {
        queues.iter().for_each(|queue| queue.hurry()); // all at once
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
    let mut exporter = exporter(settings).ok()?; // one like it was built at the start
    exporter.set_resource(&resource);
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
    started.spawn(move || work.run(&exporter, &outage)).expect("a thread can be started");
    exports.queues.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&queue));
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(sampler(settings))
        .with_span_processor(Processor(queue))
        .build();
    Some(provider.tracer("chassis"))
}

/// Returns an exporter. It opens a connection for each request: between two of them nothing would notice that the collector
/// has closed one.
fn exporter(settings: &Otel) -> anyhow::Result<SpanExporter> {
    let timeout = Duration::from_millis(settings.otel_exporter_otlp_timeout);
    let client = reqwest::Client::builder()
        .timeout(timeout)
        .pool_max_idle_per_host(0)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(format!("{}/v1/traces", settings.otel_exporter_otlp_endpoint))
        .with_headers(settings.otel_exporter_otlp_headers.0.iter().cloned().collect())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(timeout);
    Ok(exporter.build()?)
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
    waiting: Vec<SpanData>,
    /// True while a batch is with the collector.
    sending: bool,
    /// True while someone waits until all is sent.
    flushing: bool,
}

impl State {
    fn is_done(&self) -> bool {
        self.waiting.is_empty() && !self.sending
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a span, or drops it if too many wait.
    fn add(&self, span: SpanData) {
        let mut state = self.state();
        if state.waiting.len() == SPANS_WAITING_MAX {
            drop(state);
            self.overflowed.inc();
            return;
        }
        state.waiting.push(span);
        // The thread is woken once a batch: waking it for each span would be a call of the kernel each.
        if state.waiting.len() == SPAN_BATCH_SIZE {
            self.changed.notify_all();
        }
    }

    /// Has the thread send all that waits, until [`Queue::flush`] was called.
    fn hurry(&self) {
        self.state().flushing = true;
        self.changed.notify_all();
    }

    /// Waits until all spans are sent, or `until`. Returns whether they are.
    fn flush(&self, until: Instant) -> bool {
        self.hurry();
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.state(), left, |state| !state.is_done());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.flushing = false;
        self.changed.notify_all();
        state.is_done()
    }

    /// Sends spans, for ever.
    fn run(&self, exporter: &SpanExporter, outage: &Outage) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime for the exporter can be made");
        loop {
            let batch = self.next_batch();
            let count = batch.len() as u64;
            match runtime.block_on(exporter.export(batch)) {
                Ok(()) => {
                    outage.works();
                    self.exported.inc_by(count);
                }
                Err(error) => {
                    outage.failed(&error.to_string());
                    self.not_exported.inc_by(count);
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
    fn next_batch(&self) -> Vec<SpanData> {
        let mut state = self.state();
        loop {
            let too_few =
                |state: &mut State| state.waiting.len() < SPAN_BATCH_SIZE && !state.flushing;
            let waited = self.changed.wait_timeout_while(state, EXPORT_INTERVAL, too_few);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if !state.waiting.is_empty() {
                state.sending = true;
                let size = state.waiting.len().min(SPAN_BATCH_SIZE);
                let rest = state.waiting.split_off(size);
                return std::mem::replace(&mut state.waiting, rest);
            }
            if state.flushing {
                // Whoever flushes sees that nothing is left, and says so.
                let waited = self
                    .changed
                    .wait_while(state, |state| state.flushing && state.waiting.is_empty());
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
        if self.0.flush(Instant::now() + TRACE_FLUSH_TIMEOUT) {
            Ok(())
        } else {
            Err(OTelSdkError::Timeout(TRACE_FLUSH_TIMEOUT))
        }
    }

    /// Does nothing. The SDK calls it where the last tracer of a service is dropped: on a thread that serves, which must not wait
    /// for a collector. What waits then is sent by [`flush`].
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Processor")
    }
}

#[cfg(test)]
mod tests;
