//! Which partition a key belongs to.

/// As many as a topic of ours has in Kafka.
pub(super) const PARTITIONS: i32 = 6;

/// The partition of a key: the same for ever, so no hasher that may change with a compiler.
pub(super) fn partition(key: &str) -> i32 {
    let fnv = key
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i32::try_from(fnv % PARTITIONS.unsigned_abs()).unwrap_or_default()
}
