//! Kernel stacks, pooled.
//!
//! All stacks of a device come from one reserved mapping. Each has a guard below it, so that an overflow is a
//! recognisable fault. Where the kernel has `MADV_GUARD_INSTALL` (Linux 6.13) guards need no mappings of their own and
//! there may be as many stacks as there is address space; elsewhere each guard costs two of the process's mappings,
//! of which there are 65,530, and the pool is capped well below.

use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use thiserror::Error;

/// Bytes of guard below each stack.
pub const GUARD: usize = 16 * 1024;

const GROUP: usize = 64;
const MAPPED_GUARDS_LIMIT: usize = 16_000;
const MADV_GUARD_INSTALL: i32 = 102;
/// Stacks kept as they are when they come back; what comes back beyond that gives its memory to the system.
const HOT: usize = 512;

/// No stack is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StackError {
    /// As many stacks are in use as there may be.
    #[error("all {limit} kernel stacks are in use")]
    Exhausted {
        /// How many there may be.
        limit: usize,
    },
    /// The system refused the memory.
    #[error("the system refused memory for kernel stacks (error {errno})")]
    Refused {
        /// Its error number.
        errno: i32,
    },
}

/// The stacks of a device.
#[derive(Debug)]
pub struct StackPool {
    base: NonNull<u8>,
    slot: usize,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: Vec<u32>,
    cold: Vec<u32>,
    committed: usize,
    guard_by_advice: bool,
}

// SAFETY: the mapping is only given out in disjoint stacks, each to one owner.
unsafe impl Send for StackPool {}
// SAFETY: as above; the bookkeeping is behind a lock.
unsafe impl Sync for StackPool {}

fn refused(errno: rustix::io::Errno) -> StackError {
    StackError::Refused {
        errno: errno.raw_os_error(),
    }
}

impl StackPool {
    /// Reserves address space for `limit` stacks of `bytes`; memory is taken when they are used.
    ///
    /// # Errors
    /// The system has no address space left.
    pub fn new(bytes: usize, limit: usize) -> Result<Arc<Self>, StackError> {
        let slot = bytes.next_multiple_of(4096) + GUARD;
        let limit = limit.next_multiple_of(GROUP);
        // SAFETY: a fresh mapping at an address of the system's choice touches nothing that exists.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                slot * limit,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .map_err(refused)?;
        // SAFETY: advice about the mapping just made.
        let _ = unsafe { rustix::mm::madvise(base, slot * limit, Advice::LinuxNoHugepage) };
        let base = NonNull::new(base.cast()).ok_or(StackError::Refused {
            errno: libc::ENOMEM,
        })?;
        let state = State {
            free: Vec::new(),
            cold: Vec::new(),
            committed: 0,
            guard_by_advice: true,
        };
        Ok(Arc::new(Self {
            base,
            slot,
            limit,
            state: Mutex::new(state),
        }))
    }

    /// Bytes a kernel can use of each stack.
    pub fn usable(&self) -> usize {
        self.slot - GUARD
    }

    /// Takes a stack.
    ///
    /// # Errors
    /// All are in use, or the system refuses memory.
    pub fn take(self: &Arc<Self>) -> Result<PooledStack, StackError> {
        let mut state = self.state.lock();
        let index = match state.free.pop().or_else(|| state.cold.pop()) {
            Some(index) => index,
            None => {
                self.commit(&mut state)?;
                state
                    .free
                    .pop()
                    .ok_or(StackError::Exhausted { limit: self.limit })?
            }
        };
        Ok(PooledStack {
            pool: self.clone(),
            index,
        })
    }

    /// Makes the next group of stacks accessible, with their guards.
    fn commit(&self, state: &mut State) -> Result<(), StackError> {
        let limit = if state.guard_by_advice {
            self.limit
        } else {
            self.limit.min(MAPPED_GUARDS_LIMIT)
        };
        if state.committed + GROUP > limit {
            return Err(StackError::Exhausted { limit });
        }
        let first = state.committed;
        // SAFETY: the group lies within the reservation.
        let start = unsafe { self.base.add(first * self.slot) };
        // SAFETY: makes a part of our own reservation accessible.
        unsafe {
            rustix::mm::mprotect(
                start.as_ptr().cast(),
                GROUP * self.slot,
                MprotectFlags::READ | MprotectFlags::WRITE,
            )
        }
        .map_err(refused)?;
        for index in first..first + GROUP {
            self.install_guard(state, index)?;
        }
        state.committed += GROUP;
        state
            .free
            .extend((first..first + GROUP).rev().map(|i| i as u32));
        Ok(())
    }

    fn install_guard(&self, state: &mut State, index: usize) -> Result<(), StackError> {
        // SAFETY: the guard is the lowest part of the stack's slot, within the reservation.
        let guard = unsafe { self.base.add(index * self.slot) }
            .as_ptr()
            .cast::<libc::c_void>();
        if state.guard_by_advice {
            // SAFETY: advice about the guard's own pages.
            if unsafe { libc::madvise(guard, GUARD, MADV_GUARD_INSTALL) } == 0 {
                return Ok(());
            }
            state.guard_by_advice = false;
        }
        // SAFETY: takes the guard's own pages away.
        unsafe { rustix::mm::mprotect(guard.cast(), GUARD, MprotectFlags::empty()) }
            .map_err(refused)
    }

    fn give_back(&self, index: u32) {
        let mut state = self.state.lock();
        if state.free.len() < HOT {
            state.free.push(index);
            return;
        }
        drop(state);
        // SAFETY: the stack's own pages above its guard; nobody uses it.
        let _ = unsafe {
            rustix::mm::madvise(
                self.base
                    .as_ptr()
                    .add(index as usize * self.slot + GUARD)
                    .cast(),
                self.usable(),
                Advice::LinuxDontNeed,
            )
        };
        self.state.lock().cold.push(index);
    }

    /// How many stacks there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Stacks in use.
    pub fn in_use(&self) -> usize {
        let state = self.state.lock();
        state.committed - state.free.len() - state.cold.len()
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        // SAFETY: every stack holds the pool, so none is in use any more.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.slot * self.limit) };
    }
}

/// One stack, returned to its pool when dropped.
#[derive(Debug)]
pub struct PooledStack {
    pool: Arc<StackPool>,
    index: u32,
}

impl PooledStack {
    /// The lowest address, of the guard.
    pub fn low(&self) -> usize {
        self.pool.base.as_ptr() as usize + self.index as usize * self.pool.slot
    }

    /// The lowest address above the guard.
    pub fn limit_of_use(&self) -> usize {
        self.low() + GUARD
    }

    /// The address above the highest.
    pub fn high(&self) -> usize {
        self.low() + self.pool.slot
    }

    /// Bytes that can be used.
    pub fn usable(&self) -> usize {
        self.pool.usable()
    }
}

impl Drop for PooledStack {
    fn drop(&mut self) {
        self.pool.give_back(self.index);
    }
}

// SAFETY: `base` and `limit` bound memory that is this value's own while it lives, aligned to pages; below the usable
// part there is a guard.
#[cfg(not(dpa_sanitize))]
unsafe impl corosensei::stack::Stack for PooledStack {
    fn base(&self) -> corosensei::stack::StackPointer {
        corosensei::stack::StackPointer::new(self.high()).expect("not null")
    }
    fn limit(&self) -> corosensei::stack::StackPointer {
        corosensei::stack::StackPointer::new(self.low()).expect("not null")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_disjoint_and_come_back() {
        let pool = StackPool::new(32 * 1024, 64).expect("address space");
        let stacks: Vec<_> = (0..64).map(|_| pool.take().expect("a stack")).collect();
        assert_eq!(pool.in_use(), 64);
        assert_eq!(
            pool.take().expect_err("all in use"),
            StackError::Exhausted { limit: 64 }
        );
        for stack in &stacks {
            // SAFETY: the top of the stack is accessible and this test's own.
            unsafe { ((stack.high() - 8) as *mut u64).write_volatile(stack.low() as u64) };
        }
        for stack in &stacks {
            // SAFETY: as above.
            let read = unsafe { ((stack.high() - 8) as *const u64).read_volatile() };
            assert_eq!(read, stack.low() as u64);
        }
        drop(stacks);
        assert_eq!(pool.in_use(), 0);
        assert!(pool.take().is_ok());
    }
}
