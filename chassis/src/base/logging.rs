//! Logs to standard error.

use crate::base::config::{InvalidSetting, LogFormat};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// What is logged where `RUST_LOG` says nothing. librdkafka logs four lines a second while a broker
/// is away; the bus says it once instead.
const USUAL: &str = "info,librdkafka=off,rdkafka=off";

/// Starts logging to standard error. Keep the guard: it writes what is left when it is dropped.
pub fn start(format: LogFormat) -> Result<WorkerGuard, InvalidSetting> {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    #[expect(clippy::disallowed_methods, reason = "the variable of tracing, by its own name")]
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| USUAL.to_owned());
    let filter = EnvFilter::try_new(wanted).map_err(|error| InvalidSetting {
        setting: EnvFilter::DEFAULT_ENV,
        why: format!("{error}; it looks like info or warn,chassis=debug"),
    })?;
    let layer = fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Only a test that starts several processes' worth of services in one can be second here.
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
    Ok(guard)
}
