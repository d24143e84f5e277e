//! How far a run is, on standard error: one line that is renewed at a terminal, and a line now and then otherwise.

use std::future::Future;
use std::io::{IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

/// Interval at which the line is renewed at a terminal.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(500);
/// Interval between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Says which part of a run is under way, and how far it is. The line vanishes when this is dropped.
pub struct Progress {
    part: String,
    began: Instant,
    line: Line<Stderr>,
}

impl Progress {
    /// Begins a part, and names it.
    pub fn begin(part: impl Into<String>) -> Self {
        let (part, began) = (part.into(), Instant::now());
        let mut line = Line::new(std::io::stderr(), std::io::stderr().is_terminal());
        line.say(&part, began);
        Self { part, began, line }
    }

    /// Says that `done` of `total` are done.
    pub fn reached(&mut self, done: u64, total: u64, unit: &str) {
        let text = format!("{}: {done} of {total} {unit}", self.part);
        self.line.say(&text, Instant::now());
    }

    /// Says how long it has taken, of `time` if that is known.
    pub fn ticks(&mut self, time: Option<Duration>) {
        let passed = self.began.elapsed().as_secs();
        let of = time.map(|time| format!(" of {}", time.as_secs_f64().ceil())).unwrap_or_default();
        let text = format!("{}: {passed}{of} s", self.part);
        self.line.say(&text, Instant::now());
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
    let mut progress = Progress::begin(part);
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
}

impl<W: Write> Line<W> {
    fn new(out: W, is_terminal: bool) -> Self {
        Self { out, is_terminal, last: None, is_open: false }
    }

    /// Writes `text`, unless the last one is too new at `now`.
    fn say(&mut self, text: &str, now: Instant) {
        let interval = if self.is_terminal { RENEWAL_INTERVAL } else { LINE_INTERVAL };
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < interval) {
            return;
        }
        self.last = Some(now);
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
        assert_eq!(written(false, 25), "cut: 0\ncut: 20\ncut: 40\n");
    }
}
