//! The renewal of tokens that expire.

use super::provider::{Failure, Provider};
use super::session::Session;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long the answer for a refresh token is kept: requests with the old session may still come.
const ANSWER_KEPT: Duration = Duration::from_secs(30);
/// How long it is kept that the issuer is away: then it is asked again for the same session.
const AWAY_KEPT: Duration = Duration::from_secs(5);
/// How long requests wait for a renewal, from its begin, while the token that they have is still good.
const PATIENCE: Duration = Duration::from_millis(500);

type Answer = Result<Session, Failure>;

/// Renewals under way and lately. A page sends several requests at once, and an issuer may take a refresh token once.
#[derive(Default)]
pub(super) struct Renewals(Mutex<HashMap<String, Renewal>>);

struct Renewal {
    began: Instant,
    answer: Shared<BoxFuture<'static, Answer>>,
}

impl Renewal {
    fn is_kept(&self) -> bool {
        let kept = match self.answer.peek() {
            Some(Err(Failure::Away)) => AWAY_KEPT,
            _ => ANSWER_KEPT,
        };
        self.began.elapsed() < kept
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
                let answer = renewed(Arc::clone(provider), session.clone(), token);
                Renewal { began: Instant::now(), answer: answer.boxed().shared() }
            });
            (renewal.began, renewal.answer.clone())
        };
        if !is_good {
            return answer.await;
        }
        let patience = PATIENCE.saturating_sub(began.elapsed());
        timeout(patience, answer).await.unwrap_or(Err(Failure::Away))
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
