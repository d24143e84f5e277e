//! A circuit breaker for calls to a service, with a timeout for each call.

mod consecutive_failures;

use crate::base::metrics::{Label, Metrics};
use consecutive_failures::ConsecutiveFailures;
use failsafe::backoff::{Exponential, exponential};
use failsafe::failure_policy::{OrElse, SuccessRateOverTimeWindow, success_rate_over_time_window};
use failsafe::{Config, FailurePolicy, Instrument, StateMachine};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{info, warn};

/// The circuit opens if fewer than this part of the calls in [`RATE_WINDOW`] succeed.
const SUCCESS_RATE_MIN: f64 = 0.5;
/// The success rate counts only with at least this many calls in [`RATE_WINDOW`].
const RATE_CALLS_MIN: u32 = 20;
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// How long the circuit stays open at first. Each failed probe doubles it. failsafe counts whole seconds; its backoffs with
/// jitter would turn 1 s into 0 s.
const OPEN_TIME_MIN: Duration = Duration::from_secs(1);
/// The longest time that the circuit stays open.
const OPEN_TIME_MAX: Duration = Duration::from_secs(4);
/// Concurrent calls through a half-open circuit. failsafe does not limit them.
const PROBES_MAX: usize = 3;

type Policy = OrElse<SuccessRateOverTimeWindow<Exponential>, ConsecutiveFailures<Exponential>>;

/// The error for a call without a response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The circuit is open, because the peer failed too often. Nothing was sent.
    #[error("the circuit to {0} is open")]
    Open(&'static str),
    /// No response within the timeout. It is unknown if the peer acted.
    #[error("{0} did not answer in time")]
    Late(&'static str),
    /// The call failed. It is unknown if the peer acted.
    #[error("{peer} failed")]
    Failed {
        /// The name of the peer.
        peer: &'static str,
        /// The cause.
        source: anyhow::Error,
    },
}

/// The state of a circuit. The values are those of the metric `breaker_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed = 0,
    HalfOpen = 1,
    Open = 2,
}

/// The state of a circuit and its metrics.
#[derive(Debug)]
struct Circuit {
    peer: &'static str,
    state: AtomicI64,
    gauge: Gauge,
    transitions: Family<Label, Counter>,
    rejected: Counter,
}

impl Circuit {
    /// Sets the state. Counts and logs a change.
    fn set(&self, state: State) {
        let (code, name) = (state as i64, format!("{state:?}"));
        if self.state.swap(code, Ordering::Relaxed) == code {
            return;
        }
        self.gauge.set(code);
        let to = match state {
            State::Closed => "closed",
            State::HalfOpen => "half_open",
            State::Open => "open",
        };
        self.transitions.get_or_create(&[("to", to)]).inc();
        if state == State::Open {
            warn!(peer = self.peer, "the circuit is open: calls are refused for a while");
        } else {
            info!(peer = self.peer, state = name, "the circuit changed");
        }
    }
}

/// Receives the transitions from failsafe.
struct Transitions(Arc<Circuit>);

impl Instrument for Transitions {
    fn on_call_rejected(&self) {
        self.0.rejected.inc();
    }

    fn on_open(&self) {
        self.0.set(State::Open);
    }

    fn on_half_open(&self) {
        self.0.set(State::HalfOpen);
    }

    fn on_closed(&self) {
        self.0.set(State::Closed);
    }
}

/// A circuit breaker with a timeout for each call. Clones share the circuit.
#[derive(Clone)]
pub struct Breaker {
    peer: &'static str,
    timeout: Duration,
    machine: StateMachine<Policy, Transitions>,
    circuit: Arc<Circuit>,
    probes: Arc<Semaphore>,
    /// True if the failure that is being recorded is a timeout. Protected by `recording`.
    is_timeout: Arc<AtomicBool>,
    recording: Arc<Mutex<()>>,
}

impl Breaker {
    /// Returns a closed circuit to `peer`, each of whose calls may take up to `timeout`.
    pub fn new(peer: &'static str, timeout: Duration, metrics: &Metrics) -> Self {
        let circuit = Arc::new(Circuit {
            peer,
            state: AtomicI64::new(State::Closed as i64),
            gauge: Gauge::default(),
            transitions: Family::default(),
            rejected: Counter::default(),
        });
        metrics.register("breaker_state", "0 closed, 1 half open, 2 open", circuit.gauge.clone());
        metrics.show_breaker(circuit.gauge.clone());
        metrics.register("breaker_transitions", "Changes of state", circuit.transitions.clone());
        metrics.register("breaker_rejected", "Calls refused unsent", circuit.rejected.clone());
        let backoff = || exponential(OPEN_TIME_MIN, OPEN_TIME_MAX);
        let (is_timeout, recording) = (Arc::<AtomicBool>::default(), Arc::default());
        let rate =
            success_rate_over_time_window(SUCCESS_RATE_MIN, RATE_CALLS_MIN, RATE_WINDOW, backoff());
        let policy = rate.or_else(ConsecutiveFailures::new(Arc::clone(&is_timeout), backoff()));
        let transitions = Transitions(Arc::clone(&circuit));
        let machine = Config::new().failure_policy(policy).instrument(transitions).build();
        let probes = Arc::new(Semaphore::new(PROBES_MAX));
        Self { peer, timeout, machine, circuit, probes, is_timeout, recording }
    }

    /// Returns how long a call may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns true if the circuit is closed: calls are made, and none is a probe.
    pub fn is_closed(&self) -> bool {
        self.is_in(State::Closed)
    }

    fn is_in(&self, state: State) -> bool {
        self.circuit.state.load(Ordering::Relaxed) == state as i64
    }

    /// Records a failed call.
    fn record_failure(&self, is_timeout: bool) {
        let _guard = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_timeout.store(is_timeout, Ordering::Relaxed);
        self.machine.on_error();
    }

    /// Returns true if a call would be made now. An open circuit whose time is over becomes half open.
    pub fn permits(&self) -> bool {
        self.machine.is_call_permitted()
            && (!self.is_in(State::HalfOpen) || self.probes.available_permits() > 0)
    }

    /// Makes a call, and returns its response.
    ///
    /// A response that refuses the request must be an `Ok` of `call`: it does not open the circuit. A call that is dropped is
    /// neither a success nor a failure, so run it in its own task if the caller may go away.
    pub async fn call<T>(
        &self,
        call: impl Future<Output = anyhow::Result<T>>,
    ) -> Result<T, CallError> {
        self.call_unless(call, |_| false).await
    }

    /// Makes a call as [`Breaker::call`] does. A response counts as a failure if `failed` says so, and is returned all the same.
    pub async fn call_unless<T>(
        &self,
        call: impl Future<Output = anyhow::Result<T>>,
        failed: impl FnOnce(&T) -> bool,
    ) -> Result<T, CallError> {
        if !self.machine.is_call_permitted() {
            return Err(CallError::Open(self.peer));
        }
        let _probe = match self.is_in(State::HalfOpen).then(|| self.probes.try_acquire()) {
            Some(Err(_)) => {
                self.circuit.rejected.inc();
                return Err(CallError::Open(self.peer));
            }
            probe => probe,
        };
        match timeout(self.timeout, call).await {
            Ok(Ok(response)) => {
                if failed(&response) {
                    self.record_failure(false);
                } else {
                    self.machine.on_success();
                }
                Ok(response)
            }
            Ok(Err(source)) => {
                self.record_failure(false);
                Err(CallError::Failed { peer: self.peer, source })
            }
            Err(_) => {
                self.record_failure(true);
                Err(CallError::Late(self.peer))
            }
        }
    }
}

#[cfg(test)]
mod tests;
