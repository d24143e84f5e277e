//! What is said of every request: its ids, its metrics, its log line, and its refusal in the
//! client's language.

use crate::base::i18n::{Lang, Text};
use crate::base::patience;
use crate::base::problem::{Kind, Problem, kind};
use crate::base::trace::{self, Trace};
use crate::http::context::{Context, Exposure};
use crate::http::head::{self, Refused};
use crate::http::surface::Surface;
use crate::http::{body, surface};
use axum::extract::{MatchedPath, NestedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Instant;
use tracing::{Instrument, Span, debug, info, info_span};
use uuid::Uuid;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is noted of a request whose client went away before it was answered, as nginx does.
const CLIENT_GONE: u16 = 499;

pub(super) async fn observe(
    State(context): State<Context>,
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
    let trace = Trace::of(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    request.headers_mut().insert(trace::TRACEPARENT, trace.header());

    let shown = id.to_str().unwrap_or_default();
    let span = info_span!("request", request.id = shown, trace.id = trace.id());
    let mut seen = RequestLog { context, started, method, uri, route, span, status: CLIENT_GONE };
    let answer = async {
        let refused = request.extensions_mut().remove::<Refused>();
        let request = match refused {
            Some(Refused(problem)) => Err(problem),
            None if !surface::has_id(instance.as_deref().unwrap_or_default(), &seen.route) => {
                Err(surface::no_id())
            }
            None => ready(&seen.context, request).await,
        };
        match request {
            Ok((request, _)) if is_about_the_server(&request) => {
                [(header::ALLOW, head::METHODS)].into_response()
            }
            Ok((request, _held)) => {
                let until = patience::of(request.headers()); // from now on, when all of it is here
                patience::with(until, next.run(request)).await
            }
            Err(problem) => problem.into_response(),
        }
    };
    let response = trace::with(trace, answer).instrument(seen.span.clone()).await;
    let response = answered_options(&seen.method, response);
    if let Some(at) = response.extensions().get::<Arc<Problem>>().and_then(|problem| problem.shed())
    {
        seen.context.metrics.shed(at);
    }
    let mut response = in_language(response, lang, instance.as_deref(), &seen.context.surface);
    response.headers_mut().insert(REQUEST_ID, id);
    seen.status = response.status().as_u16();
    response
}

/// Makes a request ready for its route: with its body in memory where the route reads one, else without it, so that
/// what its path and method say of it is not held up by its body.
async fn ready(context: &Context, mut request: Request) -> Result<(Request, body::Held), Problem> {
    if context.surface.reads_body(request.method(), request.uri().path()) {
        head::check_encoding(&request)?;
        return context.bodies.whole(request).await;
    }
    if request.method() == Method::CONNECT {
        // No path has it. To a router that takes any method, and to HTTP clients, it is something of its own.
        *request.method_mut() = Method::TRACE;
    }
    Ok((body::without(request), None))
}

/// Returns the path that the client asked for, if it is one: for `instance`.
fn instance(request: &Request) -> Option<String> {
    let path = request.uri().path();
    let prefix = request.extensions().get::<NestedPath>().map_or("", NestedPath::as_str);
    path.starts_with('/').then(|| format!("{prefix}{path}"))
}

/// A request. When it is over, also because its client went away, its metrics and its line are written.
struct RequestLog {
    context: Context,
    started: Instant,
    method: Method,
    uri: Uri,
    route: String,
    span: Span,
    status: u16,
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let (method, path, status) = (&self.method, self.uri.path(), self.status);
        let took = self.started.elapsed();
        self.context.metrics.request(std::mem::take(&mut self.route), method, status, took);
        let duration_ms = took.as_secs_f64() * 1000.0;
        let span = &self.span;
        match self.context.facing {
            Exposure::Public => {
                info!(parent: span, %method, path, status, duration_ms, "answered a request");
            }
            Exposure::Internal => {
                debug!(parent: span, %method, path, status, duration_ms, "answered a request");
            }
        }
    }
}

/// The client's request id where it is fit for a log line, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fit = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(fit).cloned().unwrap_or_else(|| {
        let id = Uuid::new_v4().simple().to_string();
        HeaderValue::from_str(&id).expect("a UUID is a legal header")
    })
}

/// Whether this is `OPTIONS *`, which asks about the server and no path.
fn is_about_the_server(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.uri().path() == "*"
}

/// Answers an `OPTIONS` for a path that is there. `Allow` is added outside, by the router or the server.
fn answered_options(method: &Method, response: Response) -> Response {
    if method != Method::OPTIONS || response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut answer = Response::default();
    answer.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
    answer
}

/// Writes a refusal in the client's language; refusals of the framework become problems here.
fn in_language(
    response: Response,
    lang: Lang,
    instance: Option<&str>,
    surface: &Surface,
) -> Response {
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    let problem = match response.extensions().get::<Arc<Problem>>() {
        Some(problem) => Arc::clone(problem),
        None if is_ours(response.headers()) => return response,
        None => {
            let status = response.status(); // an upstream's stays what it is
            Arc::new(match status {
                StatusCode::NOT_FOUND => surface.no_such_path(),
                _ => Problem::of(Kind { status, ..of_framework(status) }),
            })
        }
    };
    let (mut plain, _) = response.into_parts();
    let rendered = problem.render(lang, instance);
    plain.headers.remove(header::CONTENT_LENGTH);
    let (mut parts, body) = rendered.into_parts();
    if parts.status == StatusCode::METHOD_NOT_ALLOWED {
        let instance = instance.map(ToOwned::to_owned);
        parts.extensions.insert(WantsMethods { lang, instance });
    }
    for (name, value) in &plain.headers {
        if !parts.headers.contains_key(name) {
            parts.headers.append(name, value.clone());
        }
    }
    Response::from_parts(parts, body)
}

/// A refusal of a method, in the extensions of its answer: which methods there are is known outside, where the router has
/// added `Allow`.
#[derive(Clone)]
struct WantsMethods {
    lang: Lang,
    instance: Option<String>,
}

/// Says in the refusal of a method which methods there are.
pub(super) fn name_methods(response: Response) -> Response {
    let Some(wants) = response.extensions().get::<WantsMethods>().cloned() else {
        return response;
    };
    let allow = response.headers().get(header::ALLOW).and_then(|allow| allow.to_str().ok());
    let Some(allow) = allow.map(|allow| allow.replace(',', ", ")) else { return response };
    let detail = Text::new(
        format!("this path takes {allow}"),
        format!("이 경로에 쓸 수 있는 메서드는 {allow} 입니다"),
    );
    let rendered = Problem::new(kind::METHOD, detail).render(wants.lang, wants.instance.as_deref());
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH); // of the text before
    Response::from_parts(parts, rendered.into_body())
}

/// Whether the body says something already: a problem of an upstream, or the JSON of a health route.
fn is_ours(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content.is_some_and(|content| !content.starts_with("text/plain"))
}

fn of_framework(status: StatusCode) -> Kind {
    match status {
        StatusCode::NOT_FOUND => kind::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => kind::METHOD,
        StatusCode::PAYLOAD_TOO_LARGE => kind::TOO_LARGE,
        StatusCode::REQUEST_TIMEOUT => kind::TOO_SLOW,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => kind::MEDIA_TYPE,
        StatusCode::UNPROCESSABLE_ENTITY => kind::INVALID,
        StatusCode::SERVICE_UNAVAILABLE => kind::UNAVAILABLE,
        status if status.is_client_error() => kind::MALFORMED,
        _ => kind::INTERNAL,
    }
}
