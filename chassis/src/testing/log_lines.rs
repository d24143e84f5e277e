//! The log of the services in a test program.

use serde_json::Value;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// What is kept: `debug` of the shop's crates, and of others what services log by default.
const FILTER: &str = "info,chassis=debug,cart=debug,gifticon=debug,payment=debug,mypage=debug";

/// The lines that all services of this program log, as `LOG_FORMAT=json` writes them.
#[derive(Clone, Debug, Default)]
pub struct LogLines(Arc<Mutex<Vec<Value>>>);

impl LogLines {
    /// Returns the log of this program, which is kept from the first call on. The tests of a program share it, so each looks for
    /// lines that only it can cause.
    pub fn of_this_program() -> &'static Self {
        static LINES: OnceLock<LogLines> = OnceLock::new();
        LINES.get_or_init(|| {
            let lines = Self::default();
            let writer = lines.clone();
            let layer = fmt::layer().with_writer(move || writer.clone());
            let layer = layer.json().flatten_event(true);
            let subscriber = tracing_subscriber::registry().with(EnvFilter::new(FILTER));
            subscriber.with(layer).init();
            lines
        })
    }

    /// Returns the lines so far that are `wanted`, oldest first.
    pub fn find(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| wanted(line)).cloned().collect()
    }
}

impl io::Write for LogLines {
    /// Keeps a line. The subscriber writes each line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let parsed = serde_json::from_slice(line)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(parsed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
