//! Windows: host memory at device addresses.
//!
//! Each window has a range of device addresses of its own, above the heap, so views of it are bound like views of the heap and
//! checked like them. A range is used again, and the memory behind it let go of, when all launches that started
//! before the window was closed are over: whoever leaves an epoch looks, if there is something to be let go of.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dpa_abi::{DevAddr, FaultKind, Rights, WINDOW_BASE};
use parking_lot::RwLock;
use thiserror::Error;

use crate::coherency::ThreadKey;
use crate::coherency::cache::Caches;
use crate::epoch::{Epochs, Quarantine};
use crate::nic::HostMemory;

/// From one window to the next.
const STEP: u64 = 1 << 40;

/// Why a window was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WindowError {
    /// There are as many as there may be.
    #[error("the process has {limit} windows, as many as it may have")]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// More memory than a window shows.
    #[error("a window onto {asked} bytes was asked for, at most {max} are possible")]
    TooLarge {
        /// Bytes asked for.
        asked: u64,
        /// The most there can be.
        max: u64,
    },
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
}

/// The most windows of a process.
pub const MAX_WINDOWS: usize = 1024;

#[derive(Debug)]
struct Window {
    memory: Arc<HostMemory>,
    rights: Rights,
}

/// The windows of a process.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    state: RwLock<State>,
    /// How many are closed and kept. Who closes one says so before it looks who still runs; who has run has left before it
    /// looks here: so one of the two lets go of it.
    closed: AtomicUsize,
    caches: Caches,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Option<Window>>,
    free: Vec<usize>,
    closed: Quarantine<(usize, Window)>,
}

impl Windows {
    /// Opens a window; its first device address.
    pub(crate) fn open(
        &self,
        epochs: &Epochs,
        memory: &Arc<HostMemory>,
        rights: Rights,
    ) -> Result<u64, WindowError> {
        let asked = memory.len() as u64;
        if asked > STEP {
            return Err(WindowError::TooLarge { asked, max: STEP });
        }
        let mut gone = Vec::new();
        let mut state = self.state.write();
        self.collect_in(&mut state, epochs, &mut gone);
        let slot = match state.free.pop() {
            Some(slot) => slot,
            None if state.slots.len() < MAX_WINDOWS => {
                state.slots.push(None);
                state.slots.len() - 1
            }
            None => return Err(WindowError::Full { limit: MAX_WINDOWS }),
        };
        let memory = memory.clone();
        state.slots[slot] = Some(Window { memory, rights });
        Ok(WINDOW_BASE + slot as u64 * STEP)
    }

    /// Closes the window at this address.
    pub(crate) fn close(&self, epochs: &Epochs, addr: u64) {
        let mut gone = Vec::new();
        let mut state = self.state.write();
        let slot = (addr.wrapping_sub(WINDOW_BASE) / STEP) as usize;
        if let Some(window) = state.slots.get_mut(slot).and_then(Option::take) {
            state.closed.put(epochs, (slot, window));
            self.closed.fetch_add(1, Ordering::SeqCst);
        }
        self.collect_in(&mut state, epochs, &mut gone);
    }

    /// Whether some are closed and kept.
    #[inline]
    pub(crate) fn has_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst) != 0
    }

    /// Lets go of those whose launches are over.
    #[cold]
    pub(crate) fn let_go(&self, epochs: &Epochs) {
        let mut gone = Vec::new();
        let mut state = self.state.write();
        self.collect_in(&mut state, epochs, &mut gone);
    }

    fn collect_in(&self, state: &mut State, epochs: &Epochs, gone: &mut Vec<Window>) {
        state.collect(epochs, gone);
        self.closed.fetch_sub(gone.len(), Ordering::SeqCst);
    }

    /// What threads have cached.
    pub(crate) fn caches(&self) -> &Caches {
        &self.caches
    }

    /// Forgets what a thread has cached of the line of this address.
    pub(crate) fn ignore(&self, key: ThreadKey, addr: u64) {
        let from_base = addr.wrapping_sub(WINDOW_BASE);
        let state = self.state.read();
        let window = state.slots.get((from_base / STEP) as usize);
        if let Some(window) = window.and_then(Option::as_ref) {
            self.caches.ignore(key, &window.memory, from_base % STEP);
        }
    }

    /// Whether an address is one of a window, open or not.
    #[inline]
    pub(crate) fn is_window(addr: u64) -> bool {
        DevAddr::<u8>::from_raw(addr).is_external()
    }

    /// Where these bytes are in this program's memory. They stay there as long as the launch that asks runs.
    ///
    /// A thread that is named has a cache, which atomic operations go past.
    pub(crate) fn bind(
        &self,
        cached_for: Option<ThreadKey>,
        addr: u64,
        len: u64,
        align: u32,
        rights: Rights,
    ) -> Result<NonNull<u8>, FaultKind> {
        if !addr.is_multiple_of(align.into()) {
            return Err(FaultKind::Unaligned { addr, align });
        }
        let out_of_range = FaultKind::OutOfRange { addr, len };
        let from_base = addr.wrapping_sub(WINDOW_BASE);
        let state = self.state.read();
        let window = state.slots.get((from_base / STEP) as usize);
        let window = window.and_then(Option::as_ref).ok_or(out_of_range)?;
        if rights != Rights::Read && window.rights != Rights::ReadWrite {
            return Err(FaultKind::NotWritable { addr });
        }
        let offset = from_base % STEP;
        let place = match cached_for.filter(|_| rights != Rights::Atomic) {
            Some(key) => self.caches.address(key, &window.memory, offset, len),
            None => window.memory.address(offset, len),
        };
        place.ok_or(out_of_range)
    }
}

impl State {
    /// Windows whose launches are over: their places are free, their memory is for the caller to drop.
    fn collect(&mut self, epochs: &Epochs, gone: &mut Vec<Window>) {
        let Self { free, closed, .. } = self;
        closed.take(epochs, |(slot, window)| {
            free.push(slot);
            gone.push(window);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Outcome;
    use crate::rig::{Still, spec};
    use crate::unit::Core;

    /// A window that is closed; whether its memory is there.
    fn closed(process: &Still) -> impl Fn() -> bool + use<> {
        let memory = Arc::new(HostMemory::new(64).expect("memory"));
        let there = Arc::downgrade(&memory);
        let window = process.open_window(&memory, Rights::Read);
        process.close_window(window.expect("a window"));
        move || there.upgrade().is_some()
    }

    /// Whatever its size.
    #[test]
    fn rule_4_5_a_window_begins_at_a_line_here_and_there() {
        let process = Still::new();
        for bytes in [1, 65, 64, 3] {
            let memory = Arc::new(HostMemory::new(bytes).expect("memory"));
            let window = process.open_window(&memory, Rights::Read);
            let here = memory.address(0, 1).expect("within");
            assert_eq!(here.addr().get() % 64, 0, "{bytes}");
            assert_eq!(window.expect("a window") % 64, 0, "{bytes}");
        }
    }

    #[test]
    fn rule_4_1_the_memory_of_a_closed_window_goes_with_the_last_launch_that_may_see_it() {
        let process = Still::new();
        assert!(!closed(&process)(), "nothing runs");
        let core = Core::new();
        core.set_process(Some(process.clone()), None);
        let epoch = core.enter_epoch(None);
        let is_there = closed(&process);
        core.leave_epoch(epoch);
        assert!(is_there(), "the next may take over what it saw");
        core.set_process(None, None);
        assert!(!is_there());
        assert!(!process.windows.has_closed());
    }

    #[test]
    fn launches_in_a_row_keep_no_closed_window() {
        let process = Still::new();
        let [core, other] = [(); 2].map(|()| Core::new());
        for core in [&core, &other] {
            core.set_process(Some(process.clone()), None);
        }
        // Each is awaited: its end is not booked with others.
        let one = |core: &Core| {
            let launch = process.accept(spec());
            core.leave_epoch(core.enter_epoch(None));
            process.ended(&launch, Outcome::Completed);
        };
        one(&core);
        one(&other);
        let is_there = closed(&process);
        other.set_process(None, None);
        assert!(is_there());
        (0..3).for_each(|_| one(&core));
        assert!(!is_there());
        core.set_process(None, None);
    }

    #[test]
    fn a_step_keeps_no_closed_window() {
        let process = Still::new();
        let core = Core::new();
        core.set_process(Some(process.clone()), None);
        core.leave_epoch(core.enter_epoch(None));
        let is_there = closed(&process);
        assert!(is_there());
        core.rest(None);
        assert!(!is_there());
        core.set_process(None, None);
    }
}
