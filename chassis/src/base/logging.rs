//! Logs to standard error.

use crate::base::config::{InvalidSetting, LogFormat};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// The filter without `RUST_LOG`. librdkafka logs four lines a second while a broker is away; the bus logs the outage once
/// instead.
const DEFAULT_FILTER: &str = "info,librdkafka=off,rdkafka=off";

/// Lines that wait for standard error at most. Lines beyond that are lost, so that a slow reader stops no request. The queue takes
/// 32 bytes of memory a line from the start: 0.5 MiB, in place of the 4 MiB of the 128,000 lines that the crate would take.
const WAITING_LINES_MAX: usize = 16_384;

/// Starts logging to standard error. Keep the guard until the end: dropping it writes the lines that are left.
pub fn start(format: LogFormat) -> Result<WorkerGuard, InvalidSetting> {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES_MAX)
        .lossy(true)
        .finish(std::io::stderr());
    #[expect(clippy::disallowed_methods, reason = "the variable of tracing, by its own name")]
    let filter =
        std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let filter = EnvFilter::try_new(filter).map_err(|error| InvalidSetting {
        setting: EnvFilter::DEFAULT_ENV,
        why: format!("{error}; it looks like info or warn,chassis=debug"),
    })?;
    let layer = fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Only tests start several services in one process; the first one logs for all.
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
    Ok(guard)
}
