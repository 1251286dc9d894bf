//! The shared word of a sync event.
//!
//! Rules:
//!
//! 1. `value` is changed only by sequentially consistent read-modify-writes ([`EventWord::update`]), by anyone:
//!    host, kernel, NIC, guest code.
//! 2. `low` is written only by the owner of the event's waiters, under their lock. It is the lowest threshold
//!    anyone waits for: [`EventWord::NOBODY`] while nobody waits, [`EventWord::ALWAYS`] while someone waits for a
//!    condition that is no plain threshold, or once the event is closed.
//! 3. A writer updates `value` and then reads `low` ([`EventWord::reached`]). Only if the value it produced reaches
//!    `low` does it enter the wake path. A waiter publishes `low` and then reads `value`
//!    ([`EventWord::publish_low`]). So one of the two sees the other.

use crate::condition::Update;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::publish;

/// The 64-bit value of a sync event and the lowest threshold anyone waits for. 16 bytes, aligned to 16.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct EventWord {
    value: AtomicU64,
    low: AtomicU64,
}

#[cfg(not(dpa_loom))]
const _: () = assert!(size_of::<EventWord>() == 16 && align_of::<EventWord>() == 16);

impl EventWord {
    /// `low` while nobody waits. (An update that produces exactly this value enters the wake path for nothing.)
    pub const NOBODY: u64 = u64::MAX;
    /// `low` while every update must enter the wake path.
    pub const ALWAYS: u64 = 0;

    /// A word with this value that nobody waits on.
    #[cfg(not(dpa_loom))]
    pub const fn new(value: u64) -> Self {
        Self {
            value: AtomicU64::new(value),
            low: AtomicU64::new(Self::NOBODY),
        }
    }

    /// A word with this value that nobody waits on.
    #[cfg(dpa_loom)]
    pub fn new(value: u64) -> Self {
        Self {
            value: AtomicU64::new(value),
            low: AtomicU64::new(Self::NOBODY),
        }
    }

    /// The value now; happens after every update it includes.
    #[inline]
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::SeqCst)
    }

    /// Updates the value and returns the previous one. The caller must then ask [`EventWord::reached`].
    #[inline]
    pub fn update(&self, update: Update) -> u64 {
        publish(|| match update {
            Update::Set(v) => self.value.swap(v, Ordering::SeqCst),
            Update::Add(n) => self.value.fetch_add(n, Ordering::SeqCst),
        })
    }

    /// Stores `swap` if the value is `compare`; the previous value. What the value is afterwards must be asked
    /// [`EventWord::reached`], as after any update.
    pub fn compare_swap(&self, compare: u64, swap: u64) -> u64 {
        publish(|| {
            self.value
                .compare_exchange(compare, swap, Ordering::SeqCst, Ordering::SeqCst)
                .unwrap_or_else(|previous| previous)
        })
    }

    /// Whether an update that produced `value` must enter the wake path.
    #[inline]
    pub fn reached(&self, value: u64) -> bool {
        value >= self.low.load(Ordering::SeqCst)
    }

    /// The published threshold; for the owner of the waiters.
    pub fn low(&self) -> u64 {
        self.low.load(Ordering::Relaxed)
    }

    /// Publishes the lowest threshold, before the value is read again. Only the owner of the waiters calls this,
    /// under their lock.
    pub fn publish_low(&self, low: u64) {
        publish(|| self.low.swap(low, Ordering::SeqCst));
    }
}
