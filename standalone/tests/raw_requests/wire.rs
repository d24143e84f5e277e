//! Sends bytes to a server, and reads its answers.

use serde_json::Value;
use std::fmt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bound for an answer: more than the server waits for a head.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head in lower case.
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Answer {
    /// Returns the value of a header in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(named, _)| *named == name).map(|(_, value)| value)
    }
}

/// Sends `text`, closes the sending side if `half_close`, and reads one answer.
pub(crate) async fn ask(base: &str, text: &str, half_close: bool) -> Answer {
    let read = read(base, text, half_close, true).await;
    answer(&read).unwrap_or_else(|| panic!("no answer: {read:?}"))
}

/// Sends `text` and reads until the server closes.
pub(crate) async fn exchange(base: &str, text: &str, half_close: bool) -> String {
    read(base, text, half_close, false).await
}

async fn read(base: &str, text: &str, half_close: bool, one: bool) -> String {
    let addr = base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        // The server may answer and close before it has read all.
        let _ = writer.write_all(text.as_bytes()).await;
        if half_close {
            let _ = writer.shutdown().await;
        }
        std::future::pending::<()>().await;
    };
    let receive = async {
        let (mut all, mut piece) = (Vec::new(), vec![0; 65_536]);
        while let Ok(read @ 1..) = reader.read(&mut piece).await {
            all.extend_from_slice(&piece[..read]);
            if one && answer(&String::from_utf8_lossy(&all)).is_some() {
                break;
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    };
    tokio::select! {
        () = send => unreachable!("it never ends"),
        read = timeout(ANSWER_TIMEOUT, receive) => read.expect("the server closes"),
    }
}

/// Returns the answer at the start of `read`, if it is complete.
fn answer(read: &str) -> Option<Answer> {
    let (head, body) = read.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(Some(0), |length| length.parse().ok())?;
    let body = serde_json::from_str(body.get(..length)?).unwrap_or_default();
    Some(Answer { status, head, body })
}

/// A request, and the refusal that it must get.
#[derive(Clone)]
pub(crate) struct Raw {
    sent: String,
    status: u16,
    slug: &'static str,
    half_closed: bool,
}

impl Raw {
    pub(crate) fn new(sent: String, status: u16, slug: &'static str) -> Self {
        Self { sent, status, slug, half_closed: false }
    }

    pub(crate) fn half_closed(self) -> Self {
        Self { half_closed: true, ..self }
    }

    /// Returns the same request with another path.
    pub(crate) fn at(self, path: &str, other: &str) -> Self {
        Self { sent: self.sent.replace(path, other), ..self }
    }

    /// Sends it, and returns what is wrong with the refusal, if anything.
    pub(crate) async fn fault(&self, base: &str, public: bool) -> Option<String> {
        let answer = ask(base, &self.sent, self.half_closed).await;
        let kind = format!("/problems/{}", self.slug);
        let whole = (answer.status, &answer.body["type"], &answer.body["status"])
            == (self.status, &Value::from(kind), &Value::from(self.status));
        let content = answer.header("content-type") == Some("application/problem+json");
        // The id is known if its header was sent within the part of the head that the server keeps.
        let id = answer.header("x-request-id").unwrap_or_default();
        let known = self.sent.find("X-Request-Id: mine\r\n").is_some_and(|at| at < 12_000);
        let named = if known { id == "mine" } else { !id.is_empty() };
        let open = answer.header("access-control-allow-origin") == Some("*");
        let shown = open == public;
        let allowed = self.status != 405 || answer.header("allow").is_some();
        let readable = self.slug != "unsupported-encoding"
            || answer.header("accept-encoding") == Some("identity");
        let good = whole && content && named && shown && allowed && readable;
        (!good).then(|| format!("{}\n{}", answer.head, answer.body))
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent: String = self.sent.chars().take(120).collect();
        write!(f, "{sent:?} expects {} {}, got", self.status, self.slug)
    }
}
