//! Gathers reservations that are requested at the same time into one call.
//!
//! A call costs both sides some 100 us of CPU, however many reservations are in it. The writer answers many attempts at once, so
//! their reservations are requested together. Nothing waits for a timer: what has been requested is sent at once.

use crate::stock::answer::{Answer, Request, Unanswered};
use crate::stock::calls::Calls;
use chassis::http::breaker::{Breaker, CallError};
use common_events::number::RESERVATIONS_MAX;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::task::yield_now;

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
        // A probe of a half-open circuit is one reservation.
        let together = self.breaker.is_closed() && self.calls.takes_many();
        let most = if together { RESERVATIONS_MAX } else { 1 };
        while waiting.len() > most {
            let rest = waiting.split_off(most);
            tokio::spawn(self.clone().send(std::mem::replace(&mut waiting, rest)));
        }
        self.send(waiting).await;
    }

    /// Makes one call through the breaker, and hands out the answers.
    async fn send(self, mut waiting: Vec<Waiting>) {
        if waiting.len() == 1
            && let Some(one) = waiting.pop()
        {
            return self.send_one(one).await;
        }
        let (requests, answers): (Vec<Request>, Vec<_>) = waiting.into_iter().unzip();
        let call = self.calls.reserve_each(&requests);
        let failed = |answer: &Option<Vec<_>>| answer.as_deref().is_some_and(mostly_failed);
        let outcomes = match self.breaker.call_unless(call, failed).await {
            Ok(Some(outcomes)) => outcomes,
            Ok(None) => {
                for one in requests.into_iter().zip(answers) {
                    tokio::spawn(self.clone().send_one(one));
                }
                return;
            }
            Err(error) => vec![Err(Unanswered::from(error)); answers.len()],
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            let _ = answer.send(outcome);
        }
    }

    /// Makes a call for one reservation through the breaker, and hands out the answer.
    async fn send_one(self, (request, answer): Waiting) {
        let outcome = self.breaker.call(self.calls.reserve(&request)).await;
        let _ = answer.send(outcome.map_err(Unanswered::from));
    }
}

/// Returns whether most reservations of a call failed.
fn mostly_failed(outcomes: &[Outcome]) -> bool {
    outcomes.iter().filter(|outcome| outcome.is_err()).count() * 2 > outcomes.len()
}

impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Open(_) => Self::Unsent,
            CallError::Late(_) => Self::Late,
            CallError::Failed { .. } => Self::failed(&anyhow::Error::from(error)),
        }
    }
}
