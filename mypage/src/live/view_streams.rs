//! The streams of views, and which of them wait for a view.

use crate::live::budget::Budget;
use crate::live::watchers::FRAMES_MAX;
use crate::projection::View;
use axum::body::Bytes;
use chassis::http::BaseUrl;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

/// About the bytes of a view in a stream.
const VIEW_BYTES: usize = 640;

/// Which views a stream tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Each of them.
    All,
    /// Those of these carts.
    Carts(BTreeSet<i64>),
}

/// The streams of a process.
#[derive(Default)]
pub(super) struct ViewStreams {
    /// The change up to which everything was handed to the streams. `None` while nobody watches.
    pub(super) position: Option<i64>,
    last_key: u64,
    streams: HashMap<u64, ViewStream>,
    /// The streams that wait for each cart.
    by_cart: HashMap<i64, Vec<u64>>,
    /// What the streams that wait for everything do not have yet.
    waiting: Waiting,
}

struct ViewStream {
    frames: Sender<Bytes>,
    base: BaseUrl,
    interest: Interest,
}

/// What waits until the budget pays for it.
#[derive(Default)]
struct Waiting {
    /// The streams that wait for everything.
    streams: usize,
    budget: Budget,
    /// The change up to which they have everything.
    from: i64,
    /// The newest state of each view that changed since, by id.
    views: BTreeMap<i64, View>,
    /// True if these were too many: the streams begin anew.
    lost: bool,
}

/// Makes a frame of views for a client with this base URL.
type Frame<'f> = &'f dyn Fn(&BaseUrl, &[&View]) -> Bytes;

impl ViewStreams {
    /// Begins at a position.
    pub(super) fn begin(&mut self, position: i64) {
        self.position = Some(position);
        self.waiting.views.clear();
        (self.waiting.from, self.waiting.lost) = (position, false);
    }

    /// Adds a stream. Returns its key and its frames.
    pub(super) fn add(&mut self, interest: Interest, base: BaseUrl) -> (u64, Receiver<Bytes>) {
        let (frames, receiver) = mpsc::channel(FRAMES_MAX);
        self.last_key += 1;
        match &interest {
            Interest::All => self.waiting.streams += 1,
            Interest::Carts(carts) => {
                for cart in carts {
                    self.by_cart.entry(*cart).or_default().push(self.last_key);
                }
            }
        }
        self.streams.insert(self.last_key, ViewStream { frames, base, interest });
        (self.last_key, receiver)
    }

    /// Ends a stream, if it is there.
    pub(super) fn remove(&mut self, key: u64) {
        match self.streams.remove(&key).map(|stream| stream.interest) {
            Some(Interest::All) => self.waiting.streams -= 1,
            Some(Interest::Carts(carts)) => {
                for cart in carts {
                    if let Some(keys) = self.by_cart.get_mut(&cart) {
                        keys.retain(|other| *other != key);
                        if keys.is_empty() {
                            self.by_cart.remove(&cart);
                        }
                    }
                }
            }
            None => {}
        }
    }

    /// Ends all streams.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.by_cart.clear();
        self.waiting.streams = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Returns the position up to which a stream has everything that it waits for, once its queue is empty.
    pub(super) fn position_of(&self, key: u64) -> Option<i64> {
        match self.streams.get(&key)?.interest {
            Interest::All => Some(self.waiting.from),
            Interest::Carts(_) => self.position,
        }
    }

    /// Hands to each stream those of `views` that it waits for, and moves on to the position `to`. Returns how many streams
    /// were ended since their client is too slow. Those that wait for everything get theirs by [`ViewStreams::tell_all`].
    pub(super) fn tell(&mut self, to: i64, views: Vec<View>, frame: Frame<'_>) -> u64 {
        let mut wanted: HashMap<u64, Vec<&View>> = HashMap::new();
        for view in &views {
            for key in self.by_cart.get(&view.cart_id.0).into_iter().flatten() {
                wanted.entry(*key).or_default().push(view);
            }
        }
        let frames = wanted.into_iter().map(|(key, views)| {
            let frame = self.streams.get(&key).map(|stream| frame(&stream.base, &views));
            (key, frame.unwrap_or_default())
        });
        let frames = frames.collect();
        let slow = self.send(frames);
        self.position = Some(to);
        let waiting = &mut self.waiting;
        if waiting.streams == 0 {
            waiting.views.clear();
            (waiting.from, waiting.lost) = (to, false);
        } else if !waiting.lost {
            waiting.views.extend(views.into_iter().map(|view| (view.id, view)));
            waiting.lost = !Budget::may_pay(waiting.streams, waiting.views.len() * VIEW_BYTES);
        }
        slow
    }

    /// Hands what waits to the streams that wait for everything, if the budget pays for it. `frame` makes it from the position
    /// that it is given. Returns how many streams were ended since their client is too slow.
    pub(super) fn tell_all(
        &mut self,
        frame: impl Fn(&BaseUrl, &[&View], i64, i64) -> Bytes,
    ) -> u64 {
        let waiting = &mut self.waiting;
        let Some(to) = self.position.filter(|_| !waiting.lost) else { return 0 };
        if !waiting.views.is_empty()
            && !waiting.budget.pays(waiting.streams, waiting.views.len() * VIEW_BYTES)
        {
            return 0;
        }
        let (views, from) = (std::mem::take(&mut waiting.views), waiting.from);
        waiting.from = to;
        if views.is_empty() {
            return 0;
        }
        let views: Vec<&View> = views.values().collect();
        self.send_all(&|base| frame(base, &views, from, to))
    }

    /// Returns true if the streams that wait for everything are to begin anew, and the budget pays for so many views.
    pub(super) fn begins_anew(&mut self, views: usize) -> bool {
        let waiting = &mut self.waiting;
        waiting.lost && waiting.budget.pays(waiting.streams, views * VIEW_BYTES)
    }

    /// Lets the streams that wait for everything begin anew with what `frame` makes, which is as of `position` or later.
    pub(super) fn begin_anew(&mut self, position: i64, frame: &dyn Fn(&BaseUrl) -> Bytes) -> u64 {
        self.waiting.views.clear();
        (self.waiting.from, self.waiting.lost) = (position, false);
        self.send_all(frame)
    }

    /// Sends a frame to each stream that waits for everything.
    fn send_all(&mut self, frame: &dyn Fn(&BaseUrl) -> Bytes) -> u64 {
        let mut made: HashMap<&BaseUrl, Bytes> = HashMap::new();
        let of_all = self.streams.iter().filter(|(_, stream)| stream.interest == Interest::All);
        let frames = of_all.map(|(key, ViewStream { base, .. })| {
            (*key, made.entry(base).or_insert_with(|| frame(base)).clone())
        });
        let frames = frames.collect();
        drop(made);
        self.send(frames)
    }

    /// Sends frames to streams, by their keys.
    fn send(&mut self, frames: Vec<(u64, Bytes)>) -> u64 {
        let mut slow = 0;
        for (key, frame) in frames {
            let sent = self.streams.get(&key).map(|stream| stream.frames.try_send(frame));
            if let Some(Err(error)) = sent {
                slow += u64::from(matches!(error, TrySendError::Full(_)));
                self.remove(key);
            }
        }
        slow
    }
}
