//! The connection of a client, with what hyper does not report: the end of the client, and hyper's own responses.

use crate::http::transport::Transport;
use axum::http::StatusCode;
use socket2::SockRef;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

/// How long a request continues after its client closed its sending side. The client may still wait for the response (`nc -N`),
/// or it may be gone: TCP does not show the difference.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(2);
/// Upper bound for the bytes that [`Socket::recent`] keeps.
const RECENT_BYTES_MAX: usize = 16 * 1024;

/// A shared handle of a connection. Only one task uses it, so the lock is never contended.
#[derive(Clone)]
pub(super) struct Stream(Arc<Mutex<Transport>>);

impl Stream {
    pub(super) fn new(transport: Transport) -> Self {
        Self(Arc::new(Mutex::new(transport)))
    }

    fn lock(&self) -> MutexGuard<'_, Transport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the client has disconnected: until it resets the connection, or for [`HALF_CLOSE_GRACE`] after it closed its
    /// sending side.
    ///
    /// Never resolves if the client has sent more than its request: the end of the stream is behind those bytes.
    pub(super) async fn disconnected(&self) {
        let reset = poll_fn(|context| match ready!(self.lock().poll_peek(context)) {
            Ok(0) => Poll::Ready(false),
            Ok(_) => Poll::Pending,
            Err(_) => Poll::Ready(true),
        });
        if !reset.await {
            sleep(HALF_CLOSE_GRACE).await;
        }
    }

    /// Closes the sending side.
    pub(super) async fn shut_down(&self) -> io::Result<()> {
        poll_fn(|context| Pin::new(&mut *self.lock()).poll_shutdown(context)).await
    }

    /// Makes the connection end with a reset, so that the client notices that the response is truncated.
    pub(super) fn reset(&self) -> io::Result<()> {
        SockRef::from(self.lock().tcp()).set_linger(Some(Duration::ZERO))
    }
}

/// The stream that hyper reads and writes.
///
/// hyper responds by itself, with an empty body, to a request that it cannot parse, and has no hook for it. This type
/// recognises such a response and withholds it, so that a problem can be sent in its place.
pub(super) struct Socket {
    stream: Stream,
    recent: Vec<u8>,
    withheld: Option<StatusCode>,
}

impl Socket {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, recent: Vec::new(), withheld: None }
    }

    /// Returns the first [`RECENT_BYTES_MAX`] bytes that were read since the last write. For a request that hyper could not parse
    /// this is its head, unless the client sends requests without waiting for responses.
    pub(super) fn recent(&self) -> &[u8] {
        &self.recent
    }

    /// Returns the status of the response that was withheld.
    pub(super) fn withheld(&self) -> Option<StatusCode> {
        self.withheld
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *self.stream.lock()).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        let room = RECENT_BYTES_MAX.saturating_sub(self.recent.len());
        self.recent.extend_from_slice(&read[..read.len().min(room)]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = match find_hyper_response(bytes) {
            Some((0, status)) => {
                self.withheld = Some(status);
                return Poll::Ready(Ok(bytes.len()));
            }
            Some((start, _)) => &bytes[..start], // the response before it; hyper writes the rest again
            None => bytes,
        };
        if self.recent.len() > RECENT_BYTES_MAX / 4 {
            self.recent = Vec::new(); // free the memory of a body: there are thousands of connections
        }
        self.recent.clear();
        Pin::new(&mut *self.stream.lock()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_flush(context)
    }

    /// Does nothing: hyper shuts down before it returns its error, and we may send a response after that.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Returns the position and the status of a response that hyper made by itself, if `bytes` ends with one.
///
/// Such a response has no headers but `connection`, `content-length: 0` and `date`. All of ours have more.
fn find_hyper_response(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    /// More than the size of such a response.
    const HYPER_RESPONSE_BYTES_MAX: usize = 200;
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = &bytes[bytes.len().saturating_sub(HYPER_RESPONSE_BYTES_MAX)..];
    let version = b"HTTP/1.";
    let start = tail.windows(version.len()).rposition(|window| window == version)?;
    let mut lines = std::str::from_utf8(&tail[start..]).ok()?.split("\r\n");
    let status: StatusCode = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let is_of_hyper = |line: &str| {
        line.is_empty()
            || ["connection: ", "content-length: 0", "date: "]
                .iter()
                .any(|header| line.starts_with(header))
    };
    (status.is_client_error() && lines.all(is_of_hyper))
        .then_some((bytes.len() - tail.len() + start, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_HYPER: &str = "HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\
                            date: Fri, 27 Nov 2026 14:00:00 GMT\r\n\r\n";
    const OURS: &str = "HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n";

    #[test]
    fn only_responses_of_hyper_itself_are_recognised() {
        let position =
            |bytes: &str| find_hyper_response(bytes.as_bytes()).map(|(position, _)| position);
        assert_eq!(find_hyper_response(BY_HYPER.as_bytes()), Some((0, StatusCode::URI_TOO_LONG)));
        assert_eq!(position(&format!("{OURS}{BY_HYPER}")), Some(OURS.len()));
        assert_eq!(position(&format!("{}{BY_HYPER}", "x".repeat(5_000))), Some(5_000));
        for other in [
            "",
            "\r\n\r\n",
            OURS,
            &format!("{BY_HYPER}{OURS}"),
            &BY_HYPER[..BY_HYPER.len() - 1],
            "HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 four\r\n\r\n",
        ] {
            assert_eq!(position(other), None, "{other}");
        }
    }
}
