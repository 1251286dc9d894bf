//! Fences and cache control, with the names of `dpaintrin.h`.
//!
//! Memory rules of the device: threads of a process see each other's heap accesses coherently but weakly ordered; the
//! NIC's writes are seen by threads, but a thread's writes are seen by the NIC only after a writeback; host memory
//! through a window is cached until invalidated. The library's own operations fence for their user: updates of and waits
//! for events, barriers, triggers, posts with a doorbell, acknowledgements. These functions are for code that shares
//! memory by hand. Who leaves one out is caught by the seeded driver, under which memory is that weak.

use dpa_abi::DevAddr;
use dpa_abi::port::{Ops, Space};

use crate::context::ThreadContext;

impl ThreadContext<'_> {
    /// Orders this thread's earlier accesses `pred` to `space` before its later accesses `succ` to it.
    #[doc(alias = "__dpa_thread_fence")]
    #[inline]
    pub fn fence(&self, space: Space, pred: Ops, succ: Ops) {
        self.unit().fence(space, pred, succ);
    }

    /// Orders accesses to device memory as the NIC sees it.
    #[doc(alias = "__dpa_thread_memory_fence")]
    pub fn memory_fence(&self, pred: Ops, succ: Ops) {
        self.fence(Space::Memory, pred, succ);
    }

    /// Orders accesses to the outbox: before it, everything written to queues; behind it, the doorbell.
    #[doc(alias = "__dpa_thread_outbox_fence")]
    pub fn outbox_fence(&self, pred: Ops, succ: Ops) {
        self.fence(Space::Mmio, pred, succ);
    }

    /// Orders accesses through windows.
    #[doc(alias = "__dpa_thread_window_fence")]
    pub fn window_fence(&self, pred: Ops, succ: Ops) {
        self.fence(Space::Mmio, pred, succ);
    }

    /// Orders everything before everything.
    #[doc(alias = "__dpa_thread_system_fence")]
    pub fn system_fence(&self) {
        self.fence(Space::System, Ops::Rw, Ops::Rw);
    }

    /// Drops what is cached of windows, so that the next read goes to host memory.
    #[doc(alias = "__dpa_thread_window_read_inv")]
    pub fn window_read_inv(&self) {
        self.fence(Space::Mmio, Ops::R, Ops::R);
    }

    /// Writes back what was stored through windows, so that the host sees it.
    #[doc(alias = "__dpa_thread_window_writeback")]
    pub fn window_writeback(&self) {
        self.fence(Space::Mmio, Ops::W, Ops::W);
    }

    /// Writes back what was stored to device memory, so that the NIC sees it.
    #[doc(alias = "__dpa_thread_memory_writeback")]
    pub fn memory_writeback(&self) {
        self.fence(Space::Memory, Ops::W, Ops::W);
    }

    /// Empties the first-level cache of this unit: what was stored is written back, to device memory and through windows, and
    /// what is read through windows next comes from host memory.
    #[doc(alias = "__dpa_thread_l1_flush")]
    pub fn l1_flush(&self) {
        self.memory_writeback();
        self.window_writeback();
        self.window_read_inv();
    }

    /// Forgets what is cached of the 64 bytes around an address of a window, with what was stored there and not written
    /// back: the next read goes to host memory. At an address of the heap, which is coherent, it has no effect.
    #[doc(alias = "__dpa_data_ignore")]
    pub fn data_ignore<T: 'static>(&self, at: DevAddr<T>) {
        self.unit().data_ignore(at.raw());
    }
}

/// Keeps the compiler from moving accesses over this place. The device may still: that is what fences are for.
#[doc(alias = "__dpa_compiler_barrier")]
#[inline]
pub fn compiler_barrier() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}
