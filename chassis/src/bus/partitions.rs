//! Partitions and offsets, as Kafka and the embedded log share them.

use crate::bus::interface::TopicPosition;
use std::collections::HashMap;

/// The partitions of a topic that we create.
pub(super) const PARTITIONS: i32 = 6;

/// Returns for each partition of `positions` the offset that a group commits: the one after the last position.
pub(super) fn offsets_to_commit(positions: &[TopicPosition]) -> HashMap<i32, i64> {
    let mut offsets: HashMap<i32, i64> = HashMap::new();
    for position in positions {
        let offset = offsets.entry(position.partition).or_default();
        *offset = (*offset).max(position.offset + 1);
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_after_the_last_position_of_each_partition_is_committed() {
        let positions = [(0, 7), (1, 3), (0, 5)];
        let positions = positions.map(|(partition, offset)| TopicPosition { partition, offset });
        assert_eq!(offsets_to_commit(&positions), [(0, 8), (1, 4)].into());
        assert!(offsets_to_commit(&[]).is_empty());
    }
}
