use super::consecutive_failures::FAILURES_TO_OPEN;
use super::*;
use crate::testing::eventually;
use futures_util::FutureExt;
use std::future::pending;
use std::sync::atomic::AtomicUsize;

fn breaker(timeout_ms: u64) -> Breaker {
    Breaker::new("peer", Duration::from_millis(timeout_ms), &Metrics::default())
}

async fn fail(breaker: &Breaker) -> CallError {
    breaker.call(async { anyhow::bail!("no") as anyhow::Result<()> }).await.unwrap_err()
}

async fn time_out(breaker: &Breaker) {
    let result = breaker.call(pending::<anyhow::Result<()>>()).await;
    assert!(matches!(result, Err(CallError::Late(_))));
}

#[tokio::test]
async fn timeouts_of_one_pause_do_not_open_the_circuit() {
    let breaker = breaker(20);
    futures_util::future::join_all((0..100).map(|_| time_out(&breaker))).await;
    assert!(breaker.is_closed());
    assert!(breaker.call(async { Ok(()) }).await.is_ok());
}

#[tokio::test]
async fn timeouts_and_failures_open_the_circuit_and_responses_do_not() {
    let breaker = breaker(20);
    for _ in 0..100 {
        assert!(breaker.call(async { Ok("sold out") }).await.is_ok());
    }
    for _ in 0..3 {
        time_out(&breaker).await;
    }
    for _ in 3..FAILURES_TO_OPEN {
        assert!(matches!(fail(&breaker).await, CallError::Failed { .. }));
    }
    let calls = AtomicUsize::new(0);
    let call = async {
        calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    assert!(matches!(breaker.call(call).await, Err(CallError::Open(_))));
    assert_eq!(calls.load(Ordering::Relaxed), 0, "an open circuit sends nothing");
    assert_eq!(breaker.circuit.gauge.get(), State::Open as i64);
}

#[tokio::test]
async fn a_half_open_circuit_lets_a_few_calls_through_and_closes() {
    let breaker = breaker(1_000);
    for _ in 0..FAILURES_TO_OPEN {
        fail(&breaker).await;
    }
    assert!(breaker.is_in(State::Open));
    // failsafe reads the system clock, so the test has to wait for it.
    eventually("the circuit to become half open", async || breaker.permits().then_some(())).await;
    assert!(breaker.is_in(State::HalfOpen));

    let (in_progress, finish) = (AtomicUsize::new(0), tokio::sync::Notify::new());
    let calls = (0..20).map(|_| {
        breaker.call(async {
            in_progress.fetch_add(1, Ordering::Relaxed);
            finish.notified().await;
            Ok(())
        })
    });
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    let mut refused = 0;
    for call in &mut calls {
        if let Some(Err(CallError::Open(_))) = call.now_or_never() {
            refused += 1;
        }
    }
    assert_eq!((in_progress.load(Ordering::Relaxed), refused), (PROBES_MAX, 20 - PROBES_MAX));
    drop(calls);
    assert!(breaker.call(async { Ok(()) }).await.is_ok());
    assert_eq!(breaker.circuit.gauge.get(), State::Closed as i64);
}
