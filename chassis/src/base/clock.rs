//! The wall clock, for people.
//!
//! It may jump by hours at any moment, and it differs between replicas, so no decision depends on it. Waiting times are
//! [`tokio::time::Instant`]s, and the age of rows is counted in the minutes that the service has run (see
//! `storage/running_time.rs`).

/// Returns the time in milliseconds since 1970. Only for timestamps that people read.
pub fn now() -> i64 {
    let now = chrono::Utc::now().timestamp_millis();
    #[cfg(feature = "testing")]
    let now = now + jumps::next();
    now
}

/// Returns the instant of a timestamp in milliseconds since 1970.
pub(crate) fn instant(milliseconds: i64) -> std::time::SystemTime {
    let since = std::time::Duration::from_millis(milliseconds.try_into().unwrap_or_default());
    std::time::UNIX_EPOCH + since
}

/// A clock that jumps, for tests.
#[cfg(feature = "testing")]
pub mod jumps {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    static ERROR_MAX: AtomicI64 = AtomicI64::new(0);
    static READS: AtomicU64 = AtomicU64::new(0);

    /// Makes each later reading of the clock in this process wrong by up to `milliseconds`, forwards or back. No two readings
    /// agree, so code that compares them decides at random.
    pub fn within(milliseconds: i64) {
        ERROR_MAX.store(milliseconds, Ordering::Relaxed);
    }

    /// Returns the error of the next reading, in milliseconds.
    pub(super) fn next() -> i64 {
        let error_max = ERROR_MAX.load(Ordering::Relaxed);
        if error_max == 0 {
            return 0;
        }
        // SplitMix64: <https://prng.di.unimi.it/splitmix64.c>
        let read = READS.fetch_add(1, Ordering::Relaxed);
        let mut mixed = read.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).cast_signed() % error_max
    }
}
