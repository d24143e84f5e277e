//! The wall clock, for people.
//!
//! It may jump by hours at any moment, and differs between replicas. Nothing decides by it: waiting times are
//! [`tokio::time::Instant`]s, and the age of rows is counted in the minutes that the service has run
//! (see [`crate::workers::retention`]).

/// Returns the time in milliseconds since 1970. For timestamps that people read, and for nothing else.
pub fn now() -> i64 {
    let now = chrono::Utc::now().timestamp_millis();
    #[cfg(feature = "testing")]
    let now = now + jumps::next();
    now
}

/// A clock that jumps, for tests.
#[cfg(feature = "testing")]
pub mod jumps {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    static WITHIN: AtomicI64 = AtomicI64::new(0);
    static READS: AtomicU64 = AtomicU64::new(0);

    /// From now on, each reading of the clock is wrong by up to so many milliseconds, forwards or back, and no two
    /// readings agree: whatever compares them decides at random. It concerns the whole process.
    pub fn within(milliseconds: i64) {
        WITHIN.store(milliseconds, Ordering::Relaxed);
    }

    /// Returns by how much the next reading is wrong, in milliseconds.
    pub(super) fn next() -> i64 {
        let within = WITHIN.load(Ordering::Relaxed);
        if within == 0 {
            return 0;
        }
        // SplitMix64: <https://prng.di.unimi.it/splitmix64.c>
        let read = READS.fetch_add(1, Ordering::Relaxed);
        let mut mixed = read.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).cast_signed() % within
    }
}
