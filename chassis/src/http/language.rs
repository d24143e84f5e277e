//! Error responses in the language of the client.
//!
//! A handler returns a [`Problem`] and knows no language. The response of the problem carries it in its extensions, and the
//! outermost layer renders it in the language of the request. Error responses of the framework, such as the 404 of the router,
//! become problems here.

use crate::base::i18n::{Lang, Text};
use crate::base::problem::{About, Kind, Problem, kind};
use crate::http::surface::Surface;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use opentelemetry::trace::TraceId;
use std::sync::Arc;

/// Renders an error response in the language of the client. Error responses of the framework become problems.
pub(super) fn in_language(response: Response, about: About<'_>, surface: &Surface) -> Response {
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    let problem = match response.extensions().get::<Arc<Problem>>() {
        Some(problem) => Arc::clone(problem),
        None if has_own_body(response.headers()) => return response,
        None => {
            let status = response.status(); // an upstream may have another one than its kind
            Arc::new(match status {
                StatusCode::NOT_FOUND => surface.no_such_path(),
                _ => Problem::of(Kind { status, ..kind_of_status(status) }),
            })
        }
    };
    let (mut original, _) = response.into_parts();
    let rendered = problem.render(about);
    original.headers.remove(header::CONTENT_LENGTH);
    let (mut parts, body) = rendered.into_parts();
    if parts.status == StatusCode::METHOD_NOT_ALLOWED {
        let About { lang, instance, trace_id } = about;
        let instance = instance.map(ToOwned::to_owned);
        parts.extensions.insert(LacksMethods { lang, instance, trace_id });
    }
    // A header may have several values: each cookie is one.
    for name in original.headers.keys() {
        if !parts.headers.contains_key(name) {
            for value in original.headers.get_all(name) {
                parts.headers.append(name, value.clone());
            }
        }
    }
    Response::from_parts(parts, body)
}

/// Marks a 405 whose detail lacks the allowed methods, in the extensions of the response. They are known only after the
/// router has added `Allow`.
#[derive(Clone)]
struct LacksMethods {
    lang: Lang,
    instance: Option<String>,
    trace_id: Option<TraceId>,
}

/// Adds the allowed methods to the detail of a 405.
pub(super) fn name_methods(response: Response) -> Response {
    let Some(marker) = response.extensions().get::<LacksMethods>().cloned() else {
        return response;
    };
    let allow = response.headers().get(header::ALLOW).and_then(|allow| allow.to_str().ok());
    let Some(allow) = allow.map(|allow| allow.replace(',', ", ")) else { return response };
    let detail = Text::new(
        format!("this path takes {allow}"),
        format!("이 경로에 쓸 수 있는 메서드는 {allow} 입니다"),
    );
    let rendered = Problem::new(kind::METHOD, detail).render(About {
        lang: marker.lang,
        instance: marker.instance.as_deref(),
        trace_id: marker.trace_id,
    });
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH); // of the previous body
    Response::from_parts(parts, rendered.into_body())
}

/// Returns true if the response has a body of its own: a problem of an upstream, or the JSON of a health route.
fn has_own_body(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content.is_some_and(|content| !content.starts_with("text/plain"))
}

/// Returns the kind of problem for an error response of the framework.
fn kind_of_status(status: StatusCode) -> Kind {
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
