//! How often each client may do something.
//!
//! This is the generic cell rate algorithm (ITU-T I.371): for each client one moment, up to which what it did is paid for. It is
//! our own since the time that a write pays for grows with the number of replicas, without forgetting what was paid: the
//! crate `governor` has a fixed one.

use crate::http::caller::Caller;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients from which on those are forgotten that have paid.
pub(super) const CLIENTS_KEPT: usize = 1_024;

/// What each client did lately.
pub struct CallerRate(Mutex<Clients>);

struct Clients {
    /// Up to when what each did is paid for.
    paid_until: HashMap<Caller, Instant>,
    /// Those that have paid are forgotten once there are so many.
    kept: usize,
}

impl Default for CallerRate {
    fn default() -> Self {
        Self(Mutex::new(Clients { paid_until: HashMap::new(), kept: CLIENTS_KEPT }))
    }
}

impl CallerRate {
    /// Counts something that a client does at the moment `now`, each of which pays for `pays_for`. What pays for `burst` may
    /// come at once.
    ///
    /// # Errors
    /// How long the client has to wait if it did too much.
    pub fn count(
        &self,
        client: Caller,
        pays_for: Duration,
        burst: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let paid_until = clients.paid_until.get(&client).copied().unwrap_or(now).max(now);
        let wait = (paid_until + pays_for).duration_since(now).saturating_sub(burst.max(pays_for));
        if !wait.is_zero() {
            return Err(wait);
        }
        clients.paid_until.insert(client, paid_until + pays_for);
        if clients.paid_until.len() > clients.kept {
            clients.paid_until.retain(|_, paid_until| *paid_until > now);
            clients.kept = CLIENTS_KEPT.max(2 * clients.paid_until.len());
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).paid_until.len()
    }
}

/// Returns the seconds after which the wait is over: 1 at least.
pub(super) fn whole_seconds(wait: Duration) -> u16 {
    u16::try_from(wait.as_nanos().div_ceil(1_000_000_000).max(1)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_try_again_before_it_is_time() {
        for (wait, seconds) in [
            (Duration::from_micros(1), 1),
            (Duration::from_secs(1), 1),
            (Duration::from_millis(1_001), 2),
            (Duration::MAX, u16::MAX),
        ] {
            assert_eq!(whole_seconds(wait), seconds, "{wait:?}");
        }
    }
}
