//! The renewal of tokens that expire.

use super::provider::{Failure, Provider};
use super::session::Session;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the answer for a refresh token is kept: requests with the old session may still come.
const ANSWER_KEPT: Duration = Duration::from_secs(30);
/// How long it is kept that the issuer is away: then it is asked again for the same session.
const AWAY_KEPT: Duration = Duration::from_secs(5);

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
    /// Returns the session with new tokens.
    ///
    /// # Errors
    /// If the issuer refuses them or is away, or there is no refresh token.
    pub(super) async fn renew(&self, provider: &Arc<Provider>, session: &Session) -> Answer {
        let token = session.renewal.clone().ok_or(Failure::Refused)?;
        let answer = {
            let mut renewals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            renewals.retain(|_, renewal| renewal.is_kept());
            let renewal = renewals.entry(token.clone()).or_insert_with(|| {
                let answer = renewed(Arc::clone(provider), session.clone(), token);
                Renewal { began: Instant::now(), answer: answer.boxed().shared() }
            });
            renewal.answer.clone()
        };
        answer.await
    }
}

async fn renewed(provider: Arc<Provider>, session: Session, token: String) -> Answer {
    let tokens = provider.renew(token).await?;
    Ok(Session {
        token: tokens.token,
        renewal: tokens.refresh_token.or(session.renewal),
        id_token: tokens.id_token.or(session.id_token),
        name: session.name,
    })
}
