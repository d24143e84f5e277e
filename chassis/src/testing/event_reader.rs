//! A client of server-sent events.

use reqwest::{Client, Response, header};
use serde_json::Value;

/// The client of an event stream. It connects once.
pub struct EventReader {
    response: Response,
    unread: Vec<u8>,
    /// The bytes of `unread` in which no block ends.
    searched: usize,
    /// The id up to which the client has seen everything. A browser sends it when it connects again.
    pub last_id: String,
}

/// An event that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEvent {
    /// The type.
    pub event: String,
    /// The data.
    pub data: Value,
}

impl EventReader {
    /// Connects to the stream at `url`. `last_id` is the id of the last event that the client has seen, or empty.
    ///
    /// # Panics
    /// Panics if it is refused.
    pub async fn open(client: &Client, url: &str, last_id: &str) -> Self {
        let mut request = client.get(url).header(header::ACCEPT, "text/event-stream");
        if !last_id.is_empty() {
            request = request.header("last-event-id", last_id);
        }
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200, "{url}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { response, unread: Vec::new(), searched: 0, last_id: last_id.to_owned() }
    }

    /// Returns the next block of lines, or `None` at the end of the stream or of its connection.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            let mut pairs = self.unread[self.searched..].windows(2);
            if let Some(end) = pairs.position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..self.searched + end + 2).collect();
                self.searched = 0;
                let block = String::from_utf8(block).expect("a stream is UTF-8");
                if let Some(id) = block.lines().find_map(|line| line.strip_prefix("id:")) {
                    id.trim_start().clone_into(&mut self.last_id);
                }
                return Some(block);
            }
            self.searched = self.unread.len().saturating_sub(1);
            self.unread.extend(self.response.chunk().await.ok()??);
        }
    }

    /// Returns the next event, or `None` at the end.
    ///
    /// # Panics
    /// Panics if its data is not JSON.
    pub async fn event(&mut self) -> Option<SentEvent> {
        loop {
            let block = self.block().await?;
            let field = |name| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let event = field("event: ").unwrap_or("message").to_owned();
                let data = serde_json::from_str(data).expect("data is JSON");
                return Some(SentEvent { event, data });
            }
        }
    }
}
