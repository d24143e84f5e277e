//! A server that is called in its process, without a connection.

use crate::http::connection;
use crate::http::peer::PeerAddr;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, Request, StatusCode, Uri};
use axum::response::Response;
use std::net::SocketAddr;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

/// The routes of a server in this process. A call is to them as a request over a connection: only what HTTP carries gets there and
/// back, and who drops the call has disconnected.
#[derive(Clone, Debug)]
pub struct LocalServer {
    routes: Router,
    /// The value of `Host`.
    host: HeaderValue,
    peer: PeerAddr,
}

impl LocalServer {
    /// Returns the server with these routes, which listens at `addr`.
    pub(crate) fn new(routes: Router, addr: SocketAddr) -> Self {
        let host = HeaderValue::try_from(addr.to_string());
        Self { routes, host: host.expect("an address is visible ASCII"), peer: PeerAddr(addr) }
    }

    /// Returns the response to `request`, of which method, path with query, headers and body count. The peer is the server's own
    /// address. A large or slow body is read as over a connection.
    ///
    /// # Errors
    /// The server panicked outside of its handlers, or the process ends.
    pub async fn call(&self, request: Request<Body>) -> Result<Response, JoinError> {
        let (head, body) = request.into_parts();
        let method = head.method.clone();
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() =
            head.uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
        *request.headers_mut() = head.headers;
        request.headers_mut().insert(header::HOST, self.host.clone());
        request.extensions_mut().insert(self.peer);
        // A task of its own: it has its own trace, patience and log fields.
        let called = tokio::spawn(self.routes.clone().oneshot(request));
        let Ok(response) = AbortOnDropHandle::new(called).await?;
        let mut response = connection::finished(response);
        response.extensions_mut().clear();
        Ok(written(&method, response))
    }
}

/// Returns a response as a connection carries it: with its length if that is known, and to `HEAD` without a body.
fn written(method: &Method, mut response: Response) -> Response {
    let is_head = method == Method::HEAD;
    let has_length =
        ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    match response.body().size_hint().exact() {
        // The empty body of a response to HEAD says nothing of the resource.
        Some(0) if is_head => {}
        Some(length) if has_length => {
            response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
        }
        _ => {}
    }
    if is_head {
        *response.body_mut() = Body::empty();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::patience;
    use axum::extract::Extension;
    use axum::http::HeaderMap;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use std::sync::Arc;
    use std::time::Duration;
    use std::{future, io};
    use tokio::sync::Notify;
    use tokio::time::{Instant, timeout};

    fn server(routes: Router) -> LocalServer {
        LocalServer::new(routes, ([127, 0, 0, 1], 80).into())
    }

    fn request() -> Request<Body> {
        Request::get("http://elsewhere/a?b=c").header("x-a", "b").body(Body::empty()).unwrap()
    }

    #[derive(Clone)]
    struct Secret;

    /// Tells when it is dropped.
    struct Notifies(Arc<Notify>);

    impl Drop for Notifies {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    #[tokio::test]
    async fn only_what_http_carries_gets_there_and_back() {
        let routes = Router::new().route(
            "/a",
            get(async |secret: Option<Extension<Secret>>, uri: Uri, headers: HeaderMap| {
                assert!(secret.is_none(), "an extension came through");
                let patience_left = patience::left();
                (Extension(Secret), format!("{uri} {headers:?} {patience_left:?}"))
            }),
        );
        let mut request = request();
        request.extensions_mut().insert(Secret);
        let outside = patience::left();
        let until = Instant::now() + Duration::from_millis(7);
        let response = patience::with(until, server(routes).call(request)).await.unwrap();
        assert!(response.extensions().get::<Secret>().is_none());
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(text.starts_with("/a?b=c "), "{text}");
        assert!(text.contains(r#""x-a": "b""#) && text.contains("127.0.0.1:80"), "{text}");
        assert!(
            text.ends_with(&format!("{outside:?}")),
            "the caller's patience came through: {text}"
        );
    }

    #[tokio::test]
    async fn who_drops_a_call_has_disconnected() {
        let dropped = Arc::new(Notify::new());
        let on_drop = Arc::clone(&dropped);
        let handler = get(async move || {
            let _notifies = Notifies(on_drop);
            future::pending::<StatusCode>().await
        });
        let server = server(Router::new().route("/a", handler));
        let late = timeout(Duration::from_millis(50), server.call(request())).await;
        assert!(late.is_err());
        timeout(Duration::from_secs(5), dropped.notified()).await.expect("the handler goes on");
    }

    #[test]
    fn a_response_has_the_length_and_the_body_that_a_connection_carries() {
        let streamed =
            || Body::from_stream(futures_util::stream::pending::<Result<&str, io::Error>>());
        let (ok, empty) = (StatusCode::OK, Some(0));
        for (method, status, body, length, left) in [
            (Method::GET, ok, Body::from("text"), Some("4"), Some(4)),
            (Method::GET, ok, Body::empty(), Some("0"), empty),
            (Method::GET, ok, streamed(), None, None),
            (Method::HEAD, StatusCode::NOT_FOUND, Body::from("text"), Some("4"), empty),
            (Method::HEAD, ok, streamed(), None, empty),
            (Method::HEAD, ok, Body::empty(), None, empty),
            (Method::GET, StatusCode::NOT_MODIFIED, Body::empty(), None, empty),
            (Method::GET, StatusCode::NO_CONTENT, Body::empty(), None, empty),
        ] {
            let case = format!("{method} {status} {body:?}");
            let response = written(&method, (status, body).into_response());
            let has = response.headers().get(header::CONTENT_LENGTH);
            assert_eq!(has.map(HeaderValue::as_bytes), length.map(str::as_bytes), "{case}");
            assert_eq!(response.body().size_hint().exact(), left, "{case}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_finished_as_over_a_connection() {
        let routes = Router::new().route("/b", get(async || ()).post(async || ()));
        let post = Request::put("/b").body(Body::empty()).unwrap();
        let response = server(routes).call(post).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD,POST,OPTIONS");
    }
}
