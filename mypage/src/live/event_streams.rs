//! The streams of events, and what they are told.

use crate::live::budget::{Budget, EVENT_BYTES};
use crate::live::sample::Sample;
use crate::live::shown::Shown;
use crate::live::stock::{News, StockChanges};
use crate::live::watchers::FRAMES_MAX;
use axum::body::Bytes;
use chassis::bus::Delivery;
use chassis::http::event_stream::{reset, write_event};
use common_events::Event;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Events that are kept for those who come later or come back.
const KEPT: usize = 500;
/// Events that a stream begins with.
const NEWEST: usize = 20;

/// The streams, and what they are told. The position of a stream is that of the topic: an offset for each partition.
#[derive(Default)]
pub(super) struct EventStreams {
    last_key: u64,
    streams: HashMap<u64, mpsc::Sender<Bytes>>,
    kept: VecDeque<Kept>,
    /// The last offset of each partition that was read.
    read: BTreeMap<i32, i64>,
    /// The last offset of each partition that is not kept any more.
    forgotten: BTreeMap<i32, i64>,
    sample: Sample,
    /// True if the streams are still to be told that another part is shown.
    sample_changed: bool,
    /// What waits until the budget pays for it, but changes of stock.
    waiting: Vec<News>,
    stock: StockChanges,
    turns: u64,
    budget: Budget,
    /// The last offset of each partition up to which the streams have everything, once their queues are empty.
    told: BTreeMap<i32, i64>,
}

/// An event that was shown.
struct Kept {
    partition: i32,
    offset: i64,
    /// Whose stock it tells.
    stock: Option<i64>,
    text: Bytes,
}

impl EventStreams {
    /// Begins with the partitions that begin at the offsets `start`.
    pub(super) fn begin(&mut self, start: &BTreeMap<i32, i64>) {
        self.read = start.iter().map(|(partition, offset)| (*partition, offset - 1)).collect();
        self.forgotten = self.read.clone();
        self.kept.clear();
        self.sample = Sample::default();
        self.waiting.clear();
        self.stock = StockChanges::default();
        self.told = self.read.clone();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Returns true if something is still to be told.
    pub(super) fn waits(&self) -> bool {
        self.sample_changed || !self.waiting.is_empty() || !self.stock.is_empty()
    }

    /// Returns the position up to which the streams have everything, once their queues are empty.
    pub(super) fn told(&self) -> String {
        position(&self.told)
    }

    /// Adds a stream whose client has seen the event `last`. Returns its key, what it begins with, and its frames.
    pub(super) fn add(&mut self, last: Option<&str>) -> (u64, String, mpsc::Receiver<Bytes>) {
        let (frames, receiver) = mpsc::channel(FRAMES_MAX);
        self.last_key += 1;
        let first = self.catch_up(last);
        self.streams.insert(self.last_key, frames);
        (self.last_key, first, receiver)
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.streams.remove(&key);
    }

    pub(super) fn clear(&mut self) {
        self.streams.clear();
    }

    /// Takes what is shown of messages, and hands it to the streams if the budget pays for it. Returns how many streams were
    /// ended since their client is too slow.
    pub(super) fn take(&mut self, messages: &[Arc<Delivery>]) -> u64 {
        for message in messages {
            self.take_one(message);
        }
        let most = Budget::purchase_events_a_second(self.streams.len());
        self.sample_changed |= self.sample.adapt(most);
        self.tell(false)
    }

    /// Adds a message to what waits, if it is shown.
    fn take_one(&mut self, message: &Delivery) {
        let (partition, offset) = (message.position.partition, message.position.offset);
        self.read.insert(partition, offset);
        let Some((event, shown)) = shown(message) else { return };
        self.turns += 1;
        let (stock, cart) = (shown.stock(), shown.cart());
        let news = News { turn: self.turns, partition, offset, shown };
        match (event, stock) {
            (Event::QuantityModified(_), Some(gifticon)) => self.stock.put(gifticon, news),
            (_, Some(gifticon)) => {
                self.stock.forget(gifticon);
                self.waiting.push(news);
            }
            _ if self.sample.shows(cart.unwrap_or(offset)) => self.waiting.push(news),
            _ => {}
        }
    }

    /// Hands what waits to the streams, if the budget pays for it or where `now`. Returns how many streams were ended since their
    /// client is too slow.
    pub(super) fn tell(&mut self, now: bool) -> u64 {
        let streams = self.streams.len();
        // Who begins now gets the changes of stock with the others, later.
        let most = if now { 0 } else { Budget::stock_changes_a_frame(streams) };
        let events = self.waiting.len() + most.min(self.stock.len());
        let (bytes, is_empty) = (events * EVENT_BYTES, events == 0 && !self.sample_changed);
        let pays = is_empty || self.budget.pays(streams, bytes);
        if !pays && !now && Budget::may_pay(streams, bytes) {
            return 0;
        }
        let frame = Bytes::from(self.frame(most));
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

    /// Takes what waits, with at most `most` changes of stock, and keeps it. Returns its text.
    fn frame(&mut self, most: usize) -> String {
        let mut text = String::new();
        if std::mem::take(&mut self.sample_changed) {
            self.sample.write(&mut text);
        }
        let mut all = std::mem::take(&mut self.waiting);
        all.append(&mut self.stock.take(most));
        all.sort_unstable_by_key(|news| news.turn);
        for News { partition, offset, shown, .. } in all {
            self.is_told(partition, offset);
            let mut event = String::new();
            let data = serde_json::to_string(&shown).unwrap_or_default(); // it has nothing that fails
            write_event(&mut event, &self.told(), "event", &data);
            text.push_str(&event);
            self.keep(Kept { partition, offset, stock: shown.stock(), text: Bytes::from(event) });
        }
        for (partition, offset) in self.read.clone() {
            self.is_told(partition, offset);
        }
        text
    }

    /// Notes that a partition was told up to an offset, or to what still waits before it.
    fn is_told(&mut self, partition: i32, offset: i64) {
        let offset = self.stock.before(partition).unwrap_or(offset).min(offset);
        let told = self.told.entry(partition).or_insert(offset);
        *told = offset.max(*told);
    }

    fn keep(&mut self, kept: Kept) {
        self.kept.push_back(kept);
        if self.kept.len() > KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            let forgotten = self.forgotten.entry(oldest.partition).or_insert(oldest.offset);
            *forgotten = oldest.offset.max(*forgotten);
        }
    }

    /// Returns what a stream begins with: what came after the event `last` that its client has seen, or the newest events and the
    /// newest stock.
    fn catch_up(&self, last: Option<&str>) -> String {
        let mut text = String::new();
        if self.sample.is_part() {
            self.sample.write(&mut text);
        }
        let seen = last.map(|last| self.seen(last));
        if seen == Some(None) {
            text.insert_str(0, &reset());
        }
        let first = self.kept.len().saturating_sub(NEWEST);
        let mut stocks = HashSet::new();
        let begins_with = |(index, kept): &(usize, &Kept)| match &seen {
            Some(Some(seen)) => seen.get(&kept.partition).is_none_or(|seen| kept.offset > *seen),
            _ => kept.stock.is_some_and(|gifticon| stocks.insert(gifticon)) || *index >= first,
        };
        let newest_first: Vec<_> = self.kept.iter().enumerate().rev().filter(begins_with).collect();
        for (_, kept) in newest_first.into_iter().rev() {
            text.push_str(std::str::from_utf8(&kept.text).unwrap_or_default());
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

/// Returns a position as the id of an event has it.
fn position(offsets: &BTreeMap<i32, i64>) -> String {
    let pairs: Vec<_> =
        offsets.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
    pairs.join(",")
}

/// Returns an event, and what is shown of it, if anything is.
fn shown(message: &Delivery) -> Option<(&Event, Shown)> {
    let envelope = message.payload.as_ref()?.event().ok()?;
    let shown = Shown::of(envelope, envelope.happened_at(message.timestamp))?;
    Some((&envelope.event, shown))
}
