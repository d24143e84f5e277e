//! What every other layer uses: settings, problems, languages, metrics, logs, clocks and tasks. It imports no other layer.

pub mod clock;
pub mod config;
pub mod i18n;
pub mod logging;
pub mod metrics;
pub(crate) mod outage;
pub mod pace;
pub mod patience;
pub mod problem;
pub(crate) mod tasks;
pub mod trace;
pub mod unavailable;
pub mod uri;
