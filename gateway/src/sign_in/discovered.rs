//! What the issuer says of itself, read anew from time to time.

use chassis::auth::Discovery;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it is believed.
const LIFETIME: Duration = Duration::from_mins(5);
/// The least time between two attempts to read it anew, while the issuer is away.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// What the issuer said of itself last, and when that is to be read anew.
#[derive(Default)]
pub(super) struct Discovered(Mutex<Option<(Arc<Discovery>, Instant)>>);

impl Discovered {
    /// Returns what the issuer says of itself; what it said before while it is away. `read` asks it, within a time limit: once
    /// something is known, one request does so, and the others go on with that. An issuer that was never reached is asked by each
    /// request that needs it.
    ///
    /// # Errors
    /// If nothing is known, and `read` fails.
    pub(super) async fn at(
        &self,
        now: Instant,
        read: impl Future<Output = anyhow::Result<Discovery>>,
    ) -> anyhow::Result<Arc<Discovery>> {
        let known = match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some((known, read_anew)) if now < *read_anew => return Ok(Arc::clone(known)),
            Some((known, read_anew)) => {
                *read_anew = now + RETRY_INTERVAL;
                Some(Arc::clone(known))
            }
            None => None,
        };
        match (read.await, known) {
            (Ok(read), _) => {
                let read = Arc::new(read);
                let entry = Some((Arc::clone(&read), now + LIFETIME));
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = entry;
                Ok(read)
            }
            (Err(_), Some(known)) => Ok(known),
            (Err(error), None) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> anyhow::Result<Discovery> {
        Ok(serde_json::from_value(json!({ "issuer": "i", "jwks_uri": "k" }))?)
    }

    #[tokio::test]
    async fn an_issuer_that_is_away_is_not_asked_by_every_request() {
        let (discovered, began, asked) = (Discovered::default(), Instant::now(), Mutex::new(0));
        let at = async |seconds: u64, answer: anyhow::Result<Discovery>| {
            let read = async {
                *asked.lock().unwrap() += 1;
                answer
            };
            let known = discovered.at(began + Duration::from_secs(seconds), read).await;
            (known.is_ok(), *asked.lock().unwrap())
        };
        let away = || Err(anyhow::anyhow!("away"));
        assert_eq!(at(0, away()).await, (false, 1), "nothing is known");
        assert_eq!(at(0, document()).await, (true, 2));
        assert_eq!(at(299, away()).await, (true, 2), "it is believed");
        assert_eq!(at(300, away()).await, (true, 3), "what was known holds");
        assert_eq!(at(309, away()).await, (true, 3));
        assert_eq!(at(310, document()).await, (true, 4));
        assert_eq!(at(609, away()).await, (true, 4));
    }
}
