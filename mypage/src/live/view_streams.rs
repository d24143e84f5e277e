//! The streams of views, and which of them wait for a view.

use crate::live::watchers::FRAMES_MAX;
use crate::projection::View;
use axum::body::Bytes;
use chassis::http::BaseUrl;
use std::collections::{BTreeSet, HashMap};
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

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
}

struct ViewStream {
    frames: Sender<Bytes>,
    base: BaseUrl,
    interest: Interest,
}

impl ViewStreams {
    /// Adds a stream. Returns its key and its frames.
    pub(super) fn add(&mut self, interest: Interest, base: BaseUrl) -> (u64, Receiver<Bytes>) {
        let (frames, receiver) = mpsc::channel(FRAMES_MAX);
        self.last_key += 1;
        if let Interest::Carts(carts) = &interest {
            for cart in carts {
                self.by_cart.entry(*cart).or_default().push(self.last_key);
            }
        }
        self.streams.insert(self.last_key, ViewStream { frames, base, interest });
        (self.last_key, receiver)
    }

    /// Ends a stream, if it is there.
    pub(super) fn remove(&mut self, key: u64) {
        let Some(ViewStream { interest: Interest::Carts(carts), .. }) = self.streams.remove(&key)
        else {
            return;
        };
        for cart in carts {
            if let Some(keys) = self.by_cart.get_mut(&cart) {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    self.by_cart.remove(&cart);
                }
            }
        }
    }

    /// Ends all streams.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.by_cart.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Hands to each stream those of `views` that it waits for, as the frame that `frame` makes, and moves on to the position
    /// `to`. Ends the streams whose client is too slow, and returns how many.
    pub(super) fn tell(
        &mut self,
        to: i64,
        views: &[View],
        frame: impl Fn(&BaseUrl, &[&View]) -> Bytes,
    ) -> u64 {
        let all: Vec<&View> = views.iter().collect();
        let mut of_all: HashMap<&BaseUrl, Bytes> = HashMap::new();
        let mut of_some: HashMap<u64, Vec<&View>> = HashMap::new();
        for view in views {
            for key in self.by_cart.get(&view.cart_id.0).into_iter().flatten() {
                of_some.entry(*key).or_default().push(view);
            }
        }
        let (mut gone, mut slow) = (Vec::new(), 0);
        for (key, ViewStream { frames, base, interest }) in &self.streams {
            let frame = match (interest, of_some.get(key)) {
                (Interest::All, _) => {
                    of_all.entry(base).or_insert_with(|| frame(base, &all)).clone()
                }
                (Interest::Carts(_), Some(views)) => frame(base, views),
                (Interest::Carts(_), None) => continue,
            };
            if let Err(error) = frames.try_send(frame) {
                slow += u64::from(matches!(error, TrySendError::Full(_)));
                gone.push(*key);
            }
        }
        for key in gone {
            self.remove(key);
        }
        self.position = Some(to);
        slow
    }
}
