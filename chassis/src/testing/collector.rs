//! A collector for tests: it takes spans by OTLP/HTTP and keeps them.

use crate::base::config::{Otel, Pairs, TraceSampler};
use crate::testing::peer;
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The path of OTLP/HTTP for spans.
const TRACES: &str = "/v1/traces";

/// A collector that runs until the test ends.
pub struct Collector {
    /// Its base URL.
    pub url: String,
    spans: Arc<Mutex<Vec<ExportedSpan>>>,
}

/// A span that a service exported.
#[derive(Clone, Debug)]
pub struct ExportedSpan {
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits.
    pub id: String,
    /// 16 hex digits, or empty for the first span of a trace.
    pub parent: String,
    /// The traces that it is linked to.
    pub links: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub failed: bool,
}

impl Collector {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let spans: Arc<Mutex<Vec<ExportedSpan>>> = Arc::default();
        let taken = Arc::clone(&spans);
        let take = async move |body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).expect("it is OTLP");
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            for resource in request.resource_spans {
                let of = attributes(resource.resource.map(|of| of.attributes).unwrap_or_default());
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                taken.extend(spans.map(|span| ExportedSpan::of(&of["service.name"], span)));
            }
        };
        Self { url: peer(Router::new().route(TRACES, post(take))), spans }
    }

    /// Returns all spans so far.
    pub fn spans(&self) -> Vec<ExportedSpan> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the settings of a process that exports every trace to it.
    pub fn settings(&self) -> Otel {
        Otel {
            otel_exporter_otlp_endpoint: self.url.clone(),
            otel_exporter_otlp_protocol: String::new(),
            otel_exporter_otlp_headers: Pairs::default(),
            otel_exporter_otlp_timeout: 10_000,
            otel_service_name: String::new(),
            otel_resource_attributes: Pairs::default(),
            otel_traces_sampler: TraceSampler::On,
            otel_traces_sampler_arg: 1.0,
        }
    }
}

impl ExportedSpan {
    fn of(service: &str, span: Span) -> Self {
        Self {
            service: service.to_owned(),
            kind: span.kind(),
            name: span.name,
            trace: HEXLOWER.encode(&span.trace_id),
            id: HEXLOWER.encode(&span.span_id),
            parent: HEXLOWER.encode(&span.parent_span_id),
            links: span.links.iter().map(|link| HEXLOWER.encode(&link.trace_id)).collect(),
            attributes: attributes(span.attributes),
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
        }
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |pair: KeyValue| match pair.value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    pairs.into_iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}
