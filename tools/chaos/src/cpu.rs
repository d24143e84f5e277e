//! What a process takes of the cores.

use std::time::Duration;

/// Milliseconds of a kernel tick, in which /proc counts the time of processes. Linux has 100 ticks a second
/// everywhere.
const TICK: u64 = 10;

/// The time that the process `pid` has spent on all cores so far; none where it is gone.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which ends with the last bracket: state is the third field, utime the 14th (proc(5)).
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = rest.split_whitespace().skip(14 - 3).take(2);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * TICK)
}
