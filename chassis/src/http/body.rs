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
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes);
    bytes.map_err(|error| refusal(&error).unwrap_or_else(broken))
}

/// Returns the refusal of a request whose body failed, where `error` comes from a body that [`bound`]
/// has seen. The failure of a body that is forwarded is among the causes of the failed call.
pub fn refusal(error: &(dyn Error + 'static)) -> Option<Problem> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Some(too_large());
        }
        if error.is::<TooSlow>() {
            return Some(Problem::new(
                kind::TOO_SLOW,
                Text::fixed("a body may take 10 s", "본문은 10초 안에 도착해야 합니다"),
            ));
        }
        if error.is::<Broken>() {
            return Some(broken());
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

fn broken() -> Problem {
    Problem::new(
        kind::MALFORMED,
        Text::fixed(
            "the body broke off before its end, or its chunks cannot be read",
            "본문이 끝까지 도착하지 않았거나 청크 형식이 올바르지 않습니다",
        ),
    )
}

/// The client did not send the body that it announced: it broke off, or its chunks are none.
#[derive(Debug, thiserror::Error)]
#[error("the client's body cannot be read: {0}")]
struct Broken(#[source] axum::Error);

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
            let broken = |error| axum::Error::new(Broken(error));
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
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
