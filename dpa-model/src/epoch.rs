//! When what was freed may be used again: after all launches that started before the freeing are over.
//!
//! Two epochs are open at a time, the current one and the one before. A launch enters the current epoch when it
//! starts and leaves it when it is over. The epoch advances when nobody is left in the one before, so what was freed
//! in epoch e is out of everyone's sight in epoch e + 2.
//!
//! Rules:
//! 1. [`Epochs::enter`] publishes its count before the launch looks at anything; who frees unlinks first, and then
//!    looks at the counts. Whichever of the two epochs a launch is counted in, one of the two advances that lie between
//!    freeing and reuse finds it there. So it does not matter if the epoch moves while the launch enters.
//! 2. Memory, events and windows advance the same epoch, each under a lock of its own. So to look and to move is one step, under
//!    a lock, and so is to ask for the epoch of a freeing. Else the first of the two advances behind it could have looked
//!    before it; and who looked long ago could set the epoch back.

use std::collections::VecDeque;

use sync_event::sync::Mutex;
use sync_event::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The epochs of a process.
#[derive(Debug)]
pub struct Epochs {
    current: AtomicU64,
    inside: [AtomicU32; 2],
    /// Held by who looks and moves (rule 2). Nothing else is locked meanwhile.
    moves: Mutex<()>,
}

/// Which epoch a launch has entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered(u64);

impl Default for Epochs {
    fn default() -> Self {
        Self {
            current: AtomicU64::new(2),
            inside: [AtomicU32::new(0), AtomicU32::new(0)],
            moves: Mutex::new(()),
        }
    }
}

impl Epochs {
    fn of(&self, epoch: u64) -> &AtomicU32 {
        &self.inside[(epoch & 1) as usize]
    }

    /// A launch starts.
    pub fn enter(&self) -> Entered {
        let epoch = self.current.load(Ordering::SeqCst);
        #[cfg(not(dpa_mutant = "epoch_enter_unpublished"))]
        dpa_abi::sync::publish(|| self.of(epoch).fetch_add(1, Ordering::SeqCst));
        #[cfg(dpa_mutant = "epoch_enter_unpublished")]
        self.of(epoch).fetch_add(1, Ordering::Relaxed);
        Entered(epoch)
    }

    /// The launch is over.
    pub fn leave(&self, entered: Entered) {
        self.of(entered.0).fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a launch that takes over from one that entered so is in the current epoch too.
    pub fn is_current(&self, entered: Entered) -> bool {
        self.current.load(Ordering::Relaxed) == entered.0
    }

    /// Advances as far as it can, at most twice; the current epoch.
    pub fn advance(&self) -> u64 {
        #[cfg(not(dpa_mutant = "epoch_goes_back"))]
        let _one = self.moves.lock();
        let mut epoch = self.current.load(Ordering::SeqCst);
        for _ in 0..2 {
            if self.of(epoch + 1).load(Ordering::SeqCst) != 0 {
                break;
            }
            epoch += 1;
            dpa_abi::sync::publish(|| self.current.swap(epoch, Ordering::SeqCst));
        }
        epoch
    }

    /// The epoch of what is freed now: whoever moves it on from there looks behind the freeing.
    fn of_freeing(&self) -> u64 {
        #[cfg(not(dpa_mutant = "epoch_moves_by_an_old_look"))]
        let _one = self.moves.lock();
        self.current.load(Ordering::SeqCst)
    }
}

/// What was freed and may not be used again yet, in order of freeing.
#[derive(Debug)]
pub struct Quarantine<T> {
    items: VecDeque<(u64, T)>,
}

impl<T> Default for Quarantine<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
        }
    }
}

impl<T> Quarantine<T> {
    /// Puts in what was freed now.
    pub fn put(&mut self, epochs: &Epochs, item: T) {
        self.items.push_back((epochs.of_freeing(), item));
    }

    /// Takes out what may be used again.
    pub fn take(&mut self, epochs: &Epochs, mut each: impl FnMut(T)) {
        if self.items.is_empty() {
            return;
        }
        let now = epochs.advance();
        while self
            .items
            .front()
            .is_some_and(|&(epoch, _)| epoch + 2 <= now)
        {
            if let Some((_, item)) = self.items.pop_front() {
                each(item);
            }
        }
    }

    /// What is in it.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(_, item)| item)
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;

    fn taken(quarantine: &mut Quarantine<u32>, epochs: &Epochs) -> Vec<u32> {
        let mut out = Vec::new();
        quarantine.take(epochs, |item| out.push(item));
        out
    }

    #[test]
    fn rule_4_1_freed_memory_waits_for_launches_that_started_before() {
        let (epochs, mut quarantine) = (Epochs::default(), Quarantine::default());
        let before = epochs.enter();
        quarantine.put(&epochs, 1);
        assert!(taken(&mut quarantine, &epochs).is_empty());
        let after = epochs.enter();
        assert!(taken(&mut quarantine, &epochs).is_empty());
        epochs.leave(before);
        assert_eq!(
            taken(&mut quarantine, &epochs),
            [1],
            "a launch that started later does not matter"
        );
        epochs.leave(after);
        quarantine.put(&epochs, 2);
        assert_eq!(taken(&mut quarantine, &epochs), [2]);
    }
}
