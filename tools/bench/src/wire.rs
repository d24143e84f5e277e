//! A minimal HTTP client. It does little work, because it shares the cores with what it measures.

use anyhow::{Context, bail};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A persistent connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether the server closes the connection after it.
    pub(crate) closes: bool,
}

/// How the end of a body is found.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

/// Returns the bytes of a request.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Returns the bytes of a request with a token.
pub(crate) fn authorized(mut request: Vec<u8>, token: &str) -> Vec<u8> {
    let head = request.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let header = format!("authorization: Bearer {token}\r\n");
    request.splice(head..head, header.into_bytes());
    request
}

impl Wire {
    /// Connects to a server.
    pub(crate) async fn to(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let end = self.find(b"\r\n\r\n", 0).await? + 4;
        let (status, framing, closes) = head(std::str::from_utf8(&self.buffer[..end])?)?;
        let body = match framing {
            Framing::Length(length) => {
                self.fill(end + length).await?;
                self.buffer[end..end + length].to_vec()
            }
            Framing::Chunked => self.chunks(end).await?,
        };
        Ok(Answer { status, body, closes })
    }

    /// Reads a chunked body that begins at `from`, with its trailers.
    async fn chunks(&mut self, mut from: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = self.find(b"\r\n", from).await?;
            let size = std::str::from_utf8(&self.buffer[from..end])?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).context("a chunk has no size")?;
            if size == 0 {
                self.find(b"\r\n\r\n", end).await?;
                return Ok(body);
            }
            let data = end + 2;
            self.fill(data + size + 2).await?;
            body.extend_from_slice(&self.buffer[data..data + size]);
            from = data + size + 2;
        }
    }

    /// Reads until `wanted` is in the buffer at `from` or later, and returns where.
    async fn find(&mut self, wanted: &[u8], from: usize) -> anyhow::Result<usize> {
        loop {
            let found = self
                .buffer
                .get(from..)
                .and_then(|rest| rest.windows(wanted.len()).position(|window| window == wanted));
            match found {
                Some(position) => return Ok(from + position),
                None => self.more().await?,
            }
        }
    }

    /// Reads until the buffer has `length` bytes.
    async fn fill(&mut self, length: usize) -> anyhow::Result<()> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(())
    }

    /// Reads further bytes into the buffer.
    async fn more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }
}

/// Returns the status of an answer, how its body ends, and whether the server closes the connection.
fn head(text: &str) -> anyhow::Result<(u16, Framing, bool)> {
    let status = text.get(9..12).and_then(|code| code.parse().ok()).context("no status")?;
    let header = |wanted: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let is =
        |name, wanted: &str| header(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
    let framing = match header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => Framing::Length(length),
        None if is("transfer-encoding", "chunked") => Framing::Chunked,
        None if status == 204 => Framing::Length(0),
        None => bail!("an answer without a length: {text}"),
    };
    Ok((status, framing, is("connection", "close")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn the_head_of_an_answer_says_where_its_body_ends() {
        let ours = "HTTP/1.1 201 Created\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(head(ours).unwrap(), (201, Framing::Length(12), false));
        let chunked = "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        assert_eq!(head(chunked).unwrap(), (200, Framing::Chunked, true));
        assert_eq!(head("HTTP/1.1 204 \r\n\r\n").unwrap(), (204, Framing::Length(0), false));
        assert!(head("HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(head("SSH-2.0").is_err());
    }

    #[test]
    fn a_token_is_the_first_header() {
        let request = authorized(request("POST", "/carts", "{}"), "a.b.c");
        let text = String::from_utf8(request).unwrap();
        let expected = "POST /carts HTTP/1.1\r\nauthorization: Bearer a.b.c\r\nhost: shop\r\n";
        assert!(text.starts_with(expected) && text.ends_with("\r\n\r\n{}"), "{text}");
    }

    #[tokio::test]
    async fn chunks_are_put_together() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = async {
            let (mut client, _) = listener.accept().await.unwrap();
            let first = ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nAmer"];
            let rest = ["i\r\n4;x=y\r\ncano\r\n0\r\n", "\r\n"];
            let next = ["HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno"];
            for parts in [[&first[..], &rest].concat(), next.to_vec()] {
                assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
                for part in parts {
                    client.write_all(part.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        };
        let client = async {
            let mut wire = Wire::to(addr).await.unwrap();
            let answer = wire.ask(&request("GET", "/", "")).await.unwrap();
            assert_eq!((answer.status, answer.body), (200, b"Americano".to_vec()));
            let answer = wire.ask(&request("GET", "/", "")).await.unwrap();
            assert_eq!((answer.status, answer.body), (404, b"no".to_vec()));
        };
        tokio::join!(server, client);
    }
}
