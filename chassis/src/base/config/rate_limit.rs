//! The setting `RATE_LIMIT_WRITES`.

use std::num::NonZeroU32;

/// Writes a second with an issuer, unless the setting says otherwise: far more than a person makes.
const WITH_AN_ISSUER: u32 = 20;

/// How much one client may ask for.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct RateLimit {
    /// Writes a second that one owner, or one address of guests, may make; further ones are refused with 429; 0 means any
    /// number. Unset: 20 with an issuer, any number without
    #[arg(long, env)]
    pub rate_limit_writes: Option<u32>,
}

impl RateLimit {
    /// Returns the writes a second of each client. `None` means any number.
    pub fn writes(self, has_issuer: bool) -> Option<NonZeroU32> {
        let default = if has_issuer { WITH_AN_ISSUER } else { 0 };
        NonZeroU32::new(self.rate_limit_writes.unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_limited_with_an_issuer_or_by_the_setting() {
        let writes = |set, has_issuer| {
            let writes = RateLimit { rate_limit_writes: set }.writes(has_issuer);
            writes.map_or(0, NonZeroU32::get)
        };
        assert_eq!((writes(None, false), writes(None, true)), (0, 20));
        assert_eq!((writes(Some(5), false), writes(Some(5), true)), (5, 5));
        assert_eq!((writes(Some(0), false), writes(Some(0), true)), (0, 0));
    }
}
