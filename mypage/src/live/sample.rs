//! Which purchases `/live/stream` shows when there are too many to be followed.

use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::Instant;

/// For how long events are counted.
const COUNTED: Duration = Duration::from_secs(1);

/// Which purchases are shown: one in so many, a power of two.
pub(super) struct Sample {
    one_in: u32,
    counted: u32,
    since: Instant,
}

impl Default for Sample {
    fn default() -> Self {
        Self { one_in: 1, counted: 0, since: Instant::now() }
    }
}

impl Sample {
    /// Shows so many events a second that about `most` are shown. Of more, only every second, fourth or eighth purchase is, and so
    /// on: nobody can follow them, and each goes to everybody. Returns true if another part is shown from now on.
    pub(super) fn adapt(&mut self, most: usize) -> bool {
        let elapsed = self.since.elapsed();
        let is_whole = elapsed >= COUNTED;
        let shown =
            f64::from(u32::try_from(most).unwrap_or(u32::MAX)) * elapsed.max(COUNTED).as_secs_f64();
        // Before a second is over, fewer may be shown since a rush began, and not more.
        let mut one_in = if is_whole { 1 } else { self.one_in };
        while f64::from(self.counted) > shown * f64::from(one_in) && one_in < 1 << 20 {
            one_in *= 2;
        }
        if is_whole {
            (self.counted, self.since) = (0, Instant::now());
        }
        std::mem::replace(&mut self.one_in, one_in) != one_in
    }

    /// Returns true if only a part of the purchases is shown.
    pub(super) fn is_part(&self) -> bool {
        self.one_in > 1
    }

    /// Counts an event of the purchase `id`. Returns true if that is shown. One that is shown remains so if fewer are.
    pub(super) fn shows(&mut self, id: i64) -> bool {
        self.counted = self.counted.saturating_add(1);
        let mixed = id.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        mixed & u64::from(self.one_in - 1) == 0
    }

    /// Writes an event that says which part is shown.
    pub(super) fn write(&self, text: &mut String) {
        let _ = write!(text, "event: sampled\ndata: {{\"oneIn\":{}}}\n\n", self.one_in);
    }
}
