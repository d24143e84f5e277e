//! How many replicas of a service there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many replicas of a service there are, as this one sees it: one, until it sees others. Clones share the number.
#[derive(Clone, Debug)]
pub struct Replicas(Arc<AtomicUsize>);

impl Default for Replicas {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(1)))
    }
}

impl Replicas {
    /// Sets the number; 0 counts as one.
    pub(crate) fn set(&self, replicas: usize) {
        self.0.store(replicas.max(1), Ordering::Relaxed);
    }

    /// Returns the part of one replica in a bound of `all` of them, rounded up.
    pub(crate) fn part_of(&self, all: usize) -> usize {
        all.div_ceil(self.0.load(Ordering::Relaxed))
    }
}
