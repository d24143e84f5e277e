//! Numbers that look random and come again with the same seed.

/// A source of numbers (xorshift).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always fall the same way for one seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }

    /// One of `things`.
    ///
    /// # Panics
    /// Where there are none.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        let place = self.roll(things.len() as u64);
        &things[usize::try_from(place).expect("it is below their number")]
    }
}
