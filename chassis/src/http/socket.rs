//! The connection of a client as hyper reads and writes it, and what hyper does not tell us of it.

use axum::http::StatusCode;
use socket2::SockRef;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How long a request goes on after its client closed its sending side. The client may have closed
/// only that side and still wait (`nc -N`), or it may be gone: TCP tells neither from the other.
const HALF_CLOSED: Duration = Duration::from_secs(2);
/// The bytes of a head that are kept for [`Socket::recent`].
const RECENT_BYTES: usize = 16 * 1024;

/// A shared handle of a TCP connection. One task uses it, so that the lock is never contended.
#[derive(Clone)]
pub(super) struct Stream(Arc<Mutex<TcpStream>>);

impl Stream {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    fn lock(&self) -> MutexGuard<'_, TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the client is gone: at once where it reset the connection, after
    /// [`HALF_CLOSED`] where it closed its sending side.
    ///
    /// A client that has sent more than its request is not watched: its end is behind those bytes.
    pub(super) async fn gone(&self) {
        let reset = poll_fn(|context| {
            let (stream, mut byte) = (self.lock(), [0]);
            match ready!(stream.poll_peek(context, &mut ReadBuf::new(&mut byte))) {
                Ok(0) => Poll::Ready(false),
                Ok(_) => Poll::Pending,
                Err(_) => Poll::Ready(true),
            }
        });
        if !reset.await {
            sleep(HALF_CLOSED).await;
        }
    }

    /// Closes the sending side.
    pub(super) fn shut_down(&self) -> io::Result<()> {
        SockRef::from(&*self.lock()).shutdown(Shutdown::Write)
    }

    /// Has the connection end with a reset, so that half an answer is not taken for a whole one.
    pub(super) fn reset(&self) -> io::Result<()> {
        SockRef::from(&*self.lock()).set_linger(Some(Duration::ZERO))
    }
}

/// What hyper reads from and writes to.
///
/// hyper answers what it cannot parse by itself, with an empty body, and has no hook for that. Here such
/// an answer is recognised and held back, for ours to be written in its place.
pub(super) struct Socket {
    stream: Stream,
    recent: Vec<u8>,
    held_back: Option<StatusCode>,
}

impl Socket {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, recent: Vec::new(), held_back: None }
    }

    /// What was read since something was last written, the first [`RECENT_BYTES`] of it: the head of
    /// the request that hyper could not parse, unless its client sends requests without waiting.
    pub(super) fn recent(&self) -> &[u8] {
        &self.recent
    }

    /// The status of the answer that hyper gave by itself, and that was held back.
    pub(super) fn held_back(&self) -> Option<StatusCode> {
        self.held_back
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
        let room = RECENT_BYTES.saturating_sub(self.recent.len());
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
        let bytes = match answer_of_hyper(bytes) {
            Some((0, status)) => {
                self.held_back = Some(status);
                return Poll::Ready(Ok(bytes.len()));
            }
            Some((start, _)) => &bytes[..start], // the answer before it; the rest comes again
            None => bytes,
        };
        if self.recent.len() > RECENT_BYTES / 4 {
            self.recent = Vec::new(); // a body went by; thousands of connections keep this
        }
        self.recent.clear();
        Pin::new(&mut *self.stream.lock()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Does nothing: hyper shuts down before it tells why, and we may have an answer yet to write.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Where an answer that hyper gave by itself starts in `bytes`, at whose end it must be, and its status.
///
/// Such an answer has nothing but `connection`, `content-length: 0` and `date`. All of ours have more.
fn answer_of_hyper(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    /// More than the answer of hyper has.
    const LONGEST: usize = 200;
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = &bytes[bytes.len().saturating_sub(LONGEST)..];
    let version = b"HTTP/1.";
    let at = tail.windows(version.len()).rposition(|window| window == version)?;
    let mut lines = std::str::from_utf8(&tail[at..]).ok()?.split("\r\n");
    let status: StatusCode = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let of_hyper = |line: &str| {
        line.is_empty()
            || ["connection: ", "content-length: 0", "date: "]
                .iter()
                .any(|start| line.starts_with(start))
    };
    (status.is_client_error() && lines.all(of_hyper))
        .then_some((bytes.len() - tail.len() + at, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_HYPER: &str = "HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\
                            date: Fri, 27 Nov 2026 14:00:00 GMT\r\n\r\n";
    const OURS: &str = "HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n";

    #[test]
    fn only_the_answers_that_hyper_gives_by_itself_are_recognised() {
        let at = |bytes: &str| answer_of_hyper(bytes.as_bytes()).map(|(at, _)| at);
        assert_eq!(answer_of_hyper(BY_HYPER.as_bytes()), Some((0, StatusCode::URI_TOO_LONG)));
        assert_eq!(at(&format!("{OURS}{BY_HYPER}")), Some(OURS.len()));
        assert_eq!(at(&format!("{}{BY_HYPER}", "x".repeat(5_000))), Some(5_000));
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
            assert_eq!(at(other), None, "{other}");
        }
    }
}
