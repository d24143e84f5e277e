//! Gathers reservations that are requested at the same time into one call.
//!
//! A call costs both sides some 100 us of CPU, however many reservations are in it. The writer answers many attempts at once, so
//! their reservations are requested together. Nothing waits for a timer: what has been requested is sent at once.

use crate::stock::answer::{Answer, Request, Unanswered};
use crate::stock::calls::Calls;
use chassis::http::breaker::{Breaker, CallError};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// Reservations in one call at most. If a call is late, the outcome of so many is unknown.
const CALL_MAX: usize = 64;

type Outcome = Result<Answer, Unanswered>;

/// A request, and where its outcome goes.
type Waiting = (Request, oneshot::Sender<Outcome>);

/// The reservations that wait for the next call.
#[derive(Clone)]
pub(super) struct Queue {
    calls: Calls,
    breaker: Breaker,
    waiting: Arc<Mutex<Vec<Waiting>>>,
}

impl Queue {
    pub(super) fn new(calls: Calls, breaker: Breaker) -> Self {
        Self { calls, breaker, waiting: Arc::default() }
    }

    /// Makes a reservation, in a call with others that are requested now.
    pub(super) async fn call(&self, request: Request) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push((request, answer));
            waiting.len() == 1
        };
        if is_first {
            tokio::spawn(self.clone().send_all());
        }
        answered.await.unwrap_or(Err(Unanswered::Failed("the call was lost".into())))
    }

    /// Sends what waits, after all who are ready to request had their turn.
    async fn send_all(self) {
        yield_now().await;
        let mut waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        while waiting.len() > CALL_MAX {
            let rest = waiting.split_off(CALL_MAX);
            tokio::spawn(self.clone().send(std::mem::replace(&mut waiting, rest)));
        }
        self.send(waiting).await;
    }

    /// Makes one call through the breaker, and hands out the answers.
    async fn send(self, waiting: Vec<Waiting>) {
        let (requests, answers): (Vec<Request>, Vec<_>) = waiting.into_iter().unzip();
        let outcomes = match self.breaker.call(self.calls.reserve(&requests)).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let unanswered = match error {
                    CallError::Open(_) => Unanswered::Unsent,
                    CallError::Late(_) => Unanswered::Late,
                    CallError::Failed { .. } => Unanswered::failed(&anyhow::Error::from(error)),
                };
                vec![Err(unanswered); answers.len()]
            }
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            let _ = answer.send(outcome);
        }
    }
}
