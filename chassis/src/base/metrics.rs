//! Prometheus metrics. Each service has its own registry: `standalone` has five in one process.

mod figures;
mod format;

use crate::base::trace::Trace;
use axum::http::{HeaderMap, Method, header};
use axum::response::IntoResponse;
use figures::Figures;
use format::Format;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Upper bounds of the buckets of durations, in seconds.
const DURATION_BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// The same for waits in queues. Requests are refused within 10 ms after 0.1 s or 1 s.
const QUEUE_WAIT_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.11, 0.25, 0.5, 1.0, 1.01, 1.1, 1.25];
/// Upper bounds of the buckets of batch sizes: up to 500 jobs, one of which may have 500 events.
const BATCH_SIZE_BUCKETS: [f64; 11] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 500.0, 1_000.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: String,
}

/// A label, by its name and its value, which are constants of the code.
pub type Label = [(&'static str, &'static str); 1];

/// The label of an exemplar: the id of a trace that was recorded.
type TraceLabel = [(&'static str, String); 1];

/// The metrics of one service.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, HistogramWithExemplars<TraceLabel>>,
    shed: Family<Label, Counter>,
    pub(crate) queue_seconds: Histogram,
    pub(crate) writer_wait_seconds: Histogram,
    pub(crate) outbox_events: Gauge,
    pub(crate) outbox_age: Gauge<f64, AtomicU64>,
    consumer_lag: Gauge<f64, AtomicU64>,
    consumer_stopped: Gauge,
    consumer_errors: Family<Label, Counter>,
    pub(crate) tombstones_total: Counter,
    pub(crate) parked_events: Gauge,
    pub(crate) parked_total: Counter,
    pub(crate) relayed_total: Counter,
    pub(crate) handled_total: Counter,
    pub(crate) repeated_total: Counter,
    batch_size: Histogram,
    batch_seconds: Histogram,
    pool: Family<Label, Gauge>,
    extra: figures::Extra,
    pub(crate) spans_exported: Counter,
    spans_dropped: Family<Label, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| {
                HistogramWithExemplars::new(DURATION_BUCKETS.into_iter())
            }),
            shed: Family::default(),
            queue_seconds: Histogram::new(QUEUE_WAIT_BUCKETS),
            writer_wait_seconds: Histogram::new(QUEUE_WAIT_BUCKETS),
            outbox_events: Gauge::default(),
            outbox_age: Gauge::default(),
            consumer_lag: Gauge::default(),
            consumer_stopped: Gauge::default(),
            consumer_errors: Family::default(),
            tombstones_total: Counter::default(),
            parked_events: Gauge::default(),
            parked_total: Counter::default(),
            relayed_total: Counter::default(),
            handled_total: Counter::default(),
            repeated_total: Counter::default(),
            batch_size: Histogram::new(BATCH_SIZE_BUCKETS),
            batch_seconds: Histogram::new(DURATION_BUCKETS),
            pool: Family::default(),
            extra: figures::Extra::default(),
            spans_exported: Counter::default(),
            spans_dropped: Family::default(),
        };
        metrics.register("http_requests", "Requests answered", metrics.requests.clone());
        metrics.register(
            "http_request_duration_seconds",
            "Time to answer a request",
            metrics.seconds.clone(),
        );
        metrics.register(
            "http_requests_shed",
            "Requests refused since they waited for too long, by where",
            metrics.shed.clone(),
        );
        for at in ["queue", "writer", "readers", "bodies"] {
            let _ = metrics.shed.get_or_create(&[("at", at)]); // a rate needs a zero to begin with
        }
        metrics.register(
            "http_queue_seconds",
            "Time that a request waited until it was worked on, or refused",
            metrics.queue_seconds.clone(),
        );
        metrics.register(
            "trace_spans_exported",
            "Spans the collector has taken",
            metrics.spans_exported.clone(),
        );
        metrics.register(
            "trace_spans_dropped",
            "Spans that were lost, by why",
            metrics.spans_dropped.clone(),
        );
        for why in ["queue_full", "export_failed"] {
            let _ = metrics.spans_dropped(why);
        }
        metrics
    }
}

impl Metrics {
    /// Registers a metric of the service itself. The name of a counter gets the suffix `_total`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry().register(name, help, metric);
    }

    /// Registers the metrics of a process with a database.
    pub(crate) fn register_mailbox(&self) {
        self.register(
            "outbox_events",
            "Events the broker does not have yet; an estimate above 10,000 transactions",
            self.outbox_events.clone(),
        );
        self.register("outbox_age_seconds", "Age of the oldest of them", self.outbox_age.clone());
        self.register("outbox_relayed", "Events the broker has taken", self.relayed_total.clone());
        self.register(
            "consumer_lag_events",
            "Events not handled yet, up to the high watermarks; NaN while that is unknown",
            self.consumer_lag.clone(),
        );
        self.consumer_lag.set(f64::NAN);
        self.register(
            "consumer_stopped_partitions",
            "Partitions with events that the consumer cannot read",
            self.consumer_stopped.clone(),
        );
        self.register(
            "consumer_errors",
            "Errors of the Kafka client while it reads, by kind",
            self.consumer_errors.clone(),
        );
        self.register(
            "inbox_tombstones",
            "Messages without a value, which are no events",
            self.tombstones_total.clone(),
        );
        self.register("inbox_handled", "Events acted on", self.handled_total.clone());
        self.register("inbox_repeated", "Events dropped as repeats", self.repeated_total.clone());
        self.register(
            "parked_events",
            "Events that wait for an operator",
            self.parked_events.clone(),
        );
        self.register("parked", "Events parked since the start", self.parked_total.clone());
        self.register(
            "writer_batch_size",
            "Commands and events in a transaction of the writer",
            self.batch_size.clone(),
        );
        self.register(
            "writer_batch_seconds",
            "Time from its begin to its commit",
            self.batch_seconds.clone(),
        );
        self.register(
            "writer_wait_seconds",
            "Time that a command waited until the writer took it, or its caller gave up",
            self.writer_wait_seconds.clone(),
        );
        self.register("db_pool_connections", "Reading connections by state", self.pool.clone());
    }

    /// Records a batch that the writer committed. Batches of housekeeping alone are left out: they would lower the mean.
    pub(crate) fn batch(&self, size: usize, took: Duration) {
        if size == 0 {
            return;
        }
        self.batch_size.observe(u32::try_from(size).map_or(f64::INFINITY, f64::from));
        self.batch_seconds.observe(took.as_secs_f64());
    }

    /// Sets the gauges of a subscription: the events that its group has left to handle, `None` while unknown, and the
    /// partitions whose events it cannot read.
    pub(crate) fn consumer(&self, lag: Option<i64>, stopped: i64) {
        #[expect(clippy::cast_precision_loss, reason = "a lag of 2^53 events is not met")]
        self.consumer_lag.set(lag.map_or(f64::NAN, |lag| lag as f64));
        self.consumer_stopped.set(stopped);
    }

    /// Counts `more` errors of a subscription, by kind.
    pub(crate) fn consumer_errors(&self, kind: &'static str, more: u64) {
        self.consumer_errors.get_or_create(&[("kind", kind)]).inc_by(more);
    }

    /// Counts a request that was refused after it waited for too long in the queue `at`.
    pub fn shed(&self, at: &'static str) {
        self.shed.get_or_create(&[("at", at)]).inc();
    }

    /// Returns the counter of the spans that were lost because of `why`.
    pub(super) fn spans_dropped(&self, why: &'static str) -> Counter {
        self.spans_dropped.get_or_create(&[("why", why)]).clone()
    }

    /// Sets the gauges of the reading connections: `all` that are open, and those of them that are idle.
    pub(crate) fn pool(&self, all: u32, idle: usize) {
        let idle = i64::try_from(idle).unwrap_or(i64::MAX);
        self.pool.get_or_create(&[("state", "idle")]).set(idle);
        self.pool.get_or_create(&[("state", "used")]).set(i64::from(all) - idle);
    }

    /// Counts a request and its duration. The trace of it, if it is recorded, is the exemplar of its bucket.
    pub(crate) fn request(
        &self,
        route: String,
        method: &Method,
        status: u16,
        took: Duration,
        recorded: Option<&Trace>,
    ) {
        if status == 201 && *method == Method::POST {
            self.extra.count_created();
        }
        // Clients may invent methods, and a label is never removed.
        let method = match *method {
            Method::GET
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::HEAD
            | Method::OPTIONS => method.as_str(),
            _ => "other",
        };
        let by_route = RouteLabels { route: route.clone(), method: method.to_owned() };
        let exemplar = recorded.map(|trace| [("trace_id", trace.id().to_string())]);
        self.seconds.get_or_create(&by_route).observe(took.as_secs_f64(), exemplar, None);
        let by_status = RequestLabels { route, method: method.to_owned(), status };
        self.requests.get_or_create(&by_status).inc();
    }

    /// Returns the figures for the page `/live`.
    pub(crate) fn figures(&self) -> Figures {
        Figures {
            created_per_second: self.extra.created_per_second(),
            outbox_events: self.outbox_events.get(),
            outbox_age_seconds: self.outbox_age.get(),
            lag_events: Some(self.consumer_lag.get()).filter(|lag| !lag.is_nan()),
            parked_events: self.parked_events.get(),
            breaker: self.extra.breaker(),
            sold_out: self.extra.sold_out(),
        }
    }

    /// Ends a round of the rates in the figures, which took `elapsed`.
    pub(crate) fn end_round(&self, elapsed: Duration) {
        self.extra.end_round(elapsed);
    }

    /// Shows the state of a circuit breaker in the figures: 0 closed, 1 half open, 2 open.
    pub(crate) fn show_breaker(&self, state: Gauge) {
        self.extra.set_breaker(state);
    }

    /// Shows the purchases that were refused since not enough are left in the figures.
    pub fn show_sold_out(&self, refused: Counter) {
        self.extra.set_sold_out(refused);
    }

    /// Returns all metrics in the format that the client accepts.
    pub(crate) fn text(&self, accept: &HeaderMap) -> impl IntoResponse + use<> {
        let mut text = String::new();
        encode(&mut text, &self.registry()).expect("writing to a string cannot fail");
        let format = Format::of(accept);
        (
            [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")],
            format.written(text),
        )
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
