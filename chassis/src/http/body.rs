//! Bodies of requests: read whole, within bounds of size and time, before anything else is done for a request.
//!
//! So a client that is slow with its body takes no place from others, its body is not part of the time that its request
//! waits here, and a body that breaks off never is a matter between our processes.

use crate::base::i18n::Text;
use crate::base::limits::BODY_TIMEOUT;
use crate::base::problem::{Problem, kind};
use crate::base::unavailable::Unavailable;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use bytes::BytesMut;
use http_body_util::{BodyExt, Collected};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The most bytes a body may have.
pub(crate) const MOST_BYTES: usize = 64 * 1024;

/// The bytes that the bodies of all requests of a server may take in memory, together.
const ALL_BODIES: usize = 64 * 1024 * 1024;

/// A bound on the memory for the bodies of a server. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory(Arc<Semaphore>);

impl Default for BodyMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL_BODIES)))
    }
}

/// A part of the [`BodyMemory`], given back when it is dropped.
pub(super) type Held = Option<OwnedSemaphorePermit>;

impl BodyMemory {
    /// Returns the request with its body in memory, and what it takes of it. Keep that until the request is answered.
    ///
    /// # Errors
    /// 413 where the body is larger than 64 KiB, 408 where it takes longer than 10 s, 400 where it breaks off, 503 where
    /// the bodies of other requests take all the memory that there is for them.
    pub(super) async fn whole(&self, request: Request) -> Result<(Request, Held), Problem> {
        if http_body::Body::size_hint(request.body()).lower() > MOST_BYTES as u64 {
            return Err(too_large());
        }
        if http_body::Body::is_end_stream(request.body()) {
            return Ok((request, None)); // no body, no timer
        }
        let (parts, body) = request.into_parts();
        let (bytes, held) =
            timeout(BODY_TIMEOUT, self.read(body)).await.map_err(|_| too_slow())??;
        Ok((Request::from_parts(parts, Body::from(bytes)), held))
    }

    /// Copies a body: many small chunks would each keep what they were read with.
    async fn read(&self, mut body: Body) -> Result<(Bytes, Held), Problem> {
        let (mut bytes, mut held) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
            if bytes.len() + data.len() > MOST_BYTES {
                return Err(too_large());
            }
            let more = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let more = Arc::clone(&self.0).try_acquire_many_owned(more);
            let more = more.map_err(|_| Unavailable::Overloaded { at: "bodies" })?;
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.freeze(), held))
    }
}

/// Returns the request without its body, which no route reads: nobody waits for it, and what is said of it goes.
pub(super) fn without(mut request: Request) -> Request {
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONTENT_ENCODING] {
        request.headers_mut().remove(name);
    }
    request.map(|_| Body::empty())
}

/// Returns the bytes of a body that [`BodyMemory::whole`] has read.
pub(super) async fn bytes(body: Body) -> Result<Bytes, Problem> {
    body.collect().await.map(Collected::to_bytes).map_err(|_| broken())
}

fn too_large() -> Problem {
    Problem::new(
        kind::TOO_LARGE,
        Text::fixed("a body may have at most 65536 bytes", "본문은 65536바이트 이하여야 합니다"),
    )
}

fn too_slow() -> Problem {
    Problem::new(
        kind::TOO_SLOW,
        Text::fixed("a body may take 10 s", "본문은 10초 안에 도착해야 합니다"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    fn request(bytes: usize) -> Request {
        Request::new(Body::from(vec![b'x'; bytes]))
    }

    async fn status(memory: &BodyMemory, bytes: usize) -> u16 {
        match memory.whole(request(bytes)).await {
            Ok(_) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[tokio::test]
    async fn the_bodies_of_all_requests_together_are_bounded() {
        let memory = BodyMemory(Arc::new(Semaphore::new(100)));
        let (_, held) = memory.whole(request(80)).await.ok().unwrap();
        assert_eq!(status(&memory, 20).await, 200);
        assert_eq!(status(&memory, 21).await, 503);
        drop(held);
        assert_eq!(status(&memory, 100).await, 200);
        assert_eq!(status(&memory, 0).await, 200);
    }

    #[tokio::test]
    async fn a_body_is_read_as_it_is_up_to_its_bound() {
        let memory = BodyMemory::default();
        let (read, _held) = memory.whole(request(MOST_BYTES)).await.ok().unwrap();
        assert_eq!(bytes(read.into_body()).await.ok().unwrap(), vec![b'x'; MOST_BYTES]);
        assert_eq!(status(&memory, MOST_BYTES + 1).await, 413);
    }
}
