//! `GET /live/stream`: what happens in the shop, as the topic tells it.
//!
//! One task follows the topic outside of any consumer group, from its end on. It keeps the newest events for those who come
//! later and those who come back. The position of a stream is that of the topic: an offset for each partition.

use crate::live::budget::Budget;
use crate::live::sample::Sample;
use crate::live::shown::Shown;
use crate::live::watchers::{FRAMES_MAX, Watcher, Watchers, begun};
use axum::body::Bytes;
use chassis::base::metrics::Counter;
use chassis::base::pace::Backoff;
use chassis::base::unavailable::Unavailable;
use chassis::bus::{Bus, Delivery};
use chassis::http::event_stream::{reset, write_event};
use common_events::Envelope;
use std::collections::{BTreeMap, HashMap, VecDeque};
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
/// Events that are kept.
const KEPT: usize = 500;
/// Events that a stream begins with.
const NEWEST: usize = 20;

/// Hands the events of the topic to the streams.
pub struct EventFeed {
    bus: Arc<dyn Bus>,
    slow: Counter,
    watchers: Arc<Watchers>,
    state: Mutex<State>,
    /// True while the topic is followed.
    started: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    last_key: u64,
    streams: HashMap<u64, mpsc::Sender<Bytes>>,
    kept: VecDeque<Kept>,
    /// The last offset of each partition that was read.
    read: BTreeMap<i32, i64>,
    /// The last offset of each partition that is not kept any more.
    forgotten: BTreeMap<i32, i64>,
    sample: Sample,
    /// Events that wait until the budget pays for them.
    waiting: String,
    budget: Budget,
    /// The position up to which the streams have everything, once their queues are empty.
    told: String,
}

/// An event that was shown.
struct Kept {
    partition: i32,
    offset: i64,
    text: Bytes,
}

impl State {
    /// Returns the position up to which the topic was read.
    fn position(&self) -> String {
        let pair = |(partition, offset): (&i32, &i64)| format!("{partition}:{offset}");
        self.read.iter().map(pair).collect::<Vec<_>>().join(",")
    }

    /// Begins with the partitions that begin at the offsets `start`.
    fn begin(&mut self, start: &BTreeMap<i32, i64>) {
        self.read = start.iter().map(|(partition, offset)| (*partition, offset - 1)).collect();
        self.forgotten = self.read.clone();
        self.kept.clear();
        self.sample = Sample::default();
        self.waiting.clear();
        self.told = self.position();
    }

    /// Takes a message. Returns its event if it is to be shown.
    fn take(&mut self, message: &Delivery) -> Option<Bytes> {
        let (partition, offset) = (message.position.partition, message.position.offset);
        self.read.insert(partition, offset);
        let envelope = Envelope::from_json(message.payload.as_deref()?).ok()?;
        let shown = Shown::of(&envelope, envelope.happened_at(message.timestamp))?;
        if !self.sample.shows(shown.cart().unwrap_or(offset)) {
            return None;
        }
        let mut text = String::new();
        write_event(&mut text, &self.position(), "event", &serde_json::to_string(&shown).ok()?);
        let text = Bytes::from(text);
        self.kept.push_back(Kept { partition, offset, text: text.clone() });
        if self.kept.len() > KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.forgotten.insert(oldest.partition, oldest.offset);
        }
        Some(text)
    }

    /// Hands what waits to the streams, if the budget pays for it or where `now`. Returns how many were ended since their client
    /// is too slow.
    fn tell(&mut self, now: bool) -> u64 {
        let (streams, bytes) = (self.streams.len(), self.waiting.len());
        let pays = bytes == 0 || self.budget.pays(streams, bytes);
        if !pays && !now && Budget::may_pay(streams, bytes) {
            return 0;
        }
        self.told = self.position();
        let frame = Bytes::from(std::mem::take(&mut self.waiting));
        let mut slow = 0;
        if !frame.is_empty() {
            self.streams.retain(|_, stream| {
                let sent = stream.try_send(frame.clone());
                slow += u64::from(matches!(sent, Err(mpsc::error::TrySendError::Full(_))));
                sent.is_ok()
            });
        }
        slow
    }

    /// Returns what a stream begins with: what came after the event `last` that its client has seen, or the newest events.
    fn catch_up(&self, last: Option<&str>) -> String {
        let mut text = String::new();
        if self.sample.is_part() {
            self.sample.write(&mut text);
        }
        let mut push =
            |kept: &Kept| text.push_str(std::str::from_utf8(&kept.text).unwrap_or_default());
        match last.map(|last| self.seen(last)) {
            Some(Some(seen)) => {
                let is_new =
                    |kept: &&Kept| seen.get(&kept.partition).is_none_or(|seen| kept.offset > *seen);
                self.kept.iter().filter(is_new).for_each(push);
            }
            unknown => {
                let newest = self.kept.len().saturating_sub(NEWEST);
                self.kept.range(newest..).for_each(&mut push);
                if unknown.is_some() {
                    text.insert_str(0, &reset());
                }
            }
        }
        text
    }

    /// Reads a position, if all events after it are kept.
    fn seen(&self, position: &str) -> Option<BTreeMap<i32, i64>> {
        let pair = |pair: &str| {
            let (partition, offset) = pair.split_once(':')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        let seen: BTreeMap<i32, i64> = position.split(',').map(pair).collect::<Option<_>>()?;
        let is_known = |(partition, read): (&i32, &i64)| {
            let seen = seen.get(partition).copied().unwrap_or(-1);
            seen <= *read
                && self.forgotten.get(partition).is_none_or(|forgotten| seen >= *forgotten)
        };
        self.read.iter().all(is_known).then_some(seen)
    }
}

/// A stream that is being told. Dropping it ends that.
pub struct Watching {
    feed: Arc<EventFeed>,
    key: u64,
    _watcher: Watcher,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.feed.lock().streams.remove(&self.key);
    }
}

impl Watching {
    /// Returns a comment, with the position up to which this stream has got everything.
    pub fn heartbeat(&self) -> String {
        format!(": heartbeat\nid: {}\n\n", self.feed.lock().told)
    }
}

impl EventFeed {
    /// Returns a feed of the topic of `bus`. Counts the clients that were too slow in `slow`. [`EventFeed::run`] must run.
    pub fn new(bus: Arc<dyn Bus>, slow: Counter) -> Arc<Self> {
        let (watchers, state) = (Arc::default(), Mutex::default());
        Arc::new(Self { bus, slow, watchers, state, started: watch::Sender::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
            let mut state = self.lock();
            if !*self.started.borrow() {
                continue; // it stopped in between
            }
            let (frames, receiver) = mpsc::channel(FRAMES_MAX);
            self.slow.inc_by(state.tell(true)); // what waits is in what it begins with
            state.last_key += 1;
            let (key, first) = (state.last_key, state.catch_up(last));
            state.streams.insert(key, frames);
            drop(state);
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
                self.lock().streams.clear(); // their clients begin anew as well
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
            let waits = !self.lock().waiting.is_empty();
            tokio::select! {
                () = sleep(READ_INTERVAL), if waits => self.tell(&[]),
                () = &mut nobody => {
                    let state = self.lock();
                    if state.streams.is_empty() {
                        self.started.send_replace(false);
                        return Ok(());
                    }
                    drop(state);
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
        let mut state = self.lock();
        let state = &mut *state;
        if state.sample.count(messages.len()) {
            state.sample.write(&mut state.waiting);
        }
        for message in messages {
            if let Some(event) = state.take(message) {
                state.waiting.push_str(std::str::from_utf8(&event).unwrap_or_default());
            }
        }
        self.slow.inc_by(state.tell(false));
    }
}
