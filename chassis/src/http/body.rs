//! Request bodies. A server reads a body completely, within bounds of size and time, before it handles the request.
//!
//! So a slow client takes no place in a queue, the time for the body is no part of the patience, and a broken body never
//! reaches another process of the shop.

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

/// Upper bound for a body.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Upper bound for the bytes of all bodies in the memory of a server.
const BODY_MEMORY_MAX: usize = 64 * 1024 * 1024;

/// The memory for the bodies of a server. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory(Arc<Semaphore>);

impl Default for BodyMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODY_MEMORY_MAX)))
    }
}

/// A part of [`BodyMemory`], which is free again when it is dropped.
pub(super) type MemoryPermit = Option<OwnedSemaphorePermit>;

impl BodyMemory {
    /// Returns the request with its body in memory. The caller keeps the permit until the response.
    ///
    /// # Errors
    /// 413 if the body is larger than [`BODY_BYTES_MAX`], 408 if it takes longer than [`BODY_TIMEOUT`], 400 if it breaks off,
    /// 503 if the bodies of other requests take all memory.
    pub(super) async fn read(&self, request: Request) -> Result<(Request, MemoryPermit), Problem> {
        if http_body::Body::size_hint(request.body()).lower() > BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        if http_body::Body::is_end_stream(request.body()) {
            return Ok((request, None)); // no body, no timer
        }
        let (parts, body) = request.into_parts();
        let (bytes, permit) =
            timeout(BODY_TIMEOUT, self.collect(body)).await.map_err(|_| too_slow())??;
        Ok((Request::from_parts(parts, Body::from(bytes)), permit))
    }

    /// Copies a body into one buffer. Each of many small chunks would keep its whole read buffer.
    async fn collect(&self, mut body: Body) -> Result<(Bytes, MemoryPermit), Problem> {
        let (mut bytes, mut permit) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                return Err(too_large());
            }
            let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let more = Arc::clone(&self.0).try_acquire_many_owned(size);
            let more = more.map_err(|_| Unavailable::Overloaded { at: "bodies" })?;
            match &mut permit {
                Some(permit) => permit.merge(more),
                None => permit = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.freeze(), permit))
    }
}

/// Returns the request without its body and the headers about it, for a route that does not read the body.
pub(super) fn remove(mut request: Request) -> Request {
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONTENT_ENCODING] {
        request.headers_mut().remove(name);
    }
    request.map(|_| Body::empty())
}

/// Returns the bytes of a body that [`BodyMemory::read`] has read.
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
        match memory.read(request(bytes)).await {
            Ok(_) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[tokio::test]
    async fn the_memory_for_all_bodies_is_bounded() {
        let memory = BodyMemory(Arc::new(Semaphore::new(100)));
        let (_, permit) = memory.read(request(80)).await.ok().unwrap();
        assert_eq!(status(&memory, 20).await, 200);
        assert_eq!(status(&memory, 21).await, 503);
        drop(permit);
        assert_eq!(status(&memory, 100).await, 200);
        assert_eq!(status(&memory, 0).await, 200);
    }

    #[tokio::test]
    async fn a_body_is_read_unchanged_up_to_the_bound() {
        let memory = BodyMemory::default();
        let (read, _permit) = memory.read(request(BODY_BYTES_MAX)).await.ok().unwrap();
        assert_eq!(bytes(read.into_body()).await.ok().unwrap(), vec![b'x'; BODY_BYTES_MAX]);
        assert_eq!(status(&memory, BODY_BYTES_MAX + 1).await, 413);
    }
}
