//! A bound on the work in progress, with a queue in front of it that refuses by the time waited.
//!
//! Work in progress is bounded so that a burst waits here, where nothing was done for it yet, and not in the middle of the
//! work. How many wait does not matter. A queue that is worked off within [`PATIENCE`] is a burst, first come first served,
//! and refuses nobody. One that was not empty for longer is overload: it lets newcomers wait for [`WHEN_OVERLOADED`] only, and
//! serves the last who came first, since those who came before have little patience left. (The same as Facebook's "controlled
//! delay, adaptive LIFO", <https://queue.acm.org/detail.cfm?id=2839461>.)

use crate::metrics::Metrics;
use crate::patience::{self, PATIENCE, WHEN_OVERLOADED};
use crate::writer::Unavailable;
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
    waiting: VecDeque<oneshot::Sender<Place>>,
    /// Since when there has always been somebody.
    since: Option<Instant>,
}

/// A place in use. Dropped, it goes to the next who waits.
#[derive(Debug)]
pub struct Place(Option<Arc<Shared>>);

impl Queue {
    /// A queue for `places` places, which reports to `metrics` how long each request waited.
    pub fn new(places: usize, metrics: &Metrics) -> Self {
        let state = State { free: places, waiting: VecDeque::new(), since: None };
        Self(Arc::new(Shared { state: Mutex::new(state), waited: metrics.queue_seconds.clone() }))
    }

    /// Waits for a place, for as long as the running request and this queue allow.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] when that time is over, or when [`WAITING_MAX`] wait.
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
            let since = *state.since.get_or_insert(began);
            let overloaded = began - since >= PATIENCE;
            let (sender, place) = oneshot::channel();
            state.waiting.push_back(sender);
            (place, if overloaded { WHEN_OVERLOADED } else { PATIENCE })
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
            match next.send(Place(Some(self))) {
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
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        let overloaded = self.since.is_some_and(|since| since.elapsed() >= PATIENCE);
        let next = loop {
            let next = if overloaded { self.waiting.pop_back() } else { self.waiting.pop_front() };
            match next {
                Some(gone) if gone.is_closed() => {}
                next => break next,
            }
        };
        self.forget_the_gone();
        if next.is_none() {
            self.free += 1;
        }
        next
    }

    /// Forgets those at the front who went away or were refused.
    fn forget_the_gone(&mut self) {
        while self.waiting.front().is_some_and(oneshot::Sender::is_closed) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.since = None;
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
