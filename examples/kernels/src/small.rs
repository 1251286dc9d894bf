//! The smallest kernels: [`hello`](struct@hello) and [`fan_out`](struct@fan_out).

use doca_dpa_dev::prelude::*;

/// Says hello through the host's log, once per thread.
#[dpa_kernel]
pub fn hello(thread: &Thread) {
    info!(
        thread,
        "hello from thread {} of {}",
        thread.rank(),
        thread.threads()
    );
}

/// Adds `rank + id` to the slot of this launch, which is `id` modulo the number of slots.
///
/// The sum over all slots tells the host that every thread of every launch ran exactly once.
#[dpa_kernel]
pub fn fan_out(thread: &Thread, slots: AtomicSlice<u64>, id: u64) {
    let slot = id as usize % slots.len().max(1);
    slots.at(slot).add(u64::from(thread.rank()) + id);
}
