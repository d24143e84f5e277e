//! The newest messages of a partition, in memory: groups that keep up never read the file.

use super::super::Delivery;
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages to keep: a moment's worth at full speed, which is some 0.5 MB a partition.
const KEPT: usize = 1_024;

/// The newest messages, without gaps.
#[derive(Debug, Default)]
pub(super) struct Tail {
    messages: VecDeque<Arc<Delivery>>,
    /// The offset of the last message that is not here; none as long as nothing came.
    before: Option<i64>,
}

impl Tail {
    /// Adds the message that follows offset `last` of its partition.
    pub(super) fn push(&mut self, message: Arc<Delivery>, last: i64) {
        self.before.get_or_insert(last);
        self.messages.push_back(message);
        if self.messages.len() > KEPT {
            self.before = self.messages.pop_front().map(|oldest| oldest.place.offset);
        }
    }

    /// Up to `most` messages from offset `from` on, or none where some of them are only in the file.
    pub(super) fn read(&self, from: i64, most: usize) -> Option<Vec<Arc<Delivery>>> {
        if self.before.is_none_or(|before| from <= before) {
            return None;
        }
        let first = self.messages.partition_point(|message| message.place.offset < from);
        Some(self.messages.range(first..).take(most).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Place;

    fn message(offset: i64) -> Arc<Delivery> {
        let place = Place { partition: 0, offset };
        Arc::new(Delivery { place, key: None, payload: vec![], headers: vec![], at: 0 })
    }

    #[test]
    fn what_is_only_in_the_file_is_not_passed_over() {
        let mut tail = Tail::default();
        assert_eq!(tail.read(0, 9), None, "a file from before may hold it");
        tail.push(message(12), 7);
        tail.push(message(15), 12);
        let offsets = |from, most| {
            let read = tail.read(from, most)?;
            Some(read.iter().map(|message| message.place.offset).collect::<Vec<_>>())
        };
        assert_eq!(offsets(7, 9), None);
        assert_eq!(offsets(8, 9), Some(vec![12, 15]));
        assert_eq!(offsets(8, 1), Some(vec![12]));
        assert_eq!(offsets(13, 9), Some(vec![15]));
        assert_eq!(offsets(16, 9), Some(vec![]));
    }

    #[test]
    fn what_was_dropped_is_read_from_the_file() {
        let (mut tail, kept) = (Tail::default(), i64::try_from(KEPT).unwrap());
        for offset in 0..=kept {
            tail.push(message(offset), offset - 1);
        }
        assert_eq!(tail.read(0, 1), None);
        assert_eq!(tail.read(1, KEPT).map(|read| read.len()), Some(KEPT));
    }
}
