//! How far a run is, on standard error: one line that is renewed at a terminal, and a line now and then otherwise.

use std::future::Future;
use std::io::{IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

/// Interval at which the line is renewed at a terminal.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(500);
/// Interval between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Says which part of a run is under way, and how far it is. When this is dropped, the line at a terminal vanishes; elsewhere
/// the last that was reached is written, if it is not yet.
pub struct Progress<W: Write = Stderr> {
    part: String,
    began: Instant,
    line: Line<W>,
}

impl Progress {
    fn new(part: impl Into<String>) -> Self {
        let line = Line::new(std::io::stderr(), std::io::stderr().is_terminal());
        Self { part: part.into(), began: Instant::now(), line }
    }

    /// Begins a part of which nobody knows how long it is, and names it.
    pub fn begin(part: impl Into<String>) -> Self {
        let mut progress = Self::new(part);
        progress.line.say(&progress.part, progress.began);
        progress
    }

    /// Begins a part of `total` pieces, and says that none is done.
    pub fn counting(part: impl Into<String>, total: u64, unit: &str) -> Self {
        let mut progress = Self::new(part);
        progress.reached(0, total, unit);
        progress
    }

    /// Begins a part that takes `time`.
    pub fn timing(part: impl Into<String>, time: Duration) -> Self {
        let mut progress = Self::new(part);
        progress.ticks(Some(time));
        progress
    }
}

impl<W: Write> Progress<W> {
    /// Says that `done` of `total` are done.
    pub fn reached(&mut self, done: u64, total: u64, unit: &str) {
        self.reached_at(Instant::now(), done, total, unit);
    }

    fn reached_at(&mut self, now: Instant, done: u64, total: u64, unit: &str) {
        self.line.say(&format!("{}: {done} of {total} {unit}", self.part), now);
    }

    /// Says how long it has taken, of `time` if that is known.
    pub fn ticks(&mut self, time: Option<Duration>) {
        self.ticks_at(Instant::now(), time);
    }

    fn ticks_at(&mut self, now: Instant, time: Option<Duration>) {
        let passed = now.saturating_duration_since(self.began).as_secs();
        let of = time.map(|time| format!(" of {}", time.as_secs_f64().ceil())).unwrap_or_default();
        self.line.say(&format!("{}: {passed}{of} s", self.part), now);
    }

    /// Takes the line away, so that others can be printed. The next one is written again.
    pub fn clear(&mut self) {
        self.line.clear();
    }
}

/// Runs a part that takes about `time`, if that is known, and says meanwhile how far it is.
pub async fn during<T>(
    part: impl Into<String>,
    time: Option<Duration>,
    work: impl Future<Output = T>,
) -> T {
    let mut progress = Progress::new(part); // the first tick is at once
    let mut ticks = tokio::time::interval(RENEWAL_INTERVAL);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => progress.ticks(time),
        }
    }
}

/// A line that is written again and again.
struct Line<W: Write> {
    out: W,
    is_terminal: bool,
    last: Option<Instant>,
    is_open: bool,
    /// The newest text, where it came too early to be written.
    unwritten: Option<String>,
}

impl<W: Write> Line<W> {
    fn new(out: W, is_terminal: bool) -> Self {
        Self { out, is_terminal, last: None, is_open: false, unwritten: None }
    }

    /// Writes `text`, unless the last one is too new at `now`.
    fn say(&mut self, text: &str, now: Instant) {
        let interval = if self.is_terminal { RENEWAL_INTERVAL } else { LINE_INTERVAL };
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < interval) {
            self.unwritten = Some(text.to_owned());
            return;
        }
        (self.last, self.unwritten) = (Some(now), None);
        // Nobody may read it, which ends no run.
        let _ = if self.is_terminal {
            self.is_open = true;
            write!(self.out, "\r\x1b[2K{text}")
        } else {
            writeln!(self.out, "{text}")
        };
        let _ = self.out.flush();
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_open) {
            let _ = write!(self.out, "\r\x1b[2K");
            let _ = self.out.flush();
            self.last = None;
        }
    }
}

impl<W: Write> Drop for Line<W> {
    fn drop(&mut self) {
        self.clear();
        if let Some(text) = self.unwritten.take().filter(|_| !self.is_terminal) {
            let _ = writeln!(self.out, "{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is written in `seconds` seconds, in which each half a second counts.
    fn written(is_terminal: bool, seconds: u64) -> String {
        let mut out = Vec::new();
        let mut line = Line::new(&mut out, is_terminal);
        let began = Instant::now();
        for count in 0..=seconds * 2 {
            line.say(
                &format!("cut: {count}"),
                began + RENEWAL_INTERVAL * u32::try_from(count).unwrap(),
            );
        }
        drop(line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_line_is_renewed_at_a_terminal_and_vanishes_in_the_end() {
        let clear = "\r\x1b[2K";
        assert_eq!(written(true, 1), format!("{clear}cut: 0{clear}cut: 1{clear}cut: 2{clear}"));
    }

    #[test]
    fn without_a_terminal_there_is_a_line_now_and_then() {
        assert_eq!(written(false, 25), "cut: 0\ncut: 20\ncut: 40\ncut: 50\n");
    }

    /// Returns what is written of a part, where `say` says each second how far it is.
    fn of_a_part(say: impl Fn(&mut Progress<&mut Vec<u8>>, Instant, u64)) -> String {
        let (mut out, began) = (Vec::new(), Instant::now());
        let line = Line::new(&mut out, false);
        let mut progress = Progress { part: "rolling restarts".into(), began, line };
        for second in 0..=23 {
            say(&mut progress, began + Duration::from_secs(second), second);
        }
        drop(progress);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_part_says_its_count_and_total_at_first_meanwhile_and_in_the_end() {
        let counted = of_a_part(|progress, now, second| {
            progress.reached_at(now, 2 * second, 46, "replicas");
        });
        let wanted =
            [0, 20, 40, 46].map(|done| format!("rolling restarts: {done} of 46 replicas\n"));
        assert_eq!(counted, wanted.concat());
        let time = Some(Duration::from_millis(22_500));
        let timed = of_a_part(|progress, now, _| progress.ticks_at(now, time));
        let wanted = [0, 10, 20, 23].map(|done| format!("rolling restarts: {done} of 23 s\n"));
        assert_eq!(timed, wanted.concat());
    }
}
