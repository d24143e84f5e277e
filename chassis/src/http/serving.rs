//! The threads that serve connections: one for each core, each with a runtime of its own.
//!
//! A connection stays on its thread, with its requests and what they need: the gateway's connections to a service are there too.
//! So a request wakes no other thread until it reaches the writer. docs/decisions/0044-a-runtime-for-each-core.md has figures.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{future, io, thread};
use tokio::runtime::{Builder, Handle};

thread_local! {
    /// The number of this thread, if it serves connections.
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The runtimes of the process. They end with it.
static RUNTIMES: OnceLock<Vec<Handle>> = OnceLock::new();

/// How many threads serve connections.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Returns the runtime for the next connection: each in turn.
pub(super) fn next_runtime() -> &'static Handle {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let runtimes = RUNTIMES.get_or_init(|| {
        let started = (0..threads()).map(start).collect::<io::Result<_>>();
        started.expect("a thread and a runtime can be made at the start of the process")
    });
    &runtimes[NEXT.fetch_add(1, Ordering::Relaxed) % runtimes.len()]
}

/// Starts a thread and returns its runtime.
fn start(number: usize) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name(format!("serving-{number}")).spawn(move || {
        NUMBER.set(Some(number));
        runtime.block_on(future::pending::<()>());
    })?;
    Ok(handle)
}

/// A value for each of the threads that serve connections, and one for all others.
#[derive(Debug)]
pub struct PerThread<T>(Box<[T]>);

impl<T> PerThread<T> {
    /// Returns what `make` makes, for each thread.
    pub fn new(make: impl FnMut() -> T) -> Self {
        Self(std::iter::repeat_with(make).take(threads() + 1).collect())
    }

    /// Returns the value of this thread.
    pub fn get(&self) -> &T {
        &self.0[NUMBER.get().unwrap_or(self.0.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[tokio::test]
    async fn connections_take_the_threads_in_turn_and_each_has_values_of_its_own() {
        let mut numbers = 0..;
        let values = std::sync::Arc::new(PerThread::new(|| numbers.next().unwrap()));
        let others = *values.get();
        let mut seen = HashSet::new();
        for _ in 0..threads() {
            let values = std::sync::Arc::clone(&values);
            let value = next_runtime().spawn(async move {
                let before = *values.get();
                tokio::task::yield_now().await;
                assert_eq!(before, *values.get());
                before
            });
            seen.insert(value.await.unwrap());
        }
        // Other tests of this process take turns too.
        assert!(!seen.is_empty() && !seen.contains(&others));
        assert_eq!(others, *values.get());
    }
}
