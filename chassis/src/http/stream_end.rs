//! The end of an event stream, which has none of its own: its client goes, or the process stops.

use crate::base::limits::STREAM_DRAIN_SPREAD;
use crate::http::event_stream::MEDIA_TYPE;
use crate::http::socket::Stream;
use crate::http::stream_life::{GOODBYE, random};
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header;
use axum::response::Response;
use http_body::Frame;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The error for a stream whose client has gone.
#[derive(Debug, thiserror::Error)]
#[error("the client of an event stream went away")]
struct ClientGone;

type Event = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of an event stream.
struct EndingBody {
    body: Body,
    gone: Event,
    stop: Event,
    stopping: bool,
    ended: bool,
    /// True if what was sent is whole events.
    between_events: bool,
    last: Option<u8>,
}

/// Returns true if `response` is an event stream.
pub(super) fn is_event_stream(response: &Response) -> bool {
    let media_type = response.headers().get(header::CONTENT_TYPE);
    media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(MEDIA_TYPE.as_bytes()))
        && !response.body().is_end_stream()
}

/// Returns the event stream `body`, so that it ends with its client, and between two events after `stop`: not all streams at
/// once, because their clients connect again.
pub(super) fn ending(body: Body, stop: CancellationToken, client: Stream) -> Body {
    let spread = STREAM_DRAIN_SPREAD.mul_f64(random());
    Body::new(EndingBody {
        body,
        gone: Box::pin(async move { client.disconnected().await }),
        stop: Box::pin(async move {
            stop.cancelled().await;
            sleep(spread).await;
        }),
        stopping: false,
        ended: false,
        between_events: true,
        last: None,
    })
}

impl EndingBody {
    /// Notes what was sent.
    fn sent(&mut self, data: &[u8]) {
        if let Some((last, before)) = data.split_last() {
            let before = before.last().copied().or(self.last);
            self.between_events = *last == b'\n' && before == Some(b'\n');
            self.last = Some(*last);
        }
    }
}

impl HttpBody for EndingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.gone.as_mut().poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(Err(axum::Error::new(ClientGone))));
        }
        if !self.stopping && self.stop.as_mut().poll(context).is_ready() {
            self.stopping = true;
        }
        if self.stopping && self.between_events {
            self.ended = true;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(GOODBYE)))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.sent(frame.data_ref().map_or(&[][..], |data| &data[..])),
            _ => self.ended = true,
        }
        Poll::Ready(frame)
    }
}
