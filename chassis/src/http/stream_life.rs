//! How long an event stream that a token opened goes on: a request is checked once, when it comes.

use crate::base::limits::{TOKEN_BELIEVED_FOR, TOKEN_LEEWAY};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// The last lines of a stream that ends in order: the client connects again soon, in a drain to another process or to the next
/// one.
pub(super) const GOODBYE: &[u8] = b"retry: 500\n\n";

/// Returns how long the stream of a token goes on that expires at `expires`. It ends while the token is still good for its client
/// to connect again, and at another moment than others that were opened at the same time: their clients connect again.
pub(super) fn life(expires: SystemTime) -> Duration {
    life_at(expires, SystemTime::now(), random())
}

/// Returns a random number from 0 to 1.
pub(super) fn random() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

/// Returns it for this time, and a number from 0 to 1.
fn life_at(expires: SystemTime, now: SystemTime, random: f64) -> Duration {
    let until = |moment: SystemTime| moment.duration_since(now).unwrap_or_default();
    let (good, accepted) = (until(expires), until(expires + TOKEN_LEEWAY));
    let by_token = good + accepted.saturating_sub(good).mul_f64(random);
    by_token.min(TOKEN_BELIEVED_FOR.mul_f64(1.0 - random / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_about_when_its_token_expires_and_after_five_minutes_at_most() {
        let now = SystemTime::now();
        for (expires_in, first, last) in [
            (10, 10, 40), // not before it expires, and before it is refused
            (60, 60, 90),
            (3_600, 270, 300), // a long one is looked at again
            (-25, 0, 5),       // good by the leeway alone
            (-60, 0, 0),
        ] {
            let seconds = Duration::from_secs(i64::unsigned_abs(expires_in));
            let expires = if expires_in < 0 { now - seconds } else { now + seconds };
            let mut lives = [0.0, 0.3, 0.6, 1.0].map(|random| life_at(expires, now, random));
            lives.sort_unstable();
            let wanted = [first, last].map(Duration::from_secs);
            assert_eq!([lives[0], lives[3]], wanted, "expires in {expires_in} s");
            assert!(first == last || lives[0] < lives[1] && lives[1] < lives[2], "{lives:?}");
        }
    }
}
