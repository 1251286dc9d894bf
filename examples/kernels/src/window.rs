//! A kernel that overwrites memory of the host.

use doca_dpa_dev::prelude::*;

/// Overwrites each byte with itself XORed with the key's byte at the same place, in a memory that the host sees as well. Twice
/// the same key gives back what was there.
#[dpa_kernel]
pub fn scramble(thread: &Thread, memory: DevSliceMut<u64>, key: u64) {
    for index in thread.strided(memory.len()) {
        memory.write(
            index,
            memory.read(index) ^ key.rotate_left(index as u32 % 64),
        );
    }
}
