//! The span of a request at its server.

use crate::base::span::{Span, SpanKind, Tracer, describe, link};
use crate::base::trace::Trace;
use axum::extract::Request;
use axum::http::{HeaderName, Method};

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The beginnings of the routes that are asked about the process again and again, and never recorded.
const UNRECORDED: [&str; 2] = ["/actuator/", "/figures"];

/// The trace that a client named and that is not believed, in the extensions of its request: its trace begins here, with a link
/// to that one.
#[derive(Clone, Debug)]
struct ClientTrace(Trace);

/// Begins the trace of a request here, whatever its client says. Otherwise anybody could have all of a shop's spans recorded,
/// or hide requests in the trace of another.
pub fn distrust_trace(request: &mut Request) {
    let client = Trace::of(request.headers());
    request.headers_mut().remove(crate::base::trace::TRACEPARENT);
    request.headers_mut().remove(TRACESTATE);
    if let Some(client) = client {
        request.extensions_mut().insert(ClientTrace(client));
    }
}

/// The span of a request that is recorded.
pub(super) struct ServerSpan(Span);

impl ServerSpan {
    /// Returns the trace of a request, and its span if it is recorded.
    pub(super) fn start(
        tracer: &Tracer,
        request: &mut Request,
        method: &Method,
        route: &str,
    ) -> (Trace, Option<Self>) {
        let parent = Trace::of(request.headers());
        if UNRECORDED.iter().any(|start| route.starts_with(start)) {
            return (parent.unwrap_or_else(Trace::start), None);
        }
        let client = request.extensions_mut().remove::<ClientTrace>();
        // Not the path: it may hold a code or a name.
        let span = |_| {
            let method = known(method);
            let attributes = [
                ("http.request.method", method.to_owned().into()),
                ("http.route", route.to_owned().into()),
                ("url.scheme", "http".into()),
            ];
            let builder = describe(SpanKind::Server, format!("{method} {route}"), attributes);
            match &client {
                Some(ClientTrace(client)) => builder.with_links(vec![link(client)]),
                None => builder,
            }
        };
        let (trace, span) = match parent {
            None => tracer.root(span),
            Some(parent) => {
                let span = tracer.child(Some(&parent), span);
                (span.as_ref().map_or(parent, Span::trace), span)
            }
        };
        (trace, span.map(Self))
    }

    /// Ends it with the status of the response, `None` if its client went away before. Returns its trace.
    pub(super) fn end(mut self, status: Option<u16>) -> Trace {
        match status {
            Some(status) => {
                self.0.set("http.response.status_code", i64::from(status));
                if status >= 500 {
                    self.0.fail(format!("status {status}"));
                }
            }
            None => self.0.set("error.type", "client_closed_request"),
        }
        self.0.trace()
    }
}

/// Returns the name of a method. Clients may invent some, of which each would be an operation of its own.
fn known(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
        _ => "_OTHER",
    }
}
