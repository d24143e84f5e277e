//! Problems: RFC 9457 `application/problem+json`. The detail is one line that a person can act on.

use crate::base::i18n::{Lang, Text};
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use opentelemetry::trace::TraceId;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::error;

/// A kind of problem. `docs/reference/problems.md` lists them all, and a test compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The end of `type`: `/problems/<slug>`.
    pub slug: &'static str,
    /// The status of the response.
    pub status: StatusCode,
    /// The English title.
    pub en: &'static str,
    /// The Korean title.
    pub ko: &'static str,
}

impl Kind {
    /// Returns a kind of problem.
    pub const fn new(
        slug: &'static str,
        status: StatusCode,
        en: &'static str,
        ko: &'static str,
    ) -> Self {
        Self { slug, status, en, ko }
    }
}

/// The kinds that every service has.
pub mod kind {
    use super::{Kind, StatusCode};

    pub const MALFORMED: Kind = Kind::new(
        "malformed",
        StatusCode::BAD_REQUEST,
        "The request cannot be read",
        "요청을 읽을 수 없습니다",
    );
    pub const INVALID: Kind = Kind::new(
        "invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "A field has a value that is not allowed",
        "허용되지 않는 값이 있습니다",
    );
    pub const NOT_FOUND: Kind =
        Kind::new("not-found", StatusCode::NOT_FOUND, "There is nothing here", "찾을 수 없습니다");
    pub const UNAUTHENTICATED: Kind = Kind::new(
        "unauthenticated",
        StatusCode::UNAUTHORIZED,
        "Nobody is signed in",
        "로그인이 필요합니다",
    );
    pub const FORBIDDEN: Kind = Kind::new(
        "forbidden",
        StatusCode::FORBIDDEN,
        "This account may not do this",
        "권한이 없습니다",
    );
    /// A page of another site sent the request, or may have. Whoever sees that page may not know of it.
    pub const CROSS_SITE: Kind = Kind::new(
        "cross-site",
        StatusCode::FORBIDDEN,
        "This request may come from another site",
        "다른 사이트에서 보낸 요청일 수 있습니다",
    );
    pub const METHOD: Kind = Kind::new(
        "method-not-allowed",
        StatusCode::METHOD_NOT_ALLOWED,
        "This cannot be done here",
        "허용되지 않는 방법입니다",
    );
    pub const MEDIA_TYPE: Kind = Kind::new(
        "unsupported-media-type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body is not sent as JSON",
        "본문이 JSON이 아닙니다",
    );
    pub const TOO_LARGE: Kind = Kind::new(
        "too-large",
        StatusCode::PAYLOAD_TOO_LARGE,
        "The body is too large",
        "본문이 너무 큽니다",
    );
    pub const PRECONDITION: Kind = Kind::new(
        "precondition-failed",
        StatusCode::PRECONDITION_FAILED,
        "It is not as the request expects it",
        "요청이 기대한 상태가 아닙니다",
    );
    pub const TOO_SLOW: Kind = Kind::new(
        "too-slow",
        StatusCode::REQUEST_TIMEOUT,
        "The request did not arrive in time",
        "요청이 제때 도착하지 않았습니다",
    );
    pub const BAD_HOST: Kind = Kind::new(
        "bad-host",
        StatusCode::BAD_REQUEST,
        "A request names its host once, as HOST or HOST:PORT",
        "Host 헤더는 HOST 또는 HOST:PORT 형식으로 하나만 있어야 합니다",
    );
    pub const ENCODING: Kind = Kind::new(
        "unsupported-encoding",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Send the body without Content-Encoding",
        "본문을 Content-Encoding 없이 보내 주세요",
    );
    pub const URI_TOO_LONG: Kind = Kind::new(
        "uri-too-long",
        StatusCode::URI_TOO_LONG,
        "The path and its query are too long",
        "경로와 쿼리가 너무 깁니다",
    );
    pub const HEADERS_TOO_LARGE: Kind = Kind::new(
        "headers-too-large",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The headers are too many or too large",
        "헤더가 너무 많거나 큽니다",
    );
    pub const TOO_MANY: Kind = Kind::new(
        "too-many-requests",
        StatusCode::TOO_MANY_REQUESTS,
        "That was too much at once",
        "요청이 너무 많습니다",
    );
    pub const UNAVAILABLE: Kind = Kind::new(
        "unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "Try again shortly",
        "잠시 후 다시 시도해 주세요",
    );
    pub const INTERNAL: Kind = Kind::new(
        "internal",
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something went wrong here",
        "내부 오류가 발생했습니다",
    );

    /// All of them, for the test that compares with the documentation.
    pub const ALL: &[Kind] = &[
        MALFORMED,
        INVALID,
        NOT_FOUND,
        UNAUTHENTICATED,
        FORBIDDEN,
        CROSS_SITE,
        METHOD,
        MEDIA_TYPE,
        TOO_LARGE,
        PRECONDITION,
        TOO_SLOW,
        BAD_HOST,
        ENCODING,
        URI_TOO_LONG,
        HEADERS_TOO_LARGE,
        TOO_MANY,
        UNAVAILABLE,
        INTERNAL,
    ];
}

/// The body of a response, in the order in which a person reads it.
#[derive(Serialize)]
struct ProblemBody<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(rename = "traceId", skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ErrorBody>,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

/// What a response says of the request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    pub(crate) lang: Lang,
    /// The path.
    pub(crate) instance: Option<&'a str>,
    pub(crate) trace_id: Option<TraceId>,
}

#[derive(Serialize)]
struct ErrorBody {
    field: String,
    message: String,
}

/// A problem, in both languages until that of the request is known.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: Text,
    errors: Vec<(String, Text)>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    shed: Option<&'static str>,
}

impl Problem {
    /// Returns a problem of `kind`. `detail` says what a person can do about it.
    pub fn new(kind: Kind, detail: Text) -> Self {
        let (errors, members, headers) = (Vec::new(), Map::new(), Vec::new());
        Self { kind, detail, errors, members, headers, shed: None }
    }

    /// Returns an internal error. It is logged here, once, with its causes; the response does not contain them.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        error!(error = format!("{:#}", error.into()), "could not answer a request");
        Self::of(kind::INTERNAL)
    }

    /// Returns that the service cannot do it now, with `Retry-After: 1`.
    pub fn unavailable(detail: Text) -> Self {
        Self::new(kind::UNAVAILABLE, detail).retry_after(1)
    }

    /// Returns a problem whose detail is the title of its kind.
    pub fn of(kind: Kind) -> Self {
        Self::new(kind, Text::fixed(kind.en, kind.ko))
    }

    /// Adds a field and what is wrong with it.
    pub fn error(mut self, field: impl Into<String>, message: Text) -> Self {
        self.errors.push((field.into(), message));
        self
    }

    /// Adds a member to the body, such as `availableQuantity`.
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.into(), value.into());
        self
    }

    /// Adds the seconds after which to try again.
    pub fn retry_after(self, seconds: u16) -> Self {
        self.header(header::RETRY_AFTER, seconds.into())
    }

    /// Adds a header to the response.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Records that the request was refused because it waited for too long in the queue `at`.
    pub(crate) fn shed_at(mut self, at: &'static str) -> Self {
        self.shed = Some(at);
        self
    }

    /// Returns the queue in which the request waited for too long, if that is why it was refused.
    pub(crate) fn shed(&self) -> Option<&'static str> {
        self.shed
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// Returns the response to a request.
    pub(crate) fn render(&self, about: About<'_>) -> Response {
        let About { lang, instance, trace_id } = about;
        let error = |(field, message): &'_ (String, Text)| ErrorBody {
            field: field.clone(),
            message: message.get(lang).to_owned(),
        };
        let title = Text::fixed(self.kind.en, self.kind.ko);
        let body = ProblemBody {
            kind: format!("/problems/{}", self.kind.slug),
            title: title.get(lang),
            status: self.kind.status.as_u16(),
            detail: self.detail.get(lang),
            instance,
            trace_id: trace_id.map(|id| id.to_string()),
            errors: self.errors.iter().map(error).collect(),
            members: &self.members,
        };
        let body = serde_json::to_string(&body).expect("a problem is plain data");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(lang.tag()));
        headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
        headers.extend(self.headers.iter().cloned());
        response
    }
}

impl IntoResponse for Problem {
    /// Returns the response in English, with the problem in its extensions. `http/language.rs` renders it again in the
    /// client's language.
    fn into_response(self) -> Response {
        let mut response = self.render(About::default());
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}
