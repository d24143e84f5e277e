//! Settings, limits, problems, languages, metrics, logs, traces, clocks and tasks. Every other layer uses them; this one imports none.

pub mod accept;
pub mod clock;
pub mod config;
pub mod export;
pub mod i18n;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod outage;
pub mod pace;
pub mod patience;
pub mod problem;
pub mod progress;
pub mod replicas;
pub mod span;
pub(crate) mod tasks;
pub mod trace;
pub mod unavailable;
pub mod uri;
