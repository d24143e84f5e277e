//! Bodies of requests: read whole, within bounds of size and time, before anything else is done for a request.
//!
//! So a client that is slow with its body takes no place from others, its body is not part of the time that its request
//! waits here, and a body that breaks off never is a matter between our processes.

use crate::lang::Text;
use crate::problem::{Problem, kind};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use std::time::Duration;
use tokio::time::timeout;

/// The most bytes a body may have.
pub(crate) const MOST_BYTES: usize = 64 * 1024;
/// How long a whole body may take. Not a time between two pieces, so that a client who sends a byte
/// now and then is closed as well.
const WHOLE_BODY: Duration = Duration::from_secs(10);

/// Returns the request with its body in memory.
///
/// # Errors
/// 413 where the body is larger than 64 KiB, 408 where it takes longer than 10 s, 400 where it breaks off.
pub(super) async fn whole(request: Request) -> Result<Request, Problem> {
    if http_body::Body::size_hint(request.body()).lower() > MOST_BYTES as u64 {
        return Err(too_large());
    }
    if http_body::Body::is_end_stream(request.body()) {
        return Ok(request); // no body, no timer
    }
    let (parts, body) = request.into_parts();
    match timeout(WHOLE_BODY, Limited::new(body, MOST_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(Request::from_parts(parts, Body::from(body.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(broken()),
        Err(_) => Err(Problem::new(
            kind::TOO_SLOW,
            Text::fixed("a body may take 10 s", "본문은 10초 안에 도착해야 합니다"),
        )),
    }
}

/// Returns the bytes of a body that [`whole`] has read.
pub(super) async fn bytes(body: Body) -> Result<Bytes, Problem> {
    body.collect().await.map(Collected::to_bytes).map_err(|_| broken())
}

fn too_large() -> Problem {
    Problem::new(
        kind::TOO_LARGE,
        Text::fixed("a body may have at most 65536 bytes", "본문은 65536바이트 이하여야 합니다"),
    )
}

fn broken() -> Problem {
    Problem::new(
        kind::MALFORMED,
        Text::fixed(
            "the body broke off before its end, or its chunks cannot be read",
            "본문이 끝까지 도착하지 않았거나 청크 형식이 올바르지 않습니다",
        ),
    )
}
