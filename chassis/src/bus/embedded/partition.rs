//! The partition of a key.

use crate::bus::partitions::PARTITIONS;

/// Returns the partition of a key, by FNV-1a. It is stored in offsets, so it must never change: a hasher of the standard
/// library may.
pub(super) fn partition(key: &str) -> i32 {
    let fnv = key
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i32::try_from(fnv % PARTITIONS.unsigned_abs()).unwrap_or_default()
}
