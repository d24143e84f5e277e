//! Fail points: named points at which a test lets the process die. They are compiled out of the released binary.

/// Arms the fail point that `KILL_AT` names, if it is set. The process aborts, without flushing or unwinding, when it passes
/// the point for the `KILL_AFTER`th time (the first by default).
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
    .expect("the fail point can be armed");
}
