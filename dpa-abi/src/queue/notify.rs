//! The agreement between who writes an entry and who is about to sleep until there is one.
//!
//! Both sides do a read-modify-write of one flag: the sleeper sets it and then looks for an entry; the writer writes the
//! entry and then takes the flag. The two read-modify-writes have an order. If the sleeper's comes first, the writer
//! finds the flag set and notifies. If the writer's comes first, the sleeper's reads what it left, so that the entry
//! written before it is seen.

/// A word on which the two sides have acquire-release read-modify-writes.
pub trait Flag {
    /// Stores; the previous value. Acquire-release.
    fn swap(&self, value: u64) -> u64;
}

/// The sleeper: asks for a notification, then looks once more; what it found. If nothing, a notification comes.
#[inline]
pub fn arm_then_look<T>(flag: &impl Flag, look: impl FnOnce() -> Option<T>) -> Option<T> {
    #[cfg(dpa_mutant = "notify_look_before_arm")]
    {
        let found = look();
        flag.swap(1);
        found
    }
    #[cfg(not(dpa_mutant = "notify_look_before_arm"))]
    {
        flag.swap(1);
        look()
    }
}

/// The writer: writes the entry, or several, then says whether somebody must be notified.
#[inline]
pub fn write_then_take(flag: &impl Flag, write: impl FnOnce()) -> bool {
    #[cfg(dpa_mutant = "notify_take_before_write")]
    {
        let armed = flag.swap(0) != 0;
        write();
        armed
    }
    #[cfg(not(dpa_mutant = "notify_take_before_write"))]
    {
        write();
        take(flag)
    }
}

/// The second half of [`write_then_take`], for a writer that has written some time before: whether somebody must be notified.
#[inline]
pub fn take(flag: &impl Flag) -> bool {
    flag.swap(0) != 0
}
