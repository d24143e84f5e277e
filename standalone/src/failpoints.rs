//! Where a test has the process die, compiled out of what is released.

/// Arms the point that `KILL_AT` names, if it names one: the process dies there as by kill -9, with
/// nothing flushed or unwound, when the point is passed for the `KILL_AFTER`th time.
pub fn arm() {
    #![expect(clippy::disallowed_methods, reason = "not a setting of the released binary")]
    let Ok(point) = std::env::var("KILL_AT") else { return };
    let after = std::env::var("KILL_AFTER").ok().and_then(|count| count.parse().ok()).unwrap_or(1);
    let passed = std::sync::atomic::AtomicU64::new(0);
    fail::cfg_callback(point, move || {
        if passed.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == after {
            std::process::abort();
        }
    })
    .expect("the point can be armed");
}
