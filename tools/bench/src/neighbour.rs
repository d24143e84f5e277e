//! A neighbour on the same machine, who takes half of a core.

use std::fs::read_to_string;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the neighbour computes before it sleeps: about a slice of a scheduler.
const SLICE: Duration = Duration::from_millis(3);

/// A thread that computes for half of the time, until it is dropped.
pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<f64>>,
}

impl Neighbour {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Self { stop, thread: Some(thread::spawn(move || compute(&stopped))) }
    }

    /// Ends the neighbour, and returns the share of a core that it got.
    pub(crate) fn stop(mut self) -> f64 {
        self.end()
    }

    fn end(&mut self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.end();
    }
}

/// Computes in slices until it is stopped, and returns the share of a core that the thread got. Who had to wait for a core
/// sleeps less, so that the share is the same on a busy machine.
fn compute(stopped: &AtomicBool) -> f64 {
    let (began, before) = (Instant::now(), cpu_time());
    let mut slices = Duration::ZERO;
    let taken =
        |slices| cpu_time().zip(before).map_or(slices, |(now, before)| now.saturating_sub(before));
    while !stopped.load(Ordering::Relaxed) {
        let slice = Instant::now();
        while slice.elapsed() < SLICE {
            spin_loop();
        }
        slices += SLICE;
        thread::sleep((taken(slices) * 2).saturating_sub(began.elapsed()));
    }
    taken(slices).as_secs_f64() / began.elapsed().as_secs_f64()
}

/// Returns the CPU time of this thread, or `None` where the kernel does not count it.
fn cpu_time() -> Option<Duration> {
    let schedule = read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(schedule.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_takes_no_more_than_half_of_a_core() {
        let neighbour = Neighbour::start();
        thread::sleep(SLICE * 20);
        let share = neighbour.stop();
        assert!((0.0..=0.6).contains(&share), "{share}");
    }
}
