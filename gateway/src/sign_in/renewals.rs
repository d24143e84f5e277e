//! The renewal of tokens that expire.

use super::provider::{Failure, Provider};
use super::session::Session;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long the answer for a refresh token is kept since a request got it: others with the old session may still come.
const ANSWER_KEPT: Duration = Duration::from_secs(30);
/// How long it is kept, from the begin of the renewal, while no request got it: all gave up before it came. The issuer may not
/// take the old refresh token again.
const ANSWER_WAITS: Duration = Duration::from_mins(10);
/// How long it is kept that the issuer is away: then it is asked again for the same session.
const AWAY_KEPT: Duration = Duration::from_secs(5);
/// How long requests wait for a renewal, from its begin, while the token that they have is still good.
const RENEWAL_WAIT_MAX: Duration = Duration::from_millis(500);

type Answer = Result<Session, Failure>;

/// Renewals under way and lately. A page sends several requests at once, and an issuer may take a refresh token once.
#[derive(Default)]
pub(super) struct Renewals(Mutex<HashMap<String, Renewal>>);

struct Renewal {
    began: Instant,
    /// When a request got the answer first.
    delivered: Option<Instant>,
    answer: Shared<BoxFuture<'static, Answer>>,
}

impl Renewal {
    fn is_kept(&self) -> bool {
        // Looked at here: it may have come since the last request gave up.
        match (self.answer.clone().now_or_never(), self.delivered) {
            (Some(Err(Failure::Away)), _) => self.began.elapsed() < AWAY_KEPT,
            (_, Some(delivered)) => delivered.elapsed() < ANSWER_KEPT,
            (_, None) => self.began.elapsed() < ANSWER_WAITS,
        }
    }
}

impl Renewals {
    /// Returns the session with new tokens. If the token that it has `is_good`, an issuer that takes its time is as one that is
    /// away: the renewal goes on, and a later request gets its answer.
    ///
    /// # Errors
    /// If the issuer refuses them or is away, or there is no refresh token.
    pub(super) async fn renew(
        &self,
        provider: &Arc<Provider>,
        session: &Session,
        is_good: bool,
    ) -> Answer {
        let token = session.renewal.clone().ok_or(Failure::Refused)?;
        let (began, answer) = {
            let mut renewals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            renewals.retain(|_, renewal| renewal.is_kept());
            let renewal = renewals.entry(token.clone()).or_insert_with(|| {
                let answer = renewed(Arc::clone(provider), session.clone(), token.clone());
                Renewal { began: Instant::now(), delivered: None, answer: answer.boxed().shared() }
            });
            (renewal.began, renewal.answer.clone())
        };
        let answer = if is_good {
            let left = RENEWAL_WAIT_MAX.saturating_sub(began.elapsed());
            let Ok(answer) = timeout(left, answer).await else { return Err(Failure::Away) };
            answer
        } else {
            answer.await
        };
        let mut renewals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(renewal) = renewals.get_mut(&token) {
            renewal.delivered.get_or_insert_with(Instant::now);
        }
        answer
    }
}

async fn renewed(provider: Arc<Provider>, session: Session, token: String) -> Answer {
    let tokens = provider.renew(token).await?;
    Ok(Session {
        id: session.id,
        token: tokens.token,
        renewal: tokens.refresh_token.or(session.renewal),
        id_token: tokens.id_token.or(session.id_token),
        name: session.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[test]
    fn an_answer_that_no_request_got_waits_for_one() {
        let past = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let kept = |began, delivered: Option<Instant>, answer: Option<Answer>| {
            let answer: BoxFuture<'static, Answer> = match answer {
                Some(answer) => ready(answer).boxed(),
                None => pending().boxed(),
            };
            let answer = answer.shared();
            Renewal { began, delivered, answer }.is_kept()
        };
        let away = || Some(Err(Failure::Away));
        let refused = || Some(Err(Failure::Refused));
        assert!(kept(past(4), Some(past(1)), away()));
        assert!(!kept(past(6), Some(past(1)), away()), "it is asked again");
        assert!(kept(past(500), Some(past(29)), refused()));
        assert!(!kept(past(500), Some(past(31)), refused()));
        assert!(!kept(past(6), None, away()), "nor does it wait for a request");
        assert!(kept(past(500), None, None), "its refresh token may be taken once");
        assert!(!kept(past(601), None, None));
    }
}
