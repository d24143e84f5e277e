//! Changes of stock that wait until they are told: of each gifticon the newest one.

use crate::live::shown::Shown;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// An event that is to be told.
pub(super) struct News {
    /// Its place among all events that were read.
    pub(super) turn: u64,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) shown: Shown,
}

/// The newest change of each gifticon. Who waits for the longest time is told first.
#[derive(Default)]
pub(super) struct StockChanges {
    turns: VecDeque<i64>,
    newest: HashMap<i64, News>,
    /// For each partition, the last offset before the changes that wait.
    before: BTreeMap<i32, i64>,
}

impl StockChanges {
    /// Adds a change. It takes the turn of an older one of its gifticon, which is never told.
    pub(super) fn put(&mut self, gifticon: i64, change: News) {
        self.before.entry(change.partition).or_insert(change.offset - 1);
        if self.newest.insert(gifticon, change).is_none() {
            self.turns.push_back(gifticon);
        }
    }

    /// Forgets the change of a gifticon of which something newer is told.
    pub(super) fn forget(&mut self, gifticon: i64) {
        if self.newest.remove(&gifticon).is_some() {
            self.turns.retain(|turn| *turn != gifticon);
            self.recompute_before();
        }
    }

    /// Takes `most` changes out, or all where there are fewer.
    pub(super) fn take(&mut self, most: usize) -> Vec<News> {
        let turns = self.turns.drain(..most.min(self.turns.len()));
        let taken = turns.filter_map(|gifticon| self.newest.remove(&gifticon)).collect();
        self.recompute_before();
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Returns how many gifticons have a change that waits.
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// Returns the last offset of `partition` that comes before all changes that wait, if any of it waits.
    pub(super) fn before(&self, partition: i32) -> Option<i64> {
        self.before.get(&partition).copied()
    }

    /// Sets `before` anew, after changes that waited are gone.
    fn recompute_before(&mut self) {
        self.before.clear();
        for change in self.newest.values() {
            let before = self.before.entry(change.partition).or_insert(i64::MAX);
            *before = (*before).min(change.offset - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use common_events::Envelope;

    fn change(gifticon: i64, offset: i64) -> News {
        let json = format!(r#"{{"eventType":"QuantityModified","id":1,"gifticonId":{gifticon}}}"#);
        let envelope = Envelope::from_json(json.as_bytes()).unwrap();
        let shown = Shown::of(&envelope, DateTime::default()).unwrap();
        News { turn: 0, partition: 0, offset, shown }
    }

    fn offsets(changes: Vec<News>) -> Vec<i64> {
        changes.into_iter().map(|change| change.offset).collect()
    }

    #[test]
    fn the_newest_change_takes_the_turn_of_an_older_one() {
        let mut changes = StockChanges::default();
        for (gifticon, offset) in [(1, 10), (2, 11), (1, 12), (3, 13)] {
            changes.put(gifticon, change(gifticon, offset));
        }
        assert_eq!(changes.before(0), Some(9), "no position is told that is after one that waits");
        assert_eq!((changes.len(), offsets(changes.take(1))), (3, vec![12]));
        assert_eq!(changes.before(0), Some(10));
        changes.forget(2);
        assert_eq!((changes.before(0), changes.before(1)), (Some(12), None));
        assert_eq!(offsets(changes.take(9)), [13]);
        assert!(changes.is_empty() && changes.before(0).is_none());
    }
}
