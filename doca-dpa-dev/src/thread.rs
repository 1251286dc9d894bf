//! The thread of a kernel, as its author sees it.

use core::ops::{Deref, Range};
use core::time::Duration;

use dpa_abi::access::AtomicNumber;
use dpa_abi::kernel::{result_from_bits, result_to_bits};
use dpa_abi::{DevAddr, EventHandle, FaultKind, Pod};
use flexio_dev::{AtomicSlice, DevEvent, DevSlice, DevSliceMut, ReduceOp, ThreadContext};

use crate::rank_slice::RankSlice;

/// One thread of a kernel: its rank, its share of the work, its way to the other threads and to the device.
///
/// Having one proves that the thread is started and running. It cannot leave the thread, and no view made with it can.
/// Fences, `barrier()`, `fault(..)`, `error(..)`, `safe_point()` and `yield_now()` are those of the [`ThreadContext`]
/// below it.
#[doc(alias = "flexio_dev_get_thread_ctx")]
#[derive(Clone, Copy, Debug)]
pub struct Thread<'t>(&'t ThreadContext<'t>);

impl<'t> Deref for Thread<'t> {
    type Target = ThreadContext<'t>;

    #[inline]
    fn deref(&self) -> &ThreadContext<'t> {
        self.0
    }
}

impl<'t> Thread<'t> {
    /// The thread of this context. Kernels get theirs from the trampoline that `#[dpa_kernel]` makes.
    #[inline]
    pub fn new(context: &'t ThreadContext<'t>) -> Self {
        Self(context)
    }

    /// The indices below `len` that are this thread's when all threads take turns: rank, rank + threads, ..
    #[inline]
    pub fn strided(&self, len: usize) -> impl Iterator<Item = usize> + use<> {
        (self.rank() as usize..len).step_by(self.threads().max(1) as usize)
    }

    /// The contiguous part of `0..len` that is this thread's. All parts together are the whole, in the order of the
    /// ranks, and differ in length by at most one.
    #[inline]
    pub fn chunk(&self, len: usize) -> Range<usize> {
        chunk(len, self.rank() as usize, self.threads().max(1) as usize)
    }

    /// The elements of `view` that are this thread's alone; see [`Thread::chunk`].
    #[track_caller]
    pub fn rank_slice<T: Pod>(&self, view: DevSliceMut<'t, T>) -> RankSlice<'t, T> {
        RankSlice::new(view, self.chunk(view.len()))
    }

    /// Binds `len` elements at `addr` to a checked view for loads.
    ///
    /// # Errors
    /// Unaligned, out of range, freed, or without rights. A kernel that cannot go on hands the error to `fault`.
    pub fn bind<T: Pod>(&self, addr: DevAddr<T>, len: usize) -> Result<DevSlice<'t, T>, FaultKind> {
        self.0.bind(addr, len)
    }

    /// Binds `len` elements at `addr` to a checked view for loads and stores.
    ///
    /// # Errors
    /// As [`Thread::bind`].
    pub fn bind_mut<T: Pod>(
        &self,
        addr: DevAddr<T>,
        len: usize,
    ) -> Result<DevSliceMut<'t, T>, FaultKind> {
        self.0.bind_mut(addr, len)
    }

    /// Binds `len` numbers at `addr` to a checked view for atomic access.
    ///
    /// # Errors
    /// As [`Thread::bind`].
    pub fn bind_atomic<T: AtomicNumber>(
        &self,
        addr: DevAddr<T>,
        len: usize,
    ) -> Result<AtomicSlice<'t, T>, FaultKind> {
        self.0.bind_atomic(addr, len)
    }

    /// The event of a handle that was found in memory. Whether it refers to one is checked at each use.
    pub fn event(&self, handle: EventHandle) -> DevEvent<'t> {
        DevEvent::new(self.0, handle)
    }

    /// Everyone gets the value of the thread of rank `root`: any plain value of at most eight bytes. Waits for all
    /// threads, like `barrier()`. A `root` that is no rank of this launch is a fault.
    #[track_caller]
    pub fn broadcast<T: Pod>(&self, root: u32, value: T) -> T {
        const {
            assert!(
                T::SIZE <= 8,
                "a broadcast takes a value of at most 8 bytes; write a larger one to memory and broadcast its address"
            );
        };
        result_from_bits(self.0.broadcast(root, result_to_bits(value)))
    }

    /// Everyone gets the combination of the numbers of all. Waits for all threads, like `barrier()`.
    #[track_caller]
    pub fn reduce(&self, op: ReduceOp, value: u64) -> u64 {
        self.0.reduce(op, value)
    }

    /// As [`Thread::reduce`] for signed numbers: least and greatest are those of the signed order.
    #[track_caller]
    pub fn reduce_signed(&self, op: ReduceOp, value: i64) -> i64 {
        const SIGN: u64 = 1 << 63;
        let flip = match op {
            ReduceOp::Min | ReduceOp::Max => SIGN,
            _ => 0,
        };
        (self.0.reduce(op, value.cast_unsigned() ^ flip) ^ flip).cast_signed()
    }

    /// The sum of everyone's number, wrapping. Waits for all threads, like `barrier()`.
    #[track_caller]
    pub fn sum(&self, value: u64) -> u64 {
        self.reduce(ReduceOp::Sum, value)
    }

    /// The least of everyone's numbers. Waits for all threads, like `barrier()`.
    #[track_caller]
    pub fn min(&self, value: u64) -> u64 {
        self.reduce(ReduceOp::Min, value)
    }

    /// The greatest of everyone's numbers. Waits for all threads, like `barrier()`.
    #[track_caller]
    pub fn max(&self, value: u64) -> u64 {
        self.reduce(ReduceOp::Max, value)
    }

    /// Time since the device was opened; virtual under the seeded driver. No safe point: a loop that waits for a time calls
    /// `yield_now()` as well.
    #[doc(alias = "__dpa_thread_time")]
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.0.time())
    }
}

/// Part `part` of `parts` of `0..len`; the first `len % parts` have one more.
fn chunk(len: usize, part: usize, parts: usize) -> Range<usize> {
    let (share, more) = (len / parts, len % parts);
    let first = part * share + part.min(more);
    first..first + share + usize::from(part < more)
}

#[cfg(test)]
mod tests {
    use super::chunk;

    #[test]
    fn chunks_are_the_whole_in_order() {
        for (len, parts) in [(0, 3), (1, 3), (7, 3), (9, 3), (5, 8), (1000, 7)] {
            let mut next = 0;
            for part in 0..parts {
                let range = chunk(len, part, parts);
                assert_eq!(range.start, next);
                assert!(range.len() == len / parts || range.len() == len / parts + 1);
                next = range.end;
            }
            assert_eq!(next, len);
        }
    }
}
