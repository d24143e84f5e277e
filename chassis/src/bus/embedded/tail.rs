//! The newest messages in memory. A group that keeps up never reads the file.

use crate::bus::interface::Delivery;
use std::collections::VecDeque;
use std::sync::Arc;

/// The messages that are kept, about 6 MB.
const TAIL_MESSAGES_MAX: usize = 6_144;

/// The newest messages, without gaps.
#[derive(Debug)]
pub(super) struct Tail {
    messages: VecDeque<Arc<Delivery>>,
    /// The offset of the next message.
    next: i64,
}

impl Tail {
    /// Returns the tail of a log whose next message gets the offset `next`.
    pub(super) fn new(next: i64) -> Self {
        Self { messages: VecDeque::new(), next }
    }

    /// Returns the offset of the next message.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Adds the next message.
    pub(super) fn push(&mut self, message: Arc<Delivery>) {
        self.next = message.position.offset + 1;
        self.messages.push_back(message);
        if self.messages.len() > TAIL_MESSAGES_MAX {
            self.messages.pop_front();
        }
    }

    /// Returns the messages from offset `from` on, or `None` if some of them are only in the file.
    pub(super) fn since(&self, from: i64) -> Option<impl Iterator<Item = &Arc<Delivery>>> {
        let count = usize::try_from(self.next - from).unwrap_or_default();
        (count <= self.messages.len()).then(|| self.messages.range(self.messages.len() - count..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::interface::TopicPosition;

    fn tail(from: i64, count: i64) -> Tail {
        let mut tail = Tail::new(from);
        for offset in from..from + count {
            let position = TopicPosition { partition: 0, offset };
            let (key, payload, headers) = (None, None, vec![]);
            let message = Delivery { position, key, payload, headers, timestamp: 0 };
            tail.push(Arc::new(message));
        }
        tail
    }

    fn offsets(tail: &Tail, from: i64) -> Option<Vec<i64>> {
        Some(tail.since(from)?.map(|message| message.position.offset).collect())
    }

    #[test]
    fn messages_that_are_only_in_the_file_are_not_skipped() {
        let tail = tail(7, 3);
        assert_eq!(offsets(&tail, 6), None);
        assert_eq!(offsets(&tail, 7), Some(vec![7, 8, 9]));
        assert_eq!(offsets(&tail, 9), Some(vec![9]));
        assert_eq!(offsets(&tail, 10), Some(vec![]));
        assert_eq!(offsets(&tail, 11), Some(vec![]));
    }

    #[test]
    fn the_tail_is_bounded() {
        let kept = i64::try_from(TAIL_MESSAGES_MAX).unwrap();
        let tail = tail(0, kept + 1);
        assert_eq!(offsets(&tail, 0), None);
        assert_eq!(offsets(&tail, 1).map(|read| read.len()), Some(TAIL_MESSAGES_MAX));
    }
}
