//! One connection of a client: its requests, the refusal of what is none, and its end.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::http::head::{self, HeadLimits, Refused};
use crate::http::request_log::{self, REQUEST_ID};
use crate::http::socket::{Socket, Stream};
use axum::Router;
use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, Request, StatusCode, Uri};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::debug;

/// How long a client may take for the head of a request, also after the one before: longer than
/// [`super::KEPT_ALIVE`], so that our own clients never send into a connection that is being closed.
const HEAD: Duration = Duration::from_secs(15);
/// How long a client may not read what we write.
const WRITE: Duration = Duration::from_secs(30);
/// How long a drain leaves an idle connection open: until its client, if it is one of ours, would not
/// use it again, and as long once more for what it sent last, where the machine has no time.
const LEFT_ALONE: Duration = Duration::from_secs(4);
/// How long, and for how many bytes, a closed connection is read on. A socket that is closed with
/// unread bytes resets the connection, and the client may lose the answer.
const CLOSING: Duration = Duration::from_secs(1);
const CLOSING_BYTES: usize = 4 * 1024 * 1024;
/// Header lines that are looked at of a request that could not be read.
const SALVAGED_LINES: usize = 100;

/// The address of the client, in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddr(pub SocketAddr);

/// The client went away before its request was answered.
#[derive(Debug, thiserror::Error)]
#[error("the client went away")]
struct ClientGone;

type Io = Pin<Box<TimeoutStream<Socket>>>;

/// Serves the requests of a connection until its client or `stop` ends it.
pub(super) async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    router: Router,
    limits: HeadLimits,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let stream = Stream::new(stream);
    let mut io = TimeoutStream::new(Socket::new(stream.clone()));
    io.set_write_timeout(Some(WRITE));
    let (app, watched) = (TowerToHyperService::new(router.clone()), stream.clone());
    let stopping = stop.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddr(client));
        if let Err(problem) = head::check(&mut request) {
            request.extensions_mut().insert(Refused(problem));
        }
        let (answered, watched) = (app.call(request), watched.clone());
        let stopping = stopping.clone();
        async move {
            let mut response = tokio::select! {
                biased;
                Ok(response) = answered => response,
                () = watched.gone() => return Err(ClientGone),
            };
            if response.status() == StatusCode::NOT_FOUND {
                response.headers_mut().remove(header::ALLOW); // the router adds it for a path like this one
            }
            head::allow_options(response.headers_mut());
            response = request_log::name_methods(response);
            if response.status() == StatusCode::NOT_MODIFIED {
                // axum counts the body, which is empty: the header would tell of the item (RFC 9110, 8.6).
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
            if stopping.is_cancelled() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response)
        }
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(limits.lines)
        .max_header_size(limits.bytes)
        .half_close(true) // `Stream::gone` says when a client that closed its side is given up
        .writev(false) // an answer of hyper's own comes in one piece, which `Socket` can recognise
        .serve_connection(TokioIo::new(Box::pin(io)), service);
    let left_alone = async {
        stop.cancelled().await;
        sleep(LEFT_ALONE).await;
    };
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = left_alone => {
            Pin::new(&mut served).graceful_shutdown();
            (&mut served).await
        }
    };
    let parts = served.into_parts();
    let mut io: Io = parts.io.into_inner();
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
        let socket = io.get_ref();
        if let Some(problem) = refusal(&error, limits, socket.held_back(), &parts.read_buf) {
            // hyper has dropped a head that it could parse in part; of a large one it has more.
            let (recent, unread) = (socket.recent(), &parts.read_buf[..]);
            let head = if unread.len() > recent.len() { unread } else { recent };
            let mut request = salvaged(head);
            request.extensions_mut().insert(PeerAddr(client));
            request.extensions_mut().insert(Refused(problem));
            answer(&mut io, request, router).await;
        } else if error.is_user() {
            let _ = stream.reset(); // an answer broke off, or its client is gone
            return;
        }
    }
    close(&stream, &mut io).await;
}

/// The refusal of what hyper could not read as a request; none where the client sent no byte of one, or
/// where the connection ended for another reason.
fn refusal(
    error: &hyper::Error,
    limits: HeadLimits,
    held_back: Option<StatusCode>,
    unread: &[u8],
) -> Option<Problem> {
    let malformed =
        |en: String, ko: &'static str| Some(Problem::new(kind::MALFORMED, Text::new(en, ko)));
    if error.is_timeout() && !unread.is_empty() {
        return Some(Problem::new(
            kind::TOO_SLOW,
            Text::fixed(
                "the head of a request may take 15 s",
                "요청 헤더는 15초 안에 도착해야 합니다",
            ),
        ));
    }
    if error.is_incomplete_message() && !unread.is_empty() {
        let en = "the request broke off before the end of its head";
        return malformed(en.into(), "요청 헤더가 끝까지 도착하지 않았습니다");
    }
    if !error.is_parse() {
        return None;
    }
    let line = unread.iter().position(|byte| *byte == b'\n').unwrap_or(unread.len());
    match held_back.map(|status| status.as_u16()) {
        Some(414 | 431) if line > head::URI_BYTES => Some(head::uri_too_long()),
        Some(414) => Some(head::uri_too_long()),
        Some(431) => Some(head::headers_too_large(limits)),
        _ => {
            let (en, ko) = unreadable(&error.to_string());
            malformed(en, ko)
        }
    }
}

/// Says what hyper could not read, from its words: it tells in no other way.
fn unreadable(error: &str) -> (String, &'static str) {
    let (en, ko) = match error {
        "invalid URI" => (
            "the path or its query has a character that must be escaped, as \" is by %22",
            "경로나 쿼리에 쓸 수 없는 문자가 있습니다. \"는 %22처럼 퍼센트 인코딩해 주세요",
        ),
        "invalid HTTP header parsed" => (
            "a header line cannot be read; each is NAME: VALUE",
            "읽을 수 없는 헤더가 있습니다. 이름: 값 형식이어야 합니다",
        ),
        "invalid HTTP version parsed" => (
            "the first line of a request is METHOD PATH HTTP/1.1",
            "요청의 첫 줄은 METHOD PATH HTTP/1.1 형식이어야 합니다",
        ),
        _ => return (format!("this is not HTTP/1.1: {error}"), "HTTP/1.1 요청이 아닙니다"),
    };
    (en.to_owned(), ko)
}

/// A request with what the layers need of one that could not be parsed: whose answer a page may read,
/// its language and its id.
fn salvaged(head: &[u8]) -> Request<Body> {
    let wanted = [header::ORIGIN, header::ACCEPT_LANGUAGE, REQUEST_ID];
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path_of(head).unwrap_or(Uri::from_static("*"));
    if head.starts_with(b"HEAD ") {
        *request.method_mut() = Method::HEAD;
    }
    for line in head.split(|byte| *byte == b'\n').skip(1).take(SALVAGED_LINES) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |wanted: &&HeaderName| name.eq_ignore_ascii_case(wanted.as_str().as_bytes());
        let name = wanted.iter().find(is);
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            request.headers_mut().append(name, value);
        }
    }
    request
}

/// Returns the path in the first line of a head, where there is one.
fn path_of(head: &[u8]) -> Option<Uri> {
    let line = head.split(|byte| *byte == b'\n').next().filter(|line| line.len() < head.len())?;
    let target = std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?;
    let path = target.split(['?', '#']).next().filter(|path| path.starts_with('/'))?;
    Uri::builder().path_and_query(path).build().ok()
}

/// Answers `request` on a connection that hyper has given up.
async fn answer(io: &mut Io, request: Request<Body>, router: Router) {
    let bodiless = request.method() == Method::HEAD;
    let Ok(response) = router.oneshot(request).await;
    let Some(bytes) = written(response, bodiless).await else { return };
    if let Err(error) = io.write_all(&bytes).await {
        debug!(%error, "a refusal could not be written");
    }
}

/// The bytes of an answer after which the connection is closed.
async fn written(response: Response, bodiless: bool) -> Option<Vec<u8>> {
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    // For HEAD the router has taken the body away, and said how long it was.
    parts.headers.entry(header::CONTENT_LENGTH).or_insert(body.len().into());
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    parts.headers.extend(HeaderValue::from_str(&date).ok().map(|date| (header::DATE, date)));
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    if !bodiless {
        bytes.extend(body);
    }
    Some(bytes)
}

/// Closes a connection so that its client can read what was written.
async fn close(stream: &Stream, io: &mut Io) {
    if stream.shut_down().is_err() {
        return;
    }
    let read_on = async {
        let (mut piece, mut all) = (vec![0; 16 * 1024], 0);
        while let Ok(read @ 1..) = io.read(&mut piece).await {
            all += read;
            if all > CLOSING_BYTES {
                break;
            }
        }
    };
    let _ = timeout(CLOSING, read_on).await;
}
