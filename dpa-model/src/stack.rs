//! Kernel stacks, pooled.
//!
//! The stacks of a device are mapped in groups. Each has a guard below it, so that an overflow is a
//! recognisable fault. Where the kernel has `MADV_GUARD_INSTALL` (Linux 6.13) guards need no mappings of their own and
//! there may be as many stacks as there is address space; elsewhere each guard costs two of the process's mappings,
//! of which there are 65,530, and the pool is capped well below.
//!
//! A stack that is left with frames on it stays where it is, with what they had pinned or lent. That is memory of a process that is over, and
//! who fails again and again must not use up what others need: of [`LEFT_LIMIT`] and more the oldest is used again. Those of devices
//! that are closed the program keeps, as many of all; of more the oldest goes back to the system.

use std::collections::VecDeque;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use thiserror::Error;

/// Bytes of guard below each stack.
pub const GUARD: usize = 16 * 1024;

/// Stacks that were left behind, at most: beyond that the one that was left first is used again. As many of all devices that are
/// closed.
pub const LEFT_LIMIT: usize = 512;

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
    #[error("the system refused {bytes} bytes: {}", std::io::Error::from_raw_os_error(*.errno))]
    Refused {
        /// How many bytes: of address space for all stacks of the device, or of memory for the next few.
        bytes: usize,
        /// Its error number.
        errno: i32,
    },
}

/// A stack that was left behind in a device that is closed.
#[derive(Debug)]
struct Orphan {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: nobody uses it any more; it is only given back.
unsafe impl Send for Orphan {}

/// Stacks that were left behind in devices that are closed, the oldest first.
#[derive(Debug)]
struct Orphans(Mutex<VecDeque<Orphan>>);

/// Those of the program.
static ORPHANS: Orphans = Orphans::new();

impl Orphans {
    const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// Keeps these. Of more than [`LEFT_LIMIT`] the first go back to the system.
    fn keep(&self, more: impl Iterator<Item = Orphan>) {
        let mut all = self.0.lock();
        all.extend(more);
        let over = all.len().saturating_sub(LEFT_LIMIT);
        let gone: Vec<Orphan> = all.drain(..over).collect();
        drop(all);
        gone.iter()
            .for_each(|orphan| unmap(orphan.start, orphan.bytes));
    }
}

/// The stacks of a device.
#[derive(Debug)]
pub struct StackPool {
    /// Where those that were left behind go with it.
    orphans: &'static Orphans,
    slot: usize,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Where each group of stacks begins.
    groups: Vec<NonNull<u8>>,
    free: Vec<u32>,
    cold: Vec<u32>,
    /// Those that nobody uses again.
    left: VecDeque<u32>,
    guard_by_advice: bool,
}

// SAFETY: the mappings are only given out in disjoint stacks, each to one owner.
unsafe impl Send for StackPool {}
// SAFETY: as above; the bookkeeping is behind a lock.
unsafe impl Sync for StackPool {}

fn refused(bytes: usize) -> impl Fn(rustix::io::Errno) -> StackError {
    move |errno| StackError::Refused {
        bytes,
        errno: errno.raw_os_error(),
    }
}

/// Takes address space for so many bytes of stacks.
fn map(bytes: usize, access: ProtFlags) -> Result<NonNull<u8>, StackError> {
    // SAFETY: a fresh mapping at an address of the system's choice touches nothing that exists.
    let base = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            bytes,
            access,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    }
    .map_err(refused(bytes))?;
    // SAFETY: advice about the mapping just made.
    let _ = unsafe { rustix::mm::madvise(base, bytes, Advice::LinuxNoHugepage) };
    NonNull::new(base.cast()).ok_or(StackError::Refused {
        bytes,
        errno: libc::ENOMEM,
    })
}

/// Gives it back.
fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: callers give parts of mappings of their own that nobody uses any more.
    let _ = unsafe { rustix::mm::munmap(start.as_ptr().cast(), bytes) };
}

impl State {
    /// Where the slot of a stack begins, of a group that is there, if slots have so many bytes.
    fn start(&self, slot: usize, index: u32) -> NonNull<u8> {
        let index = index as usize;
        // SAFETY: the slot lies within the mapping of its group.
        unsafe { self.groups[index / GROUP].add(index % GROUP * slot) }
    }
}

impl StackPool {
    /// Room for `limit` stacks of `bytes`, of which the first group is there; memory is taken when they are used.
    ///
    /// # Errors
    /// The system has no address space for so many, or promises no memory for the first group.
    pub fn new(bytes: usize, limit: usize) -> Result<Arc<Self>, StackError> {
        Self::among(&ORPHANS, bytes, limit)
    }

    fn among(
        orphans: &'static Orphans,
        bytes: usize,
        limit: usize,
    ) -> Result<Arc<Self>, StackError> {
        let slot = bytes.next_multiple_of(4096) + GUARD;
        let limit = limit.next_multiple_of(GROUP);
        // Only asked for, to be refused here and not when they are needed.
        unmap(map(slot * limit, ProtFlags::empty())?, slot * limit);
        let state = State {
            groups: Vec::new(),
            free: Vec::new(),
            cold: Vec::new(),
            left: VecDeque::new(),
            guard_by_advice: true,
        };
        let pool = Self {
            orphans,
            slot,
            limit,
            state: Mutex::new(state),
        };
        // Where there is no memory for a first kernel, there is no device.
        pool.commit(&mut pool.state.lock())?;
        Ok(Arc::new(pool))
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
            low: state.start(self.slot, index).as_ptr() as usize,
            pool: self.clone(),
            index,
            left: false,
        })
    }

    /// Maps the next group of stacks, with their guards. Stacks that were left behind do not count for the limit.
    fn commit(&self, state: &mut State) -> Result<(), StackError> {
        let limit = if state.guard_by_advice {
            self.limit
        } else {
            self.limit.min(MAPPED_GUARDS_LIMIT)
        };
        let first = state.groups.len() * GROUP;
        if first + GROUP > (limit + state.left.len()).next_multiple_of(GROUP) {
            return Err(StackError::Exhausted { limit });
        }
        let base = map(GROUP * self.slot, ProtFlags::READ | ProtFlags::WRITE)?;
        for at in 0..GROUP {
            // SAFETY: the guard is the lowest part of the stack's slot, within the mapping.
            let guard = unsafe { base.add(at * self.slot) };
            if let Err(error) = install_guard(state, guard) {
                unmap(base, GROUP * self.slot);
                return Err(error);
            }
        }
        state.groups.push(base);
        state
            .free
            .extend((first..first + GROUP).rev().map(|i| i as u32));
        Ok(())
    }

    fn give_back(&self, index: u32) {
        let mut state = self.state.lock();
        if state.free.len() < HOT {
            state.free.push(index);
            return;
        }
        let start = state.start(self.slot, index);
        drop(state);
        // SAFETY: the stack's own pages above its guard; nobody uses it.
        let _ = unsafe {
            rustix::mm::madvise(
                start.as_ptr().add(GUARD).cast(),
                self.usable(),
                Advice::LinuxDontNeed,
            )
        };
        self.state.lock().cold.push(index);
    }

    /// Stacks in use.
    pub fn in_use(&self) -> usize {
        let state = self.state.lock();
        let unused = state.free.len() + state.cold.len() + state.left.len();
        state.groups.len() * GROUP - unused
    }

    /// Nobody uses this one for now. Of those that were left, the one that was first is a stack like others then, if there are more
    /// than [`LEFT_LIMIT`].
    fn leave_behind(&self, index: u32) {
        let mut state = self.state.lock();
        state.left.push_back(index);
        if state.left.len() > LEFT_LIMIT {
            let oldest = state.left.pop_front();
            state.cold.extend(oldest);
        }
    }

    /// Stacks that were left behind.
    #[cfg(test)]
    pub fn left_behind(&self) -> usize {
        self.state.lock().left.len()
    }
}

fn install_guard(state: &mut State, guard: NonNull<u8>) -> Result<(), StackError> {
    let guard = guard.as_ptr().cast::<libc::c_void>();
    if state.guard_by_advice {
        // SAFETY: advice about the guard's own pages.
        if unsafe { libc::madvise(guard, GUARD, MADV_GUARD_INSTALL) } == 0 {
            return Ok(());
        }
        state.guard_by_advice = false;
    }
    // SAFETY: takes the guard's own pages away.
    unsafe { rustix::mm::mprotect(guard.cast(), GUARD, MprotectFlags::empty()) }
        .map_err(refused(GUARD))
}

impl Drop for StackPool {
    /// Every stack that is used holds the pool, so there is none. Those that were left behind stay where they are for now.
    fn drop(&mut self) {
        let (slot, state) = (self.slot, self.state.get_mut());
        self.orphans.keep(state.left.iter().map(|&index| {
            let start = state.start(slot, index);
            Orphan { start, bytes: slot }
        }));
        state.left.make_contiguous().sort_unstable();
        let mut left = state.left.iter().map(|&index| index as usize).peekable();
        for (group, &base) in state.groups.iter().enumerate() {
            let mut from = 0;
            let end = (group + 1) * GROUP;
            while let Some(index) = left.next_if(|&index| index < end) {
                unmap_slots(base, slot, from..index % GROUP);
                from = index % GROUP + 1;
            }
            unmap_slots(base, slot, from..GROUP);
        }
    }
}

fn unmap_slots(base: NonNull<u8>, slot: usize, slots: Range<usize>) {
    if !slots.is_empty() {
        // SAFETY: the slots lie within the mapping of their group.
        let start = unsafe { base.add(slots.start * slot) };
        unmap(start, slots.len() * slot);
    }
}

/// One stack, returned to its pool when dropped.
#[derive(Debug)]
pub struct PooledStack {
    pool: Arc<StackPool>,
    low: usize,
    index: u32,
    left: bool,
}

impl PooledStack {
    /// The lowest address, of the guard.
    pub fn low(&self) -> usize {
        self.low
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

    /// Leaves the stack behind with frames on it whose destructors have not run: it is neither used again nor given back, for others
    /// may rely on what stands there. (Of what is pinned, or borrowed by a thread that a destructor would have waited for, the memory
    /// stays what it is until it is dropped.)
    pub fn leave_behind(mut self) {
        self.left = true;
    }
}

impl Drop for PooledStack {
    fn drop(&mut self) {
        match self.left {
            true => self.pool.leave_behind(self.index),
            false => self.pool.give_back(self.index),
        }
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
    use std::os::unix::fs::FileExt;

    /// The lowest word of a stack.
    fn word(low: usize) -> *mut u64 {
        (low + GUARD) as *mut u64
    }

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

    #[test]
    fn what_was_left_behind_is_not_used_again_and_stays() {
        let mut left = Vec::new();
        {
            let pool = StackPool::new(32 * 1024, 64).expect("address space");
            for round in 0..200 {
                let stack = pool.take().expect("a stack");
                assert!(!left.contains(&stack.low()), "{round}");
                // SAFETY: the lowest word of the stack is accessible and this test's own.
                unsafe { word(stack.low()).write_volatile(round) };
                left.push(stack.low());
                stack.leave_behind();
            }
            assert_eq!((pool.in_use(), pool.left_behind()), (0, 200));
            let all: Vec<_> = (0..64).map(|_| pool.take().expect("as many")).collect();
            assert_eq!(pool.in_use(), 64);
            drop(all);
        }
        for (round, low) in (0..).zip(left) {
            // SAFETY: as above; it is mapped although the pool is gone.
            assert_eq!(unsafe { word(low).read_volatile() }, round);
        }
    }

    #[test]
    fn of_what_is_left_behind_the_oldest_is_used_again_in_the_end() {
        let pool = StackPool::new(4096, 1).expect("address space");
        let mut lows = Vec::new();
        for _ in 0..=LEFT_LIMIT {
            let stack = pool.take().expect("a stack");
            assert!(!lows.contains(&stack.low()));
            lows.push(stack.low());
            stack.leave_behind();
        }
        assert_eq!(pool.left_behind(), LEFT_LIMIT);
        let all: Vec<_> = std::iter::from_fn(|| pool.take().ok()).collect();
        assert!(all.iter().any(|stack| stack.low() == lows[0]));
        let newer = |stack: &&PooledStack| lows[1..].contains(&stack.low());
        assert_eq!(all.iter().filter(newer).count(), 0);
    }

    /// What is written where a stack ends. Where one is given back it is gone, whatever others map there.
    const MARK: u64 = 0x6e65_6b61_7473_6574;

    /// How many of these stacks have what was written there.
    fn marked(lows: &[usize]) -> usize {
        let memory = std::fs::File::open("/proc/self/mem").expect("this program's memory");
        let is = |low: &&usize| {
            let mut bytes = [0; 8];
            let read = memory.read_exact_at(&mut bytes, word(**low) as u64);
            read.is_ok() && u64::from_ne_bytes(bytes) == MARK
        };
        lows.iter().filter(is).count()
    }

    #[test]
    fn of_what_closed_devices_have_left_behind_the_newest_stay() {
        static OWN: Orphans = Orphans::new();
        let mut lows = Vec::new();
        let mut one = || {
            let pool = StackPool::among(&OWN, 4096, 64).expect("address space");
            for _ in 0..64 {
                let stack = pool.take().expect("a stack");
                // SAFETY: the lowest word of the stack is accessible and this test's own.
                unsafe { word(stack.low()).write_volatile(MARK) };
                lows.push(stack.low());
                stack.leave_behind();
            }
            drop(pool);
            lows.clone()
        };
        for _ in 1..LEFT_LIMIT / 64 {
            one();
        }
        assert_eq!(marked(&one()), LEFT_LIMIT, "all of them");
        let lows = one();
        let (gone, kept) = lows.split_at(64);
        assert_eq!((marked(kept), OWN.0.lock().len()), (LEFT_LIMIT, LEFT_LIMIT));
        assert_eq!(marked(gone), 0);
    }
}
