//! What every request gets: its ids, metrics and log line. Error responses get the language of the client in `language.rs`.

use crate::base::i18n::Lang;
use crate::base::patience;
use crate::base::problem::{About, Problem};
use crate::base::trace;
use crate::http::context::{Context, Exposure};
use crate::http::head::{self, InvalidHead};
use crate::http::language::in_language;
use crate::http::server_span::ServerSpan;
use crate::http::{body, surface};
use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, NestedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Instant;
use tracing::{Instrument, Span, debug, info, info_span};
use uuid::Uuid;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The status in metrics and log of a request whose client disconnected before the response, as in nginx.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The middleware that handles a request from its first log field to its last.
pub(super) async fn observe(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let instance = instance(&request);
    let uri = request.uri().clone();
    let lang = Lang::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
    let route = route.to_owned();
    let id = request_id(request.headers());
    let (trace, server_span) = ServerSpan::start(&context.tracer, &mut request, &method, &route);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    request.headers_mut().insert(trace::TRACEPARENT, trace.header());

    let request_id = id.to_str().unwrap_or_default();
    let span = info_span!("request", request.id = request_id, trace.id = %trace.id());
    let status = CLIENT_CLOSED_REQUEST;
    let mut log = RequestLog { context, started, method, uri, route, span, server_span, status };
    let reads_body = log.context.surface.reads_body(request.method(), request.uri().path());
    let mut leaves_body = !request.body().is_end_stream();
    let handled = async {
        let invalid_head = request.extensions_mut().remove::<InvalidHead>();
        let request = match invalid_head {
            Some(InvalidHead(problem)) => Err(problem),
            None if !surface::has_valid_id(instance.as_deref().unwrap_or_default(), &log.route) => {
                Err(surface::not_an_id())
            }
            None => with_body(&log.context, request, reads_body).await,
        };
        match request {
            Ok((request, _)) if is_for_the_server(&request) => {
                [(header::ALLOW, head::METHODS)].into_response()
            }
            Ok((request, _memory)) => {
                leaves_body &= !reads_body;
                let until = patience::of(request.headers()); // begins now, when the whole request is here
                patience::with(until, next.run(request)).await
            }
            Err(problem) => problem.into_response(),
        }
    };
    let response = trace::with(trace, handled).instrument(log.span.clone()).await;
    let response = options_response(&log.method, response);
    let problem = response.extensions().get::<Arc<Problem>>();
    if let Some(queue) = problem.and_then(|problem| problem.shed()) {
        log.context.metrics.shed(queue);
    }
    let about = About { lang, instance: instance.as_deref(), trace_id: Some(trace.id()) };
    let mut response = in_language(response, about, &log.context.surface);
    response.headers_mut().insert(REQUEST_ID, id);
    if leaves_body {
        // The rest of the body is in the way of the next request. Without this header, the client might send one.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    log.status = response.status().as_u16();
    response
}

/// Returns the request with its body in memory if its route reads the body, else without a body. So an error response for the
/// path or method does not wait for the body.
async fn with_body(
    context: &Context,
    mut request: Request,
    reads_body: bool,
) -> Result<(Request, body::MemoryPermit), Problem> {
    if reads_body {
        head::check_encoding(&request)?;
        return context.bodies.read(request).await;
    }
    if request.method() == Method::CONNECT {
        // No route has CONNECT, but a router for any method and HTTP clients treat it in a special way; TRACE gets the same 405.
        *request.method_mut() = Method::TRACE;
    }
    Ok((body::remove(request), None))
}

/// Returns the path of the request, for `instance` of a problem. `None` if the target is not a path.
fn instance(request: &Request) -> Option<String> {
    let path = request.uri().path();
    let prefix = request.extensions().get::<NestedPath>().map_or("", NestedPath::as_str);
    path.starts_with('/').then(|| format!("{prefix}{path}"))
}

/// The log line and the metrics of a request. Dropping it writes them, also if the client has disconnected.
struct RequestLog {
    context: Arc<Context>,
    started: Instant,
    method: Method,
    uri: Uri,
    route: String,
    span: Span,
    server_span: Option<ServerSpan>,
    status: u16,
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let (method, path, status) = (&self.method, self.uri.path(), self.status);
        let elapsed = self.started.elapsed();
        let recorded = self
            .server_span
            .take()
            .map(|span| span.end((status != CLIENT_CLOSED_REQUEST).then_some(status)));
        let route = std::mem::take(&mut self.route);
        self.context.metrics.request(route, method, status, elapsed, recorded.as_ref());
        let duration_ms = elapsed.as_secs_f64() * 1000.0;
        let span = &self.span;
        match self.context.exposure {
            Exposure::Public => {
                info!(parent: span, %method, path, status, duration_ms, "answered a request");
            }
            Exposure::Internal => {
                debug!(parent: span, %method, path, status, duration_ms, "answered a request");
            }
        }
    }
}

/// Returns the request id of the client if it is 1 to 128 visible ASCII characters, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_valid = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(is_valid).cloned().unwrap_or_else(|| {
        let id = Uuid::new_v4().simple().to_string();
        HeaderValue::from_str(&id).expect("a UUID is a valid header value")
    })
}

/// Returns true for `OPTIONS *`, which is for the server and not for a path.
fn is_for_the_server(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.uri().path() == "*"
}

/// Turns 405 for an `OPTIONS` of an existing path into 200. The router or the connection adds `Allow` later.
fn options_response(method: &Method, response: Response) -> Response {
    if method != Method::OPTIONS || response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut response = Response::default();
    response.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
    response
}
