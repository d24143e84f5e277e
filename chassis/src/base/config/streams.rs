//! The setting `STREAMS_MAX`.

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
