//! The streams of views, and which of them wait for a view.

use crate::live::budget::Budget;
use crate::live::watchers::FRAMES_MAX;
use crate::projection::View;
use axum::body::Bytes;
use chassis::http::BaseUrl;
use chassis::listing::Scope;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

/// About the bytes of a view in a stream.
const VIEW_BYTES: usize = 640;

/// Which views a stream tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Whose views.
    pub scope: Scope,
    /// Those of these carts, or `None` for each.
    pub carts: Option<BTreeSet<i64>>,
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
    /// What the streams that wait for everything do not have yet, by what they see.
    waiting: HashMap<Scope, Waiting>,
    budget: Budget,
}

struct ViewStream {
    frames: Sender<Bytes>,
    base: BaseUrl,
    interest: Interest,
}

/// What waits until the budget pays for it.
#[derive(Default)]
struct Waiting {
    /// The streams that wait for it.
    streams: BTreeSet<u64>,
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
        self.waiting.values_mut().for_each(|waiting| waiting.begin(position));
    }

    /// Adds a stream. Returns its key and its frames.
    pub(super) fn add(&mut self, interest: Interest, base: BaseUrl) -> (u64, Receiver<Bytes>) {
        let (frames, receiver) = mpsc::channel(FRAMES_MAX);
        self.last_key += 1;
        match &interest.carts {
            None => {
                let from = self.position.unwrap_or_default();
                let new = || Waiting { from, ..Waiting::default() };
                let waiting = self.waiting.entry(interest.scope.clone()).or_insert_with(new);
                waiting.streams.insert(self.last_key);
            }
            Some(carts) => {
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
        let Some(ViewStream { interest, .. }) = self.streams.remove(&key) else { return };
        match interest.carts {
            None => {
                if let Some(waiting) = self.waiting.get_mut(&interest.scope) {
                    waiting.streams.remove(&key);
                    if waiting.streams.is_empty() {
                        self.waiting.remove(&interest.scope);
                    }
                }
            }
            Some(carts) => {
                for cart in carts {
                    if let Some(keys) = self.by_cart.get_mut(&cart) {
                        keys.retain(|other| *other != key);
                        if keys.is_empty() {
                            self.by_cart.remove(&cart);
                        }
                    }
                }
            }
        }
    }

    /// Ends all streams.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.by_cart.clear();
        self.waiting.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Returns the position up to which a stream has everything that it waits for, once its queue is empty.
    pub(super) fn position_of(&self, key: u64) -> Option<i64> {
        let interest = &self.streams.get(&key)?.interest;
        match interest.carts {
            None => Some(self.waiting.get(&interest.scope)?.from),
            Some(_) => self.position,
        }
    }

    /// Hands to each stream those of `views` that it waits for, and moves on to the position `to`. Returns how many streams
    /// were ended since their client is too slow. Those that wait for everything get theirs by [`ViewStreams::tell_all`].
    pub(super) fn tell(&mut self, to: i64, views: Vec<View>, frame: Frame<'_>) -> u64 {
        let mut wanted: HashMap<u64, Vec<&View>> = HashMap::new();
        for view in &views {
            for key in self.by_cart.get(&view.cart_id.0).into_iter().flatten() {
                let sees = |stream: &ViewStream| stream.interest.scope.includes(&view.owner);
                if self.streams.get(key).is_some_and(sees) {
                    wanted.entry(*key).or_default().push(view);
                }
            }
        }
        let frames = wanted.into_iter().map(|(key, views)| {
            let frame = self.streams.get(&key).map(|stream| frame(&stream.base, &views));
            (key, frame.unwrap_or_default())
        });
        let frames = frames.collect();
        let slow = self.send(frames);
        self.position = Some(to);
        for view in views {
            if let Some(waiting) = self.waiting.get_mut(&Scope::Of(view.owner.clone())) {
                waiting.add(view.clone());
            }
            if let Some(waiting) = self.waiting.get_mut(&Scope::All) {
                waiting.add(view);
            }
        }
        slow
    }

    /// Hands what waits to the streams that wait for everything, if the budget pays for it. `frame` makes it from the position
    /// that it is given. Returns how many streams were ended since their client is too slow.
    pub(super) fn tell_all(
        &mut self,
        frame: impl Fn(&BaseUrl, &[&View], i64, i64) -> Bytes,
    ) -> u64 {
        let Some(to) = self.position else { return 0 };
        let mut frames = Vec::new();
        for waiting in self.waiting.values_mut().filter(|waiting| !waiting.lost) {
            let bytes = waiting.views.len() * VIEW_BYTES;
            if bytes > 0 && !self.budget.pays(waiting.streams.len(), bytes) {
                continue;
            }
            let (views, from) = (std::mem::take(&mut waiting.views), waiting.from);
            waiting.from = to;
            if !views.is_empty() {
                let views: Vec<&View> = views.values().collect();
                let frame = |base: &BaseUrl| frame(base, &views, from, to);
                frames.extend(frames_for(&self.streams, &waiting.streams, &frame));
            }
        }
        self.send(frames)
    }

    /// Returns what those streams see that wait for everything and are to begin anew now: the budget pays for so many views.
    pub(super) fn begin_anew_now(&mut self, views: usize) -> Vec<Scope> {
        let (budget, bytes) = (&mut self.budget, views * VIEW_BYTES);
        let lost = self.waiting.iter().filter(|(_, waiting)| waiting.lost);
        let paid = lost.filter(|(_, waiting)| budget.pays(waiting.streams.len(), bytes));
        paid.map(|(scope, _)| scope.clone()).collect()
    }

    /// Lets the streams that wait for everything in `scope` begin anew with what `frame` makes, which is as of `position` or later.
    pub(super) fn begin_anew(
        &mut self,
        scope: &Scope,
        position: i64,
        frame: &dyn Fn(&BaseUrl) -> Bytes,
    ) -> u64 {
        let Some(waiting) = self.waiting.get_mut(scope) else { return 0 };
        waiting.begin(position);
        let frames = frames_for(&self.streams, &waiting.streams, frame);
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

impl Waiting {
    /// Begins at a position.
    fn begin(&mut self, position: i64) {
        self.views.clear();
        (self.from, self.lost) = (position, false);
    }

    /// Adds the newest state of a view, unless that is too much.
    fn add(&mut self, view: View) {
        if !self.lost {
            self.views.insert(view.id, view);
            self.lost = !Budget::may_pay(self.streams.len(), self.views.len() * VIEW_BYTES);
        }
    }
}

/// Returns a frame for each stream of `keys`, made once for each base URL.
fn frames_for(
    streams: &HashMap<u64, ViewStream>,
    keys: &BTreeSet<u64>,
    frame: &dyn Fn(&BaseUrl) -> Bytes,
) -> Vec<(u64, Bytes)> {
    let mut made: HashMap<&BaseUrl, Bytes> = HashMap::new();
    let streams = keys.iter().filter_map(|key| Some((*key, &streams.get(key)?.base)));
    streams
        .map(|(key, base)| (key, made.entry(base).or_insert_with(|| frame(base)).clone()))
        .collect()
}
