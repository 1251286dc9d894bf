//! The agreement between who writes an entry and who is about to sleep until there is one.
//!
//! Both sides do a read-modify-write of one word: the sleeper sets bits of it and then looks for an entry; the writer writes
//! the entry and then takes all bits. The two read-modify-writes have an order. If the sleeper's comes first, the writer
//! finds its bits set and notifies. If the writer's comes first, the sleeper's reads what it left, so that the entry
//! written before it is seen.
//!
//! Several may ask for notifications of different kinds, a bit each: none takes away what another has set.

/// A word on which the two sides have acquire-release read-modify-writes.
pub trait Flag {
    /// Stores; the previous value. Acquire-release.
    fn swap(&self, value: u64) -> u64;

    /// Sets these bits, whether or not they are set; the previous value. Acquire-release.
    fn or(&self, bits: u64) -> u64;
}

/// The sleeper: asks for a notification of this kind, then looks once more; what it found. If nothing, a notification comes.
#[inline]
pub fn arm_then_look<T>(
    flag: &impl Flag,
    bits: u64,
    look: impl FnOnce() -> Option<T>,
) -> Option<T> {
    #[cfg(dpa_mutant = "notify_look_before_arm")]
    {
        let found = look();
        flag.or(bits);
        found
    }
    #[cfg(not(dpa_mutant = "notify_look_before_arm"))]
    {
        #[cfg(dpa_mutant = "notify_arm_overwrites")]
        flag.swap(bits);
        #[cfg(not(dpa_mutant = "notify_arm_overwrites"))]
        flag.or(bits);
        look()
    }
}

/// The writer: writes the entry, or several, then says which notifications were asked for.
#[inline]
pub fn write_then_take(flag: &impl Flag, write: impl FnOnce()) -> u64 {
    #[cfg(dpa_mutant = "notify_take_before_write")]
    {
        let armed = flag.swap(0);
        write();
        armed
    }
    #[cfg(not(dpa_mutant = "notify_take_before_write"))]
    {
        write();
        take(flag)
    }
}

/// The second half of [`write_then_take`], for a writer that has written some time before.
#[inline]
pub fn take(flag: &impl Flag) -> u64 {
    flag.swap(0)
}
