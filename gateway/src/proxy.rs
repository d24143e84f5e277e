//! Forwards a request, whose body is in memory, to an upstream, and streams its response.

use crate::connect::Connector;
use crate::hop_by_hop;
use crate::services::Upstream;
use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, Version, header};
use axum::response::Response;
use chassis::base::i18n::Text;
use chassis::base::limits::{CLIENT_KEEP_ALIVE, UPSTREAM_IDLE_TIMEOUT};
use chassis::base::patience;
use chassis::base::problem::{Kind, Problem};
use chassis::base::span::{Span, SpanKind, Tracer, describe};
use chassis::base::trace::{self, TRACEPARENT};
use chassis::http::serving::PerThread;
use http_body_util::BodyExt;
use hyper::Request;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::io;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tower_http::timeout::TimeoutBody;
use tracing::warn;

/// The service could not be reached, or broke off before its response.
pub const UPSTREAM_FAILED: Kind = Kind::new(
    "upstream-failed",
    StatusCode::BAD_GATEWAY,
    "A part of the shop cannot be reached",
    "연결할 수 없는 서비스가 있습니다",
);
/// The service did not begin its response in time.
pub const UPSTREAM_LATE: Kind = Kind::new(
    "upstream-late",
    StatusCode::GATEWAY_TIMEOUT,
    "A part of the shop does not answer in time",
    "제때 응답하지 않는 서비스가 있습니다",
);
/// The problems of the gateway. A test compares them with docs/reference/problems.md.
pub const PROBLEMS: &[Kind] = &[UPSTREAM_FAILED, UPSTREAM_LATE];

const NOTHING_DONE: Text = Text::fixed(
    "nothing was done; try again shortly",
    "처리되지 않았습니다. 잠시 후 다시 시도해 주세요",
);
const OUTCOME_UNKNOWN: Text = Text::fixed(
    "whether it was done is unknown; look before you try again",
    "처리 여부를 알 수 없습니다. 확인한 뒤 다시 시도해 주세요",
);

/// The HTTP client for all upstreams. It keeps connections, and never repeats a request that it began to send.
#[derive(Clone, Debug)]
pub struct Proxy {
    clients: Arc<PerThread<Client<Connector, Body>>>,
    tracer: Tracer,
}

impl Proxy {
    /// Returns a client with its own connections, which stay on the thread of the requests that they are made for.
    pub fn new(tracer: Tracer) -> Self {
        let client = || {
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(CLIENT_KEEP_ALIVE)
                .pool_timer(TokioTimer::new())
                .build(Connector::new())
        };
        Self { clients: Arc::new(PerThread::new(client)), tracer }
    }

    /// Forwards `request` to `upstream`, and returns its response, which must begin within `response_timeout`.
    ///
    /// # Errors
    /// [`UPSTREAM_FAILED`] or [`UPSTREAM_LATE`].
    pub(crate) async fn forward(
        &self,
        upstream: &Upstream,
        response_timeout: Duration,
        mut request: Request<Body>,
    ) -> Result<Response, Problem> {
        let headers = request.headers_mut();
        hop_by_hop::remove(headers);
        headers.remove(header::HOST); // that of the upstream is added
        headers.insert(patience::HEADER, patience::left());
        let mut span = self.tracer.child(trace::current().as_ref(), |_| {
            let method = request.method().to_string();
            let attributes = [
                ("http.request.method", method.clone().into()),
                ("peer.service", upstream.service.name.into()),
            ];
            describe(SpanKind::Client, method, attributes)
        });
        if let Some(span) = &span {
            request.headers_mut().insert(TRACEPARENT, span.trace().header());
        }
        let failed = |span: &Option<Span>, why: &'static str| {
            if let Some(span) = span {
                span.fail(why);
            }
        };

        match timeout(response_timeout, self.send(upstream, request)).await {
            Ok(Ok(mut response)) => {
                if let Some(span) = &mut span {
                    let status = response.status().as_u16();
                    span.set("http.response.status_code", i64::from(status));
                    // A refusal is an answer, which the gateway hands on.
                    if status >= 500 {
                        span.fail(format!("status {status}"));
                    }
                }
                hop_by_hop::remove(response.headers_mut());
                Ok(response)
            }
            Ok(Err(problem)) => {
                failed(&span, "the service failed");
                Err(problem)
            }
            Err(_) => {
                failed(&span, "the service did not answer in time");
                warn!(upstream = upstream.base, "an upstream did not answer in time");
                Err(Problem::new(UPSTREAM_LATE, OUTCOME_UNKNOWN))
            }
        }
    }

    /// Sends a request to `upstream`, and returns its response.
    async fn send(
        &self,
        upstream: &Upstream,
        mut request: Request<Body>,
    ) -> Result<Response, Problem> {
        let base = &upstream.base;
        if let Some(local) = &upstream.local {
            let response = local.call(request).await.map_err(|error| {
                warn!(upstream = base, %error, "an upstream failed");
                Problem::new(UPSTREAM_FAILED, OUTCOME_UNKNOWN).retry_after(1)
            })?;
            return Ok(response.map(|body| streamed(base, body)));
        }
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = format!("{base}{path}").parse().map_err(Problem::internal)?;
        *request.version_mut() = Version::HTTP_11;
        let response = self.clients.get().request(request).await;
        let response = response.map_err(|error| upstream_failed(base, &error))?;
        Ok(response.map(|body| streamed(base, body)))
    }
}

/// Returns a response body that ends with an error if the upstream is silent for [`UPSTREAM_IDLE_TIMEOUT`].
fn streamed<B>(base: &str, body: B) -> Body
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let upstream = base.to_owned();
    Body::new(TimeoutBody::new(UPSTREAM_IDLE_TIMEOUT, body).map_err(move |error| {
        warn!(upstream, %error, "an upstream broke off its answer");
        error
    }))
}

/// Logs the failure of an upstream and returns its problem. The client's body is in memory, so it is not the cause.
fn upstream_failed(base: &str, error: &Error) -> Problem {
    let causes: Vec<_> =
        successors(std::error::Error::source(error), |cause| cause.source()).collect();
    let chain = causes.iter().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    warn!(upstream = base, error = %error, causes = chain, "an upstream failed");
    let timed_out = causes.iter().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
    });
    let kind = if timed_out { UPSTREAM_LATE } else { UPSTREAM_FAILED };
    let detail = if error.is_connect() { NOTHING_DONE } else { OUTCOME_UNKNOWN };
    Problem::new(kind, detail).retry_after(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_with_an_error_if_the_upstream_is_silent() {
        let first = stream::iter([Ok::<_, io::Error>("first")]);
        let body = Body::from_stream(first.chain(stream::pending()));
        let mut body = streamed("cart", body);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        let since = Instant::now();
        body.frame().await.unwrap().unwrap_err();
        assert_eq!(since.elapsed().as_secs(), UPSTREAM_IDLE_TIMEOUT.as_secs());
    }
}
