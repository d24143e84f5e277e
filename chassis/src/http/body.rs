//! Bodies of requests: bounded in size and in time.

use crate::lang::Text;
use crate::problem::{Problem, kind};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// The most bytes a body may have.
pub(crate) const MOST_BYTES: usize = 64 * 1024;
/// How long a whole body may take. Not a time between two pieces, so that a client who sends a byte
/// now and then is closed as well.
pub const WHOLE_BODY: Duration = Duration::from_secs(10);

/// Bounds the body of a request, for extractors and for the gateway's streams alike.
pub(super) fn bound(request: Request) -> Result<Request, Problem> {
    if http_body::Body::size_hint(request.body()).lower() > MOST_BYTES as u64 {
        return Err(too_large());
    }
    if http_body::Body::is_end_stream(request.body()) {
        return Ok(request); // no body, no timer
    }
    Ok(request.map(|body| {
        Body::new(Limited::new(InTime { body, end: Box::pin(sleep(WHOLE_BODY)) }, MOST_BYTES))
    }))
}

/// Reads a body that was bounded.
pub(super) async fn read(body: Body) -> Result<Bytes, Problem> {
    body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| {
        refusal(&error).unwrap_or_else(|| {
            Problem::new(
                kind::MALFORMED,
                Text::fixed(
                    "the body broke off before its end",
                    "본문이 끝까지 도착하지 않았습니다",
                ),
            )
        })
    })
}

/// What a failed body means to its client, where it was too large or too slow. The failure of a body
/// that is forwarded comes out of the call to the upstream, as one of its causes.
pub fn refusal(error: &(dyn Error + 'static)) -> Option<Problem> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Some(too_large());
        }
        if error.is::<TooSlow>() {
            return Some(Problem::of(kind::TOO_SLOW));
        }
        cause = error.source();
    }
    None
}

fn too_large() -> Problem {
    Problem::new(
        kind::TOO_LARGE,
        Text::fixed("a body may have at most 65536 bytes", "본문은 65536바이트 이하여야 합니다"),
    )
}

/// The body took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
struct TooSlow;

struct InTime {
    body: Body,
    end: Pin<Box<Sleep>>,
}

impl http_body::Body for InTime {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
