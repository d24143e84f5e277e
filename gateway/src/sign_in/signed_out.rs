//! Sessions that were signed out lately.

use super::session::Session;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a session is remembered: longer than a request that came before the sign-out may take.
const KEPT: Duration = Duration::from_mins(1);

/// The ids of sessions that were signed out lately at this process. A request that came with such a session before, and renewed
/// it meanwhile, does not bring it back.
#[derive(Default)]
pub(super) struct SignedOut(Mutex<HashMap<String, Instant>>);

impl SignedOut {
    /// Remembers a session.
    pub(super) fn put(&self, session: &Session) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.retain(|_, at| at.elapsed() < KEPT);
        ids.extend(session.id.clone().map(|id| (id, Instant::now())));
    }

    /// Returns true if the session was signed out lately.
    pub(super) fn has(&self, session: &Session) -> bool {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = session.id.as_ref().and_then(|id| ids.get(id));
        at.is_some_and(|at| at.elapsed() < KEPT)
    }
}
