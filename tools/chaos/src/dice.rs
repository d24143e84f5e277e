//! Pseudorandom numbers that a seed repeats.

/// A seeded pseudorandom number generator (xorshift).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Returns a generator whose sequence depends on the seed only.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Returns a number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }

    /// Returns one of `things`.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        let index = self.roll(things.len() as u64);
        &things[usize::try_from(index).expect("the index is below the length")]
    }
}
