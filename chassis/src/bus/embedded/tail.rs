//! The newest messages, in memory: groups that keep up never read the file.

use crate::bus::interface::Delivery;
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages to keep: a moment's worth at full speed, which is some 6 MB.
const KEPT: usize = 6_144;

/// The newest messages, without gaps.
#[derive(Debug)]
pub(super) struct Tail {
    messages: VecDeque<Arc<Delivery>>,
    /// The offset of the message that comes next.
    next: i64,
}

impl Tail {
    /// Of a log whose next message gets the offset `next`.
    pub(super) fn new(next: i64) -> Self {
        Self { messages: VecDeque::new(), next }
    }

    /// The offset of the message that comes next.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Adds the message that comes next.
    pub(super) fn push(&mut self, message: Arc<Delivery>) {
        self.next = message.place.offset + 1;
        self.messages.push_back(message);
        if self.messages.len() > KEPT {
            self.messages.pop_front();
        }
    }

    /// The messages from offset `from` on, or none where some of them are only in the file.
    pub(super) fn since(&self, from: i64) -> Option<impl Iterator<Item = &Arc<Delivery>>> {
        let missing = usize::try_from(self.next - from).unwrap_or_default();
        (missing <= self.messages.len())
            .then(|| self.messages.range(self.messages.len() - missing..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::interface::TopicPosition;

    fn tail(from: i64, count: i64) -> Tail {
        let mut tail = Tail::new(from);
        for offset in from..from + count {
            let place = TopicPosition { partition: 0, offset };
            let message = Delivery { place, key: None, payload: None, headers: vec![], at: 0 };
            tail.push(Arc::new(message));
        }
        tail
    }

    fn offsets(tail: &Tail, from: i64) -> Option<Vec<i64>> {
        Some(tail.since(from)?.map(|message| message.place.offset).collect())
    }

    #[test]
    fn what_is_only_in_the_file_is_not_passed_over() {
        let tail = tail(7, 3);
        assert_eq!(offsets(&tail, 6), None);
        assert_eq!(offsets(&tail, 7), Some(vec![7, 8, 9]));
        assert_eq!(offsets(&tail, 9), Some(vec![9]));
        assert_eq!(offsets(&tail, 10), Some(vec![]));
        assert_eq!(offsets(&tail, 11), Some(vec![]));
    }

    #[test]
    fn what_was_dropped_is_read_from_the_file() {
        let kept = i64::try_from(KEPT).unwrap();
        let tail = tail(0, kept + 1);
        assert_eq!(offsets(&tail, 0), None);
        assert_eq!(offsets(&tail, 1).map(|read| read.len()), Some(KEPT));
    }
}
