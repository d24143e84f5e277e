//! A bound on the work in progress, with a queue in front of it that refuses by the time waited.
//!
//! Work in progress is bounded so that a burst waits here, where nothing was done for it yet, and not in the middle of the
//! work. How many wait does not matter, nor for how long somebody always does: whose turn comes within [`PATIENCE`] is served,
//! first come first. When for all of [`PATIENCE`] nobody had a place who had not waited for `LONG_QUEUE_WAIT`, there is more to do than can
//! be done. Until it is empty the queue then lets newcomers wait for [`OVERLOADED_PATIENCE`] only, and serves the last who came first,
//! since those who came before have little patience left. (After "controlled delay" and "adaptive LIFO" of Facebook,
//! <https://queue.acm.org/detail.cfm?id=2839461>.)

use crate::base::limits::{LONG_QUEUE_WAIT, OVERLOADED_PATIENCE, PATIENCE};
use crate::base::metrics::Metrics;
use crate::base::patience;
use crate::base::unavailable::Unavailable;
use prometheus_client::metrics::histogram::Histogram;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Requests that wait, beyond which they are refused at once. It only bounds the memory: a server has as many connections.
const WAITING_MAX: usize = 8_192;

/// Places for work in progress, and the queue for them. Clones share both.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    waited: Histogram,
}

/// There are free places only while nobody waits.
#[derive(Debug)]
struct State {
    free: usize,
    /// Those who wait, in the order in which they came. Some may have gone.
    waiting: VecDeque<Waiting>,
    /// Since when nobody had a place who had not waited for `LONG_QUEUE_WAIT`.
    slow_since: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    place: oneshot::Sender<Place>,
}

/// A place in use. Dropped, it goes to the next who waits.
#[derive(Debug)]
pub struct Place(Option<Arc<Shared>>);

impl Queue {
    /// A queue for `places` places, which reports to `metrics` how long each request waited.
    pub fn new(places: usize, metrics: &Metrics) -> Self {
        let state = State { free: places, waiting: VecDeque::new(), slow_since: None };
        Self(Arc::new(Shared { state: Mutex::new(state), waited: metrics.queue_seconds.clone() }))
    }

    /// Waits for a place, for as long as the running request and this queue allow.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] when that time is over, or when `WAITING_MAX` wait.
    pub async fn enter(&self) -> Result<Place, Unavailable> {
        let began = Instant::now();
        let entered = self.wait(began).await;
        self.0.waited.observe(began.elapsed().as_secs_f64());
        entered.ok_or(Unavailable::Overloaded { at: "queue" })
    }

    async fn wait(&self, began: Instant) -> Option<Place> {
        let (mut place, allowed) = {
            let mut state = self.0.state();
            if state.free > 0 {
                state.free -= 1;
                return Some(Place(Some(Arc::clone(&self.0))));
            }
            state.forget_the_gone();
            if state.waiting.len() >= WAITING_MAX {
                return None;
            }
            let allowed = if state.is_overloaded() { OVERLOADED_PATIENCE } else { PATIENCE };
            let (sender, place) = oneshot::channel();
            state.waiting.push_back(Waiting { since: began, place: sender });
            (place, allowed)
        };
        let until = patience::until().min(began + allowed);
        match timeout_at(until, &mut place).await {
            Ok(place) => place.ok(),
            Err(_) => {
                place.close();
                place.try_recv().ok() // it may have come in the last moment
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a place that is not used any more to the next who waits.
    fn hand_on(mut self: Arc<Self>) {
        loop {
            let Some(next) = self.state().next() else { return };
            match next.place.send(Place(Some(self))) {
                Ok(()) => return,
                Err(mut unsent) => match unsent.0.take() {
                    Some(shared) => self = shared,
                    None => return,
                },
            }
        }
    }
}

impl State {
    /// The next who is to have a place. Where nobody waits, the place is free.
    fn next(&mut self) -> Option<Waiting> {
        let overloaded = self.is_overloaded();
        let next = loop {
            let next = if overloaded { self.waiting.pop_back() } else { self.waiting.pop_front() };
            match next {
                Some(gone) if gone.place.is_closed() => {}
                next => break next,
            }
        };
        match &next {
            None => self.free += 1,
            Some(next) if overloaded || next.since.elapsed() >= LONG_QUEUE_WAIT => {
                self.slow_since.get_or_insert_with(Instant::now);
            }
            Some(_) => self.slow_since = None,
        }
        self.forget_the_gone();
        next
    }

    fn is_overloaded(&self) -> bool {
        self.slow_since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    /// Forgets those at the front who went away or were refused.
    fn forget_the_gone(&mut self) {
        while self.waiting.front().is_some_and(|first| first.place.is_closed()) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.slow_since = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.hand_on();
        }
    }
}

#[cfg(test)]
mod tests;
