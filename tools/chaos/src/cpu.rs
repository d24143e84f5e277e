//! The CPU time of a process.

use std::time::Duration;

/// Length of a kernel tick, in which /proc counts CPU time. Linux has 100 ticks a second on every platform.
const TICK_MILLIS: u64 = 10;

/// Returns the CPU time that the process `pid` has used on all cores so far, or zero if it has ended.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the name in brackets, which may contain spaces. State is the third field, and utime the 14th: proc(5).
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = rest.split_whitespace().skip(14 - 3).take(2);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * TICK_MILLIS)
}
