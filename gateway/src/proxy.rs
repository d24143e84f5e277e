//! One hop: from a client's request, which was read whole, to an upstream's answer, which is streamed.

use crate::connect::Connector;
use crate::trust::OURS;
use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{StatusCode, Uri, Version};
use axum::response::Response;
use chassis::base::i18n::Text;
use chassis::base::patience;
use chassis::base::problem::{Kind, Problem};
use chassis::http::KEPT_ALIVE;
use http_body_util::BodyExt;
use hyper::Request;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::io;
use std::time::Duration;
use tokio::time::timeout;
use tower_http::timeout::TimeoutBody;
use tracing::warn;

pub const FAILED: Kind = Kind::new(
    "upstream-failed",
    StatusCode::BAD_GATEWAY,
    "A part of the shop cannot be reached",
    "연결할 수 없는 서비스가 있습니다",
);
pub const LATE: Kind = Kind::new(
    "upstream-late",
    StatusCode::GATEWAY_TIMEOUT,
    "A part of the shop does not answer in time",
    "제때 응답하지 않는 서비스가 있습니다",
);
/// The problems of the gateway. A test compares them with docs/reference/problems.md.
pub const PROBLEMS: &[Kind] = &[FAILED, LATE];

/// How long an upstream may be silent in the middle of an answer.
const PIECE: Duration = Duration::from_secs(10);
/// Headers that are about one connection (RFC 9110, 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The client of all upstreams: it keeps connections, and resends nothing that was begun.
#[derive(Clone, Debug)]
pub struct Proxy(Client<Connector, Body>);

impl Proxy {
    /// A client with its own pool.
    pub fn new() -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(KEPT_ALIVE)
            .pool_timer(TokioTimer::new())
            .build(Connector::new());
        Self(client)
    }

    /// Sends `request` on to the upstream at `base`, and answers what it answers within `budget`.
    pub async fn forward(
        &self,
        base: &str,
        budget: Duration,
        mut request: Request<Body>,
    ) -> Result<Response, Problem> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("{base}{path}").parse().map_err(Problem::internal)?;
        let headers = request.headers_mut();
        drop_hop_by_hop(headers);
        headers.remove(header::HOST); // the client writes that of the upstream
        headers.insert(patience::BUDGET, patience::left());
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;

        match timeout(budget, self.0.request(request)).await {
            Ok(Ok(mut response)) => {
                drop_hop_by_hop(response.headers_mut());
                let upstream = base.to_owned();
                let broken = move |error| {
                    warn!(upstream, %error, "an upstream broke off its answer");
                    error
                };
                let pass = |body| Body::new(TimeoutBody::new(PIECE, body).map_err(broken));
                Ok(response.map(pass))
            }
            Ok(Err(error)) => Err(failed(base, &error)),
            Err(_) => {
                warn!(upstream = base, "an upstream did not answer in time");
                Err(Problem::new(
                    LATE,
                    Text::fixed(
                        "whether it was done is unknown; look before you try again",
                        "처리 여부를 알 수 없습니다. 확인한 뒤 다시 시도해 주세요",
                    ),
                ))
            }
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self::new()
    }
}

/// The refusal of a request whose upstream failed. The client's own body was read before.
fn failed(base: &str, error: &Error) -> Problem {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    warn!(upstream = base, error = %error, causes = causes.join(": "), "an upstream failed");
    let timed_out = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
    };
    let mut causes =
        std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let kind = if causes.any(timed_out) { LATE } else { FAILED };
    let detail = if error.is_connect() {
        Text::fixed(
            "nothing was done; try again shortly",
            "처리되지 않았습니다. 잠시 후 다시 시도해 주세요",
        )
    } else {
        Text::fixed(
            "whether it was done is unknown; look before you try again",
            "처리 여부를 알 수 없습니다. 확인한 뒤 다시 시도해 주세요",
        )
    };
    Problem::new(kind, detail).retry_after(1)
}

/// Drops what is about one connection. What the gateway itself tells the services stays.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !OURS.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
