//! The figures of a process for the page `/live`: a few of its metrics, as JSON.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// The figures of a service. What is not known is null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figures {
    pub(super) created_per_second: f64,
    pub(super) outbox_events: i64,
    pub(super) outbox_age_seconds: f64,
    pub(super) lag_events: Option<f64>,
    pub(super) parked_events: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) breaker: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sold_out: Option<u64>,
}

/// What only the figures need.
#[derive(Debug, Default)]
pub(super) struct Extra {
    /// `POST` requests answered with 201.
    created: AtomicU64,
    /// How many there were at the last round, and how many a second came in it.
    rate: Mutex<(u64, f64)>,
    /// The state of the circuit breaker, if there is one.
    breaker: OnceLock<Gauge>,
    /// Purchases refused since not enough are left, if there are purchases.
    sold_out: OnceLock<Counter>,
}

impl Extra {
    pub(super) fn count_created(&self) {
        self.created.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a round, which took `elapsed`.
    pub(super) fn end_round(&self, elapsed: Duration) {
        let created = self.created.load(Ordering::Relaxed);
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let more = u32::try_from(created - rate.0).unwrap_or(u32::MAX);
        *rate = (created, f64::from(more) / elapsed.as_secs_f64().max(0.001));
    }

    pub(super) fn created_per_second(&self) -> f64 {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    pub(super) fn set_breaker(&self, state: Gauge) {
        let _ = self.breaker.set(state);
    }

    pub(super) fn set_sold_out(&self, refused: Counter) {
        let _ = self.sold_out.set(refused);
    }

    pub(super) fn sold_out(&self) -> Option<u64> {
        Some(self.sold_out.get()?.get())
    }

    pub(super) fn breaker(&self) -> Option<&'static str> {
        let state = self.breaker.get()?;
        Some(match state.get() {
            0 => "closed",
            1 => "halfOpen",
            _ => "open",
        })
    }
}
