//! Server-sent events: a response that goes on until its client or its process ends, or the token that opened it expires.
//!
//! The server loop ends such a response when its client has gone and in a drain: see `stream_end.rs`.

use crate::base::config::StreamsLimit;
use crate::base::i18n::Text;
use crate::base::limits::STREAM_HEARTBEAT;
use crate::base::metrics::{Counter, Gauge, Metrics};
use crate::base::problem::{Problem, kind};
use crate::base::replicas::Replicas;
use crate::http::caller::Caller;
use crate::http::client_streams::{Counted, StreamsOfClients};
use crate::http::stream_life::{GOODBYE, life};
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::stream;
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// The media type of a stream.
pub(super) const MEDIA_TYPE: &str = "text/event-stream";
/// The id of the last event that a client has seen, when it connects again.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// When a client connects again after its stream broke off, in milliseconds: from here on, and up to twice as late, so that
/// clients of a process that was killed do not all come at once.
const RECONNECT_MIN_MS: u128 = 1_500;
const RECONNECT_SPREAD_MS: u128 = 1_000;
/// When a client that was refused may try again.
const RETRY_AFTER_SECONDS: u16 = 5;
/// Bytes from which on waiting frames are not gathered into one.
const GATHERED_BYTES: usize = 64 * 1024;
/// The event that tells a client that it may have missed something. The empty id makes it begin anew when it connects again.
const RESET: &str = "id:\nevent: reset\ndata: {}\n\n";

/// The event streams of a process: their limit and their metrics. Clones share both.
#[derive(Clone)]
pub struct Streams {
    permits: Arc<Semaphore>,
    of_clients: Option<StreamsOfClients>,
    open: Gauge,
    refused: Counter,
}

/// The right to serve a stream. Dropping it ends the stream in the metrics.
pub struct StreamPermit {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
    counted: Option<Counted>,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A body with the permit of its stream.
struct HeldBody {
    body: Body,
    _permit: StreamPermit,
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl StreamPermit {
    fn counted(mut self, counted: Option<Counted>) -> Self {
        self.counted = counted;
        self
    }

    /// Returns `body`, which keeps the permit as long as it is read.
    pub fn held_by(self, body: Body) -> Body {
        Body::new(HeldBody { body, _permit: self })
    }
}

impl Streams {
    /// Returns the streams of a process, and registers their metrics.
    pub fn new(limit: StreamsLimit, metrics: &Metrics) -> Self {
        let max = limit.streams_max.min(Semaphore::MAX_PERMITS);
        let (open, refused) = (Gauge::default(), Counter::default());
        metrics.register("event_streams_open", "Event streams that are open", open.clone());
        metrics.register(
            "event_streams_refused",
            "Event streams refused since too many are open",
            refused.clone(),
        );
        Self { permits: Arc::new(Semaphore::new(max)), of_clients: None, open, refused }
    }

    /// Returns them with a bound on the streams of each client at all `replicas` together, whose metric it registers. `None`
    /// means any number.
    #[must_use]
    pub fn with_max_of_client(
        self,
        max: Option<NonZeroUsize>,
        replicas: Replicas,
        metrics: &Metrics,
    ) -> Self {
        let of_clients = StreamsOfClients::new(max, replicas, metrics);
        Self { of_clients: Some(of_clients), ..self }
    }

    /// Returns the right to serve one more stream to a client.
    ///
    /// # Errors
    /// 429 if they have too many open, and 503 if all together have.
    pub fn enter_as(&self, client: Caller) -> Result<StreamPermit, Problem> {
        let counted = self.of_clients.as_ref().map(|streams| streams.count(client)).transpose()?;
        let permit = self.enter()?;
        Ok(permit.counted(counted.flatten()))
    }

    /// Returns the right to serve one more stream.
    ///
    /// # Errors
    /// 503 if too many are open.
    pub fn enter(&self) -> Result<StreamPermit, Problem> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.refused.inc();
            let text = Text::fixed(
                "too many event streams are open; read the list instead, or try again later",
                "열려 있는 실시간 연결이 너무 많습니다. 목록을 조회하거나 잠시 후 다시 시도해 주세요",
            );
            return Err(Problem::new(kind::UNAVAILABLE, text).retry_after(RETRY_AFTER_SECONDS));
        };
        self.open.inc();
        Ok(StreamPermit { open: self.open.clone(), _permit: permit, counted: None })
    }
}

/// Returns the id of the last event that the client has seen, if it says so.
pub fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(LAST_EVENT_ID)?.to_str().ok()?;
    (!id.is_empty()).then_some(id)
}

/// Appends an event to `text`. None of the values has a line break.
pub fn write_event(text: &mut String, id: &str, event: &str, data: &str) {
    let _ = write!(text, "id: {id}\nevent: {event}\ndata: {data}\n\n");
}

/// Returns the event that tells a client to forget what it has: what follows does not continue it.
pub fn reset() -> String {
    RESET.to_owned()
}

/// Returns a response that sends `first` and then each of `frames`, which are whole events.
///
/// While there are none it sends what `heartbeat` returns, which is whole lines of a comment. When the sender of `frames` is
/// gone, the client was too slow: it gets a `reset`, and the stream ends. `expires` is that of the token that opened it, about
/// when the stream ends between two events: the client connects again with the id of the last one, and misses nothing.
pub fn event_stream(
    permit: StreamPermit,
    expires: Option<SystemTime>,
    first: &str,
    frames: Receiver<Bytes>,
    heartbeat: impl Fn() -> String + Send + Sync + 'static,
) -> Response {
    let retry = RECONNECT_MIN_MS + Uuid::new_v4().as_u128() % RECONNECT_SPREAD_MS;
    let first = Some(Bytes::from(format!("retry: {retry}\n\n{first}")));
    let ends = expires.map(|expires| Instant::now() + life(expires));
    let source = Source { first, frames, heartbeat, ends, ended: false, _permit: permit };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")), // nginx
    ];
    (headers, Body::from_stream(stream::unfold(source, Source::next))).into_response()
}

/// What a stream sends.
struct Source<H> {
    first: Option<Bytes>,
    frames: Receiver<Bytes>,
    heartbeat: H,
    /// When it ends, if a token opened it.
    ends: Option<Instant>,
    ended: bool,
    _permit: StreamPermit,
}

impl<H: Fn() -> String> Source<H> {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.ended {
            return None;
        }
        let sent = match self.first.take() {
            Some(first) => first,
            None if self.is_over() => self.goodbye(),
            None => match timeout(self.next_heartbeat(), self.frames.recv()).await {
                Ok(Some(frame)) => self.gathered(frame),
                Ok(None) => {
                    self.ended = true;
                    Bytes::from_static(RESET.as_bytes())
                }
                Err(_) if self.is_over() => self.goodbye(),
                Err(_) => {
                    // First the heartbeat, which may say up to where the client has everything: no frame may come between.
                    let heartbeat = (self.heartbeat)();
                    match self.frames.try_recv() {
                        Ok(frame) => self.gathered(frame),
                        Err(_) => heartbeat.into(),
                    }
                }
            },
        };
        Some((Ok(sent), self))
    }

    /// Returns after how long without a frame something is sent.
    fn next_heartbeat(&self) -> Duration {
        let left = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        left.map_or(STREAM_HEARTBEAT, |left| left.min(STREAM_HEARTBEAT))
    }

    /// Returns true if the token has to be checked again, for which the client connects again.
    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }

    /// Ends the stream. What waits comes on the next connection.
    fn goodbye(&mut self) -> Bytes {
        self.ended = true;
        Bytes::from_static(GOODBYE)
    }

    /// Returns `frame` with those that wait behind it.
    fn gathered(&mut self, frame: Bytes) -> Bytes {
        let Ok(next) = self.frames.try_recv() else { return frame };
        let mut all = BytesMut::from(&frame[..]);
        all.extend_from_slice(&next);
        while all.len() < GATHERED_BYTES
            && let Ok(next) = self.frames.try_recv()
        {
            all.extend_from_slice(&next);
        }
        all.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    /// Returns what a stream sends whose client is told something each second for `seconds`.
    async fn sent(expires: Option<SystemTime>, seconds: u64) -> (String, Duration) {
        let began = Instant::now();
        let streams = Streams::new(StreamsLimit::default(), &Metrics::default());
        let (sender, frames) = mpsc::channel(32);
        let telling = tokio::spawn(async move {
            for _ in 0..seconds {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if sender.send(Bytes::from_static(b"data: 1\n\n")).await.is_err() {
                    return;
                }
            }
        });
        let permit = streams.enter().unwrap();
        let response = event_stream(permit, expires, "", frames, || ": heartbeat\n\n".into());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let took = began.elapsed();
        telling.await.unwrap();
        (String::from_utf8(body.to_vec()).unwrap(), took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_about_when_its_token_expires_however_much_it_tells() {
        let expires = SystemTime::now() + Duration::from_mins(1);
        let (text, took) = sent(Some(expires), 1_000).await;
        assert!((59..=91).contains(&took.as_secs()), "{took:?}");
        assert!(text.ends_with("data: 1\n\nretry: 500\n\n"), "{text}");
        assert!(!text.contains("reset"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_a_token_goes_on() {
        let (text, took) = sent(None, 1_000).await;
        assert_eq!(took.as_secs(), 1_000, "it ended with its teller");
        assert!(text.ends_with(RESET), "{text}");
    }
}
