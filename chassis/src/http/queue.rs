//! A bound on the requests in progress, with a queue in front of it that refuses by waiting time.
//!
//! A burst waits here, where nothing was done for it yet, and not in the middle of the work. The length of the queue does not
//! matter: a request whose turn comes within [`PATIENCE`] is served, first in, first out.
//!
//! The queue is overloaded if for all of [`PATIENCE`] every request had waited for `LONG_QUEUE_WAIT` or more. Until it is empty,
//! a new request then waits for at most [`OVERLOADED_PATIENCE`], and the newest is served first, because the older ones have
//! little time left. This follows "controlled delay" and "adaptive LIFO" of Facebook,
//! <https://queue.acm.org/detail.cfm?id=2839461>.

use crate::base::limits::{LONG_QUEUE_WAIT, OVERLOADED_PATIENCE, PATIENCE};
use crate::base::metrics::Metrics;
use crate::base::patience;
use crate::base::unavailable::Unavailable;
use prometheus_client::metrics::histogram::Histogram;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Requests in one queue; further ones are refused at once. Bounds the memory only: a server has as many connections.
const WAITING_MAX: usize = 8_192;

/// Permits for requests in progress, and the queue for them. Clones share both.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    waited: Histogram,
}

/// Permits are free only while no request waits.
#[derive(Debug)]
struct State {
    free: usize,
    /// The waiting requests, oldest first. Some may have been cancelled.
    waiting: VecDeque<Waiter>,
    /// Since when every request had waited for [`LONG_QUEUE_WAIT`] before its permit.
    slow_since: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    since: Instant,
    permit: oneshot::Sender<Permit>,
}

/// The permit of a request in progress. Dropping it gives it to the next request.
#[derive(Debug)]
pub struct Permit(Option<Arc<Shared>>);

impl Queue {
    /// Returns a queue with `permits` permits, which reports waiting times to `metrics`.
    pub fn new(permits: usize, metrics: &Metrics) -> Self {
        let state = State { free: permits, waiting: VecDeque::new(), slow_since: None };
        Self(Arc::new(Shared { state: Mutex::new(state), waited: metrics.queue_seconds.clone() }))
    }

    /// Waits for a permit, as long as the patience of the running request and the state of this queue allow.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] when that time is over, or when `WAITING_MAX` requests wait.
    pub async fn enter(&self) -> Result<Permit, Unavailable> {
        let began = Instant::now();
        let permit = self.wait(began).await;
        self.0.waited.observe(began.elapsed().as_secs_f64());
        permit.ok_or(Unavailable::Overloaded { at: "queue" })
    }

    async fn wait(&self, began: Instant) -> Option<Permit> {
        let (mut permit, wait_max) = {
            let mut state = self.0.state();
            if state.free > 0 {
                state.free -= 1;
                return Some(Permit(Some(Arc::clone(&self.0))));
            }
            state.drop_cancelled();
            if state.waiting.len() >= WAITING_MAX {
                return None;
            }
            let wait_max = if state.is_overloaded() { OVERLOADED_PATIENCE } else { PATIENCE };
            let (sender, permit) = oneshot::channel();
            state.waiting.push_back(Waiter { since: began, permit: sender });
            (permit, wait_max)
        };
        let until = patience::until().min(began + wait_max);
        match timeout_at(until, &mut permit).await {
            Ok(permit) => permit.ok(),
            Err(_) => {
                permit.close();
                permit.try_recv().ok() // it may have been sent in the last moment
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a free permit to the next request.
    fn pass_on(mut self: Arc<Self>) {
        loop {
            let Some(next) = self.state().next() else { return };
            match next.permit.send(Permit(Some(self))) {
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
    /// Returns the request that gets the next permit. If no request waits, the permit is free.
    fn next(&mut self) -> Option<Waiter> {
        let overloaded = self.is_overloaded();
        let next = loop {
            let next = if overloaded { self.waiting.pop_back() } else { self.waiting.pop_front() };
            match next {
                Some(cancelled) if cancelled.permit.is_closed() => {}
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
        self.drop_cancelled();
        next
    }

    fn is_overloaded(&self) -> bool {
        self.slow_since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    /// Removes cancelled and refused requests from the front.
    fn drop_cancelled(&mut self) {
        while self.waiting.front().is_some_and(|first| first.permit.is_closed()) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.slow_since = None;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.pass_on();
        }
    }
}

#[cfg(test)]
mod tests;
