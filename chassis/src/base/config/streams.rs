//! The settings `STREAMS_MAX` and `STREAMS_PER_CLIENT_MAX`.

use std::num::NonZeroUsize;

/// Event streams of one client where there is an issuer: those of many tabs and devices.
const WITH_AN_ISSUER: usize = 32;

/// How many event streams a process serves at once.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct StreamsLimit {
    /// Event streams that are open at once; further ones are refused with 503
    #[arg(long, env, default_value_t = StreamsLimit::default().streams_max)]
    pub streams_max: usize,
}

impl Default for StreamsLimit {
    /// Returns half of the connections of a process: the others are for requests.
    fn default() -> Self {
        Self { streams_max: 4_096 }
    }
}

/// How many event streams one client may have open at once.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ClientStreams {
    /// Event streams that one owner, or one address of guests, may have open at once; further ones are refused with 429; 0
    /// means any number. Unset: 32 with an issuer, any number without
    #[arg(long, env)]
    pub streams_per_client_max: Option<usize>,
}

impl ClientStreams {
    /// Returns the streams of each client. `None` means any number.
    pub fn max(self, has_issuer: bool) -> Option<NonZeroUsize> {
        let default = if has_issuer { WITH_AN_ISSUER } else { 0 };
        NonZeroUsize::new(self.streams_per_client_max.unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_a_client_are_limited_with_an_issuer_or_by_the_setting() {
        for (set, with_issuer, without) in [(None, 32, 0), (Some(5), 5, 5), (Some(0), 0, 0)] {
            let max = |has_issuer| {
                let max = ClientStreams { streams_per_client_max: set }.max(has_issuer);
                max.map_or(0, NonZeroUsize::get)
            };
            assert_eq!((max(true), max(false)), (with_issuer, without), "{set:?}");
        }
    }
}
