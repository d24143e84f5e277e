//! The services, as a visitor sees them: each call carries the headers of the visitor's request.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use axum::response::Response;
use chassis::base::i18n::Lang;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt;
use tracing::warn;

/// Upper bound for an answer: a page of 1,000 carts has about 400 KiB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The headers of a visitor's request that go on to the services: who asks, by which URL, and in which trace.
const PASSED_ON: [HeaderName; 8] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// The routes of the services, as the gateway serves them: with its queues, its timeouts and its connections.
#[derive(Clone, Debug)]
pub(crate) struct Services(pub(crate) Router);

/// The services on behalf of one visitor.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    services: Router,
    headers: HeaderMap,
}

/// What a service answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) etag: Option<String>,
    pub(crate) body: Value,
}

/// What a service refused, or why it could not be asked.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The end of the problem's `type`.
    pub(crate) slug: String,
    pub(crate) body: Value,
}

impl Refusal {
    /// Returns the refusal of a service that cannot be understood.
    fn broken() -> Self {
        Self { status: StatusCode::BAD_GATEWAY, slug: String::new(), body: Value::Null }
    }

    /// Returns true if the same request may succeed in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Returns true if what was asked for may have been done. A service that is busy (503) has done nothing.
    pub(crate) fn may_be_done(&self) -> bool {
        self.status.is_server_error() && self.status != StatusCode::SERVICE_UNAVAILABLE
    }

    /// Returns a number that the problem has as a member, such as `availableQuantity`.
    pub(crate) fn number(&self, member: &str) -> Option<i64> {
        self.body[member].as_i64()
    }

    /// Returns what is wrong with a field, in the visitor's language.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut errors = self.body["errors"].as_array()?.iter();
        let error = errors.find(|error| error["field"] == name)?;
        error["message"].as_str().map(ToOwned::to_owned)
    }
}

impl Client {
    /// Returns a client for the visitor who sent `headers` and reads `lang`.
    pub(crate) fn new(services: &Services, headers: &HeaderMap, lang: Lang) -> Self {
        let pair = |name: HeaderName| {
            let value = headers.get(&name)?.clone();
            Some((name, value))
        };
        let mut headers: HeaderMap = PASSED_ON.into_iter().filter_map(pair).collect();
        headers.insert(header::ACCEPT_LANGUAGE, header::HeaderValue::from_static(lang.tag()));
        Self { services: services.0.clone(), headers }
    }

    /// Reads what is at `path`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        Ok(self.read(path).await?.0)
    }

    /// Reads what is at `path`, with its `ETag`.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(T, Option<String>), Refusal> {
        let answer = self.send(Method::GET, path, &[], None).await?;
        let read = serde_json::from_value(answer.body).map_err(|error| {
            warn!(path, %error, "a service answered something else than its page expects");
            Refusal::broken()
        })?;
        Ok((read, answer.etag))
    }

    /// Sends a request with further headers and a body of JSON.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Refusal> {
        let mut request = Request::new(match body {
            Some(json) => Body::from(json.to_string()),
            None => Body::empty(),
        });
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| Refusal::broken())?;
        *request.headers_mut() = self.headers.clone();
        if body.is_some() {
            let json = header::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        for (name, value) in headers {
            let value = value.parse().map_err(|_| Refusal::broken())?;
            request.headers_mut().insert(name.clone(), value);
        }
        let Ok(response) = self.services.clone().oneshot(request).await;
        answer(response).await
    }
}

/// Reads the response of a service.
async fn answer(response: Response) -> Result<Answer, Refusal> {
    let status = response.status();
    let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
    let etag = etag.map(ToOwned::to_owned);
    let bytes = axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| {
        warn!(%error, "a service broke off its answer to a page");
        Refusal::broken()
    })?;
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() {
        return Ok(Answer { etag, body });
    }
    let slug = body["type"].as_str().and_then(|kind| kind.rsplit('/').next()).unwrap_or_default();
    Err(Refusal { status, slug: slug.to_owned(), body })
}
