//! The circuit around a peer: deadline inside, circuit outside.

mod in_a_row;

use crate::base::metrics::{Fixed, Metrics};
use failsafe::backoff::{Exponential, exponential};
use failsafe::failure_policy::{OrElse, SuccessRateOverTimeWindow, success_rate_over_time_window};
use failsafe::{Config, FailurePolicy, Instrument, StateMachine};
use in_a_row::InARow;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{info, warn};

/// Of at least this many calls in [`WINDOW`], at least [`GOOD`] must succeed.
const CALLS: u32 = 20;
const GOOD: f64 = 0.5;
const WINDOW: Duration = Duration::from_secs(10);
/// How long the circuit stays open, doubled with each failed probe up to the second. failsafe counts
/// whole seconds, and its jittered backoffs make 0 of a 1 here.
const OPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// Calls that may probe a half-open circuit at once. failsafe itself would let all through.
const PROBES: usize = 3;

type Policy = OrElse<SuccessRateOverTimeWindow<Exponential>, InARow<Exponential>>;

/// A call that brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The peer failed too often lately: nothing was sent.
    #[error("the circuit to {0} is open")]
    Open(&'static str),
    /// No answer within the budget: whether the peer acted is unknown.
    #[error("{0} did not answer in time")]
    Late(&'static str),
    /// The call failed: whether the peer acted is unknown.
    #[error("{peer} failed")]
    Failed {
        /// Who.
        peer: &'static str,
        /// How.
        source: anyhow::Error,
    },
}

/// The state of a circuit, as metrics and the limit on probes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed = 0,
    HalfOpen = 1,
    Open = 2,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Transition {
    to: Fixed,
}

/// Sees the transitions.
#[derive(Debug)]
struct Watch {
    peer: &'static str,
    state: AtomicI64,
    gauge: Gauge,
    transitions: Family<Transition, Counter>,
    rejected: Counter,
}

impl Watch {
    fn to(&self, state: State) {
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
        self.transitions.get_or_create(&Transition { to: Fixed(to) }).inc();
        if state == State::Open {
            warn!(peer = self.peer, "the circuit is open: calls are refused for a while");
        } else {
            info!(peer = self.peer, state = name, "the circuit changed");
        }
    }
}

struct Shared(Arc<Watch>);

impl Instrument for Shared {
    fn on_call_rejected(&self) {
        self.0.rejected.inc();
    }

    fn on_open(&self) {
        self.0.to(State::Open);
    }

    fn on_half_open(&self) {
        self.0.to(State::HalfOpen);
    }

    fn on_closed(&self) {
        self.0.to(State::Closed);
    }
}

/// A circuit breaker with a budget for each call.
#[derive(Clone)]
pub struct Breaker {
    peer: &'static str,
    budget: Duration,
    machine: StateMachine<Policy, Shared>,
    watch: Arc<Watch>,
    probes: Arc<Semaphore>,
    /// Whether the failure that is being counted is a late call, for the policy. One is counted at a time.
    late: Arc<AtomicBool>,
    counting: Arc<Mutex<()>>,
}

impl Breaker {
    /// The circuit to `peer`, closed, whose calls may take `budget`.
    pub fn new(peer: &'static str, budget: Duration, metrics: &Metrics) -> Self {
        let watch = Arc::new(Watch {
            peer,
            state: AtomicI64::new(State::Closed as i64),
            gauge: Gauge::default(),
            transitions: Family::default(),
            rejected: Counter::default(),
        });
        metrics.register("breaker_state", "0 closed, 1 half open, 2 open", watch.gauge.clone());
        metrics.register("breaker_transitions", "Changes of state", watch.transitions.clone());
        metrics.register("breaker_rejected", "Calls refused unsent", watch.rejected.clone());
        let backoff = || exponential(OPEN.0, OPEN.1);
        let (late, counting) = (Arc::<AtomicBool>::default(), Arc::default());
        let policy = success_rate_over_time_window(GOOD, CALLS, WINDOW, backoff())
            .or_else(InARow::new(Arc::clone(&late), backoff()));
        let machine =
            Config::new().failure_policy(policy).instrument(Shared(Arc::clone(&watch))).build();
        let probes = Arc::new(Semaphore::new(PROBES));
        Self { peer, budget, machine, watch, probes, late, counting }
    }

    /// How long a call may take.
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// Whether the circuit is closed: calls are made, and none of them is a probe.
    pub fn is_closed(&self) -> bool {
        self.watch.state.load(Ordering::Relaxed) == State::Closed as i64
    }

    /// Counts a failed call.
    fn failed(&self, late: bool) {
        let _one = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        self.late.store(late, Ordering::Relaxed);
        self.machine.on_error();
    }

    /// Whether a call would be made now. An open circuit whose time is over becomes half open here.
    pub fn permits(&self) -> bool {
        self.machine.is_call_permitted()
            && (self.watch.state.load(Ordering::Relaxed) != State::HalfOpen as i64
                || self.probes.available_permits() > 0)
    }

    /// Makes a call. Run it in a task of its own where its caller may go away: a call that is dropped
    /// counts as neither success nor failure.
    ///
    /// An answer that says no is an `Ok` of the call, not an error: it must not open the circuit.
    pub async fn call<T>(
        &self,
        call: impl Future<Output = anyhow::Result<T>>,
    ) -> Result<T, CallError> {
        if !self.machine.is_call_permitted() {
            return Err(CallError::Open(self.peer));
        }
        let half_open = self.watch.state.load(Ordering::Relaxed) == State::HalfOpen as i64;
        let _probe = match half_open.then(|| self.probes.try_acquire()) {
            Some(Err(_)) => {
                self.watch.rejected.inc();
                return Err(CallError::Open(self.peer));
            }
            probe => probe,
        };
        match timeout(self.budget, call).await {
            Ok(Ok(answer)) => {
                self.machine.on_success();
                Ok(answer)
            }
            Ok(Err(source)) => {
                self.failed(false);
                Err(CallError::Failed { peer: self.peer, source })
            }
            Err(_) => {
                self.failed(true);
                Err(CallError::Late(self.peer))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::in_a_row::{IN_A_ROW, ONE_PAUSE};
    use super::*;
    use futures_util::future::join_all;
    use std::future::pending;
    use std::sync::atomic::AtomicUsize;

    fn breaker(budget: u64) -> Breaker {
        Breaker::new("peer", Duration::from_millis(budget), &Metrics::default())
    }

    async fn fail(breaker: &Breaker) -> CallError {
        breaker.call(async { anyhow::bail!("no") as anyhow::Result<()> }).await.unwrap_err()
    }

    async fn be_late(breaker: &Breaker) {
        let late = breaker.call(pending::<anyhow::Result<()>>()).await;
        assert!(matches!(late, Err(CallError::Late(_))));
    }

    #[tokio::test]
    async fn one_pause_that_makes_many_calls_late_does_not_open_the_circuit() {
        let breaker = breaker(20);
        join_all((0..100).map(|_| be_late(&breaker))).await;
        assert!(breaker.is_closed());
        assert!(breaker.call(async { Ok(()) }).await.is_ok());
        let began = std::time::Instant::now();
        while breaker.is_closed() {
            join_all((0..10).map(|_| be_late(&breaker))).await;
        }
        let lasted = began.elapsed();
        assert!(lasted >= ONE_PAUSE, "it opened after {lasted:?}");
        assert!(lasted < 10 * ONE_PAUSE, "it opened after {lasted:?} only");
    }

    #[tokio::test]
    async fn late_calls_and_failures_open_the_circuit_and_answers_do_not() {
        let breaker = breaker(20);
        for _ in 0..100 {
            assert!(breaker.call(async { Ok("sold out") }).await.is_ok());
        }
        for _ in 0..3 {
            be_late(&breaker).await;
        }
        for _ in 3..IN_A_ROW {
            assert!(matches!(fail(&breaker).await, CallError::Failed { .. }));
        }
        let called = AtomicUsize::new(0);
        let call = async {
            called.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        assert!(matches!(breaker.call(call).await, Err(CallError::Open(_))));
        assert_eq!(called.load(Ordering::Relaxed), 0, "an open circuit sends nothing");
        assert_eq!(breaker.watch.gauge.get(), State::Open as i64);
    }

    #[tokio::test]
    async fn a_half_open_circuit_lets_a_handful_through_and_heals() {
        let breaker = breaker(1_000);
        for _ in 0..IN_A_ROW {
            fail(&breaker).await;
        }
        let healed = async {
            while breaker.watch.state.load(Ordering::Relaxed) != State::HalfOpen as i64 {
                tokio::task::yield_now().await;
                breaker.machine.is_call_permitted();
            }
        };
        timeout(Duration::from_secs(10), healed).await.expect("it never became half open");

        let (inside, go) = (AtomicUsize::new(0), tokio::sync::Notify::new());
        let calls = (0..20).map(|_| {
            breaker.call(async {
                inside.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                Ok(())
            })
        });
        let mut calls: Vec<_> = calls.map(Box::pin).collect();
        let mut refused = 0;
        for call in &mut calls {
            if let Some(Err(CallError::Open(_))) = futures_util::FutureExt::now_or_never(call) {
                refused += 1;
            }
        }
        assert_eq!((inside.load(Ordering::Relaxed), refused), (PROBES, 20 - PROBES));
        drop(calls);
        assert!(breaker.call(async { Ok(()) }).await.is_ok());
        assert_eq!(breaker.watch.gauge.get(), State::Closed as i64);
    }
}
