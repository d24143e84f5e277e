//! Measures the disk beside an open loop: a latency says little without the time that the disk took for a flush meanwhile.

use anyhow::anyhow;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes of a write: a page of a database.
const BLOCK: [u8; 4096] = [1; 4096];
/// Blocks that are written in turn. The file has them all before, so that a flush writes no metadata, as in a log that is reused.
const BLOCKS: u64 = 1024;
/// Time between the starts of two flushes.
const INTERVAL: Duration = Duration::from_millis(10);
/// What the goal allows the shop beside the disk, in milliseconds.
const GOAL_BASE_MS: f64 = 10.0;
/// Flushes that a request may wait for, one after the other.
const GOAL_FLUSHES: f64 = 3.0;

/// Flush times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Flushes {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Flushes {
    fn of(times: &Histogram<u64>) -> Self {
        let within = |share| times.value_at_quantile(share) as f64 / 1_000.0;
        Self { p50: within(0.5), p99: within(0.99), p999: within(0.999), max: within(1.0) }
    }

    /// Returns the goal for the p99 of `POST /carts` at half of capacity, in milliseconds.
    pub(crate) fn goal(&self) -> f64 {
        GOAL_BASE_MS + GOAL_FLUSHES * self.p999
    }
}

/// A thread that flushes a block 100 times a second, in the directory for temporary files, where the shop has its data too.
pub(crate) struct DiskProbe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Histogram<u64>>>,
}

impl DiskProbe {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let file = tempfile::tempfile()?;
        for number in 0..BLOCKS {
            write(&file, number)?;
        }
        file.sync_all()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || flush_until(&file, &stopped));
        Ok(Self { stop, thread })
    }

    /// Ends the thread, and returns what it measured.
    pub(crate) fn stop(self) -> anyhow::Result<Flushes> {
        self.stop.store(true, Ordering::Relaxed);
        let times =
            self.thread.join().map_err(|_| anyhow!("the thread that flushes panicked"))??;
        Ok(Flushes::of(&times))
    }
}

fn write(file: &File, number: u64) -> io::Result<()> {
    file.write_all_at(&BLOCK, number % BLOCKS * BLOCK.len() as u64)
}

fn flush_until(file: &File, stopped: &AtomicBool) -> io::Result<Histogram<u64>> {
    let mut times = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid");
    let mut due = Instant::now();
    let mut number = 0;
    loop {
        let began = Instant::now();
        write(file, number)?;
        file.sync_data()?;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        times.saturating_record(took);
        if stopped.load(Ordering::Relaxed) {
            return Ok(times);
        }
        number += 1;
        due = (due + INTERVAL).max(Instant::now()); // those that a slow one delayed are not made up for
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_timed_until_the_thread_is_stopped() {
        let probe = DiskProbe::start().unwrap();
        thread::sleep(INTERVAL * 5);
        let flushes = probe.stop().unwrap();
        assert!(flushes.p50 > 0.0 && flushes.p50 <= flushes.p99, "{flushes:?}");
        assert!(flushes.p99 <= flushes.p999 && flushes.p999 <= flushes.max, "{flushes:?}");
    }

    #[test]
    fn the_goal_is_ten_milliseconds_and_three_slow_flushes() {
        let flushes = Flushes { p999: 4.0, max: 99.0, ..Flushes::default() };
        assert!((flushes.goal() - 22.0).abs() < f64::EPSILON);
    }
}
