//! `GET /live/stream`: what happens in the shop, as the topic tells it.
//!
//! One task follows the topic outside of any consumer group, from its end on. It keeps the newest events for those who come
//! later and those who come back.

use crate::live::event_streams::EventStreams;
use crate::live::watchers::{Watcher, Watchers, begun};
use axum::body::Bytes;
use chassis::base::metrics::Counter;
use chassis::base::pace::Backoff;
use chassis::base::unavailable::Unavailable;
use chassis::bus::{Bus, Delivery};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::warn;

/// The least time between two reads: events that come meanwhile go out together.
const READ_INTERVAL: Duration = Duration::from_millis(100);
/// Messages that are read at once.
const MESSAGES_READ: usize = 1_000;
/// The messages before the end of the topic with which it begins.
const RECENT: i64 = 60;
/// How long a topic without messages is waited for before the streams begin. Shorter than the patience of a request.
const RECENT_READ_TIMEOUT: Duration = Duration::from_millis(200);

/// Hands the events of the topic to the streams.
pub struct EventFeed {
    bus: Arc<dyn Bus>,
    slow: Counter,
    watchers: Arc<Watchers>,
    streams: Mutex<EventStreams>,
    /// True while the topic is followed.
    started: watch::Sender<bool>,
}

/// A stream that is being told. Dropping it ends that.
pub struct Watching {
    feed: Arc<EventFeed>,
    key: u64,
    _watcher: Watcher,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.feed.lock().remove(self.key);
    }
}

impl Watching {
    /// Returns a comment, with the position up to which this stream has got everything.
    pub fn heartbeat(&self) -> String {
        format!(": heartbeat\nid: {}\n\n", self.feed.lock().told())
    }
}

impl EventFeed {
    /// Returns a feed of the topic of `bus`. Counts the clients that were too slow in `slow`. [`EventFeed::run`] must run.
    pub fn new(bus: Arc<dyn Bus>, slow: Counter) -> Arc<Self> {
        let (watchers, streams) = (Arc::default(), Mutex::default());
        Arc::new(Self { bus, slow, watchers, streams, started: watch::Sender::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, EventStreams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to tell a stream whose client has seen the event `last`. Returns it with what it begins with and its frames.
    ///
    /// # Errors
    /// The topic cannot be read within the patience of the request.
    pub async fn watch(
        self: &Arc<Self>,
        last: Option<&str>,
    ) -> Result<(Watching, String, mpsc::Receiver<Bytes>), Unavailable> {
        let watcher = self.watchers.enter();
        loop {
            begun(&self.started).await?;
            let mut streams = self.lock();
            if !*self.started.borrow() {
                continue; // it stopped in between
            }
            self.slow.inc_by(streams.tell(true)); // what waits is in what it begins with
            let (key, first, receiver) = streams.add(last);
            drop(streams);
            let feed = Arc::clone(self);
            return Ok((Watching { feed, key, _watcher: watcher }, first, receiver));
        }
    }

    /// Follows the topic and tells the streams, while there are any.
    pub async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        loop {
            self.watchers.some().await;
            if let Err(error) = self.follow().await {
                warn!(error = format!("{error:#}"), "cannot follow the topic; beginning anew");
                self.lock().clear(); // their clients begin anew as well
                backoff.wait().await;
            } else {
                backoff = Backoff::default();
            }
        }
    }

    /// Follows the topic until there are no streams.
    async fn follow(&self) -> anyhow::Result<()> {
        let mut tail = self.bus.tail(RECENT).await?;
        self.lock().begin(tail.start());
        // What is there is read before a stream begins. Else the position of a client that resumes would seem unknown.
        let mut count = 0;
        while count < RECENT
            && let Ok(read) = timeout(RECENT_READ_TIMEOUT, tail.next(MESSAGES_READ)).await
        {
            let messages = read?;
            count += i64::try_from(messages.len())?;
            self.tell(&messages);
        }
        self.started.send_replace(true);
        let mut nobody = pin!(self.watchers.none());
        loop {
            let waits = self.lock().waits();
            tokio::select! {
                () = sleep(READ_INTERVAL), if waits => self.tell(&[]),
                () = &mut nobody => {
                    let streams = self.lock();
                    if streams.is_empty() {
                        self.started.send_replace(false);
                        return Ok(());
                    }
                    drop(streams);
                    nobody.set(self.watchers.none());
                }
                read = tail.next(MESSAGES_READ) => match read {
                    Ok(messages) => self.tell(&messages),
                    Err(error) => {
                        self.started.send_replace(false);
                        return Err(error);
                    }
                }
            }
            sleep(READ_INTERVAL).await;
        }
    }

    /// Hands the events of `messages` to all streams, with those that wait.
    fn tell(&self, messages: &[Arc<Delivery>]) {
        self.slow.inc_by(self.lock().take(messages));
    }
}
