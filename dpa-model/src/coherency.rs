//! Coherency made visible (SEMANTICS 4.4): under the seeded driver memory is as weakly coherent as on the device.
//!
//! * The NIC does not see what a thread stores to the heap until that is written back: [`image`].
//! * The other threads of a process see it in any order, until it is ordered: [`image`].
//! * Reads through a window are cached until invalidated; stores through one are held until written back: [`cache`].
//! * At any step the seed may evict a line: then it is written back, and fetched again.
//!
//! Sync events, barriers, calls, triggers and the end of a thread are releases of all a thread has stored, and what
//! follows a wait is an acquire: nobody needs fences around them.
//!
//! The `threads` driver has none of this: its memory is coherent.

pub(crate) mod cache;
pub(crate) mod image;

use std::ops::Range;

use dpa_abi::Rights;
use dpa_abi::port::{Ops, Space};

use crate::process::Process;
use crate::seeded::Choices;
use crate::unit::Core;

/// Bytes of a cache line.
pub(crate) const LINE: u64 = 64;

/// A thread that is started: its unit's address.
pub(crate) type ThreadKey = usize;

/// The lines that a range touches.
fn lines(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    let first = range.start - range.start % LINE;
    (first..range.end).step_by(LINE as usize)
}

const fn loads(ops: Ops) -> bool {
    matches!(ops, Ops::R | Ops::Rw)
}

const fn stores(ops: Ops) -> bool {
    matches!(ops, Ops::W | Ops::Rw)
}

impl Core {
    pub(crate) fn thread_key(&self) -> ThreadKey {
        std::ptr::from_ref(self) as usize
    }

    fn choices(&self) -> Option<&Choices> {
        self.worker().device().choices()
    }

    /// Does something with the process under the seeded driver, on the worker's stack.
    #[inline]
    fn if_seeded(&self, f: impl FnOnce(&Process, &Choices, ThreadKey)) {
        if let Some(choices) = self.choices() {
            let (process, key) = (self.process(), self.thread_key());
            self.switch().on_parent_stack(|| f(process, choices, key));
        }
    }

    /// Whether the thread sees windows through a cache.
    #[inline]
    pub(crate) fn caches_windows(&self) -> bool {
        self.choices().is_some()
    }

    /// The thread has bound a range of the heap.
    #[inline]
    pub(crate) fn note_bound(&self, range: Range<u64>, rights: Rights) {
        self.if_seeded(|process, _, key| process.heap.bound(key, range, rights));
    }

    /// What a fence does to caches.
    #[inline]
    pub(crate) fn order(&self, space: Space, pred: Ops, succ: Ops) {
        self.if_seeded(|process, _, key| {
            if stores(pred) {
                match space {
                    Space::Heap => process.heap.publish(key),
                    Space::Memory | Space::System => process.heap.write_back(key),
                    Space::Mmio => {}
                }
            }
            if matches!(space, Space::Mmio | Space::System) {
                process.order_windows(key, stores(pred), loads(pred) && loads(succ));
            }
        });
    }

    /// An update, a trigger, a meeting: whoever sees it sees all that was stored before.
    #[inline]
    pub(crate) fn release_all(&self) {
        self.if_seeded(|process, _, key| {
            process.heap.write_back(key);
            process.order_windows(key, true, false);
        });
    }

    /// What was waited for has come: all that was stored before it is seen.
    #[inline]
    pub(crate) fn acquire_all(&self) {
        self.if_seeded(|process, _, key| process.order_windows(key, false, true));
    }

    /// A doorbell: it orders nothing, but the NIC looks now.
    #[inline]
    pub(crate) fn note_stores(&self) {
        self.if_seeded(|process, _, key| process.heap.publish(key));
    }

    /// The thread leaves its unit for a while.
    #[inline]
    pub(crate) fn leave_memory(&self) {
        self.if_seeded(|process, choices, key| process.heap.leave(key, choices));
    }

    /// It is back.
    #[inline]
    pub(crate) fn come_back_to_memory(&self) {
        self.if_seeded(|process, _, key| process.heap.come_back(key));
    }

    /// The thread is over. On whatever stack.
    #[inline]
    pub(crate) fn memory_of_thread_over(&self) {
        if self.choices().is_some() {
            let (process, key) = (self.process(), self.thread_key());
            process.heap.thread_over(key);
            process.windows.caches().thread_over(key);
        }
    }
}

impl Process {
    fn order_windows(&self, key: ThreadKey, write_back: bool, invalidate: bool) {
        let caches = self.windows.caches();
        if write_back {
            caches.write_back(key);
        }
        if invalidate {
            caches.invalidate(key);
        }
    }

    /// At a step of the seeded driver caches may lose lines, and stores come through.
    pub(crate) fn age_caches(&self, choices: &Choices) {
        self.heap.evict(choices);
        self.windows.caches().evict(choices);
    }

    /// Stores that were kept back come through; false if there were none.
    pub(crate) fn drain_stores(&self) -> bool {
        self.heap.drain()
    }
}
