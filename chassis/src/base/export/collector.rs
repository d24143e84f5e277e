//! The collector as a service sees it: spans as protobuf, and the requests that carry them.

use crate::base::config::{InvalidSetting, Otel, Pairs};
use crate::base::pace::Backoff;
use anyhow::{anyhow, bail};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use std::time::Duration;

/// Numbers of fields in `opentelemetry/proto/trace/v1/trace.proto`.
const RESOURCE_SPANS: u8 = 1;
const RESOURCE: u8 = 1;
const SCOPE_SPANS: u8 = 2;
const SCOPE: u8 = 1;
const SPANS: u8 = 2;

/// Spans that are sent together, as protobuf.
///
/// A span is encoded when it ends. Kept as it is until it is sent, its strings would keep pages of memory from being used again,
/// which costs all other work more than the encoding.
#[derive(Default)]
pub(super) struct SpanBatch {
    /// The field `spans` of a `ScopeSpans`, once for each span.
    fields: Vec<u8>,
    pub(super) count: usize,
}

impl SpanBatch {
    pub(super) fn push(&mut self, span: &Span) {
        self.fields.push(key(SPANS));
        span.encode_length_delimited(&mut self.fields).expect("a vector has room");
        self.count += 1;
    }
}

/// Returns a span as it is sent.
pub(super) fn to_proto(span: SpanData) -> Span {
    span.into()
}

/// Sends the spans of a service.
pub(super) struct Collector {
    client: reqwest::Client,
    url: String,
    headers: HeaderMap,
    timeout: Duration,
    /// What is the same in each request: the service, and the scope of its spans.
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Collector {
    /// Returns the collector of the settings. It opens a connection for each request: between two of them nothing would notice
    /// that the collector has closed one.
    pub(super) fn new(settings: &Otel, resource: &Resource) -> Result<Self, InvalidSetting> {
        let timeout = Duration::from_millis(settings.otel_exporter_otlp_timeout);
        let client = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| InvalidSetting {
                setting: "OTEL_EXPORTER_OTLP_ENDPOINT",
                why: format!("{error:#}"),
            })?;
        let attributes = ResourceAttributesWithSchema::from(resource).attributes.0;
        let resource = v1::Resource { attributes, ..Default::default() };
        let scope = InstrumentationScope { name: "chassis".to_owned(), ..Default::default() };
        Ok(Self {
            client,
            url: format!("{}/v1/traces", settings.otel_exporter_otlp_endpoint),
            headers: headers(&settings.otel_exporter_otlp_headers)?,
            timeout,
            resource: field(RESOURCE, &[&resource.encode_to_vec()]),
            scope: field(SCOPE, &[&scope.encode_to_vec()]),
        })
    }

    /// Sends spans, again while the collector is busy, for the timeout of the settings at most.
    pub(super) async fn send(&self, batch: &SpanBatch) -> anyhow::Result<()> {
        let body = Bytes::from(self.request(batch));
        let tries = async {
            let mut backoff = Backoff::default();
            loop {
                let request = self.client.post(&self.url).headers(self.headers.clone());
                let response = request.body(body.clone()).send().await?;
                match response.status() {
                    status if status.is_success() => return Ok(()),
                    StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT => backoff.wait().await,
                    status => bail!("the collector answers {status}"),
                }
            }
        };
        let late = |_| anyhow!("the collector does not take them in time");
        tokio::time::timeout(self.timeout, tries).await.map_err(late)?
    }

    /// Returns an `ExportTraceServiceRequest` with the spans.
    fn request(&self, batch: &SpanBatch) -> Vec<u8> {
        let scope_spans = field(SCOPE_SPANS, &[&self.scope, &batch.fields]);
        field(RESOURCE_SPANS, &[&self.resource, &scope_spans])
    }
}

/// Returns the headers of a request: those of the settings, and that it is protobuf.
fn headers(pairs: &Pairs) -> Result<HeaderMap, InvalidSetting> {
    let invalid = |name: &str| InvalidSetting {
        setting: "OTEL_EXPORTER_OTLP_HEADERS",
        why: format!("{name:?} cannot be a header with that value"),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &pairs.0 {
        let header = HeaderName::try_from(name).map_err(|_| invalid(name))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| invalid(name))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    let protobuf = HeaderValue::from_static("application/x-protobuf");
    headers.insert(header::CONTENT_TYPE, protobuf);
    Ok(headers)
}

/// Returns a field of protobuf that holds `parts`, one after the other.
fn field(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut field = vec![key(number)];
    prost::encode_length_delimiter(length, &mut field).expect("a vector has room");
    for part in parts {
        field.extend_from_slice(part);
    }
    field
}

/// Returns the key of a field that says its length, whose number is below 16.
fn key(number: u8) -> u8 {
    number << 3 | 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    #[test]
    fn a_request_is_what_the_messages_of_otlp_say() {
        let settings = Otel {
            otel_exporter_otlp_endpoint: "http://127.0.0.1:9".to_owned(),
            otel_exporter_otlp_protocol: String::new(),
            otel_exporter_otlp_headers: Pairs(vec![("x-key".to_owned(), "1".to_owned())]),
            otel_exporter_otlp_timeout: 1,
            otel_service_name: String::new(),
            otel_resource_attributes: Pairs::default(),
            otel_traces_sampler: crate::base::config::TraceSampler::On,
            otel_traces_sampler_arg: 1.0,
        };
        let resource = Resource::builder_empty().with_service_name("cart").build();
        let collector = Collector::new(&settings, &resource).unwrap();
        let spans: Vec<Span> =
            (0..300).map(|n| Span { name: format!("span {n}"), ..Default::default() }).collect();
        let mut batch = SpanBatch::default();
        for span in &spans {
            batch.push(span);
        }

        let request = collector.request(&batch);
        let request = ExportTraceServiceRequest::decode(request.as_slice()).unwrap();
        let [of_service] = &request.resource_spans[..] else { panic!("{request:?}") };
        let said = &of_service.resource.as_ref().unwrap().attributes;
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].key, "service.name");
        let [of_scope] = &of_service.scope_spans[..] else { panic!("{of_service:?}") };
        assert_eq!(of_scope.scope.as_ref().unwrap().name, "chassis");
        assert_eq!(of_scope.spans, spans);
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
        for (name, value) in [("a(b", "x"), ("authorization", "secret\u{7f}")] {
            let pairs = Pairs(vec![(name.to_owned(), value.to_owned())]);
            let why = headers(&pairs).unwrap_err().why;
            assert!(why.contains(name) && !why.contains("secret"), "{why}");
        }
    }
}
