//! Handles: an index and a generation. A stale handle is an error, never another object.

/// An index into a table of a process and the generation of what stood there when the handle was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    /// Which slot.
    pub index: u32,
    /// Which occupant of that slot. 0 is never valid.
    pub generation: u32,
}

impl Handle {
    /// The handle that refers to nothing.
    pub const NULL: Self = Self {
        index: 0,
        generation: 0,
    };

    /// As 64 bits: the generation above the index.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// From 64 bits. Any bits make a handle; whether it refers to anything is checked where it is used.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// The device's handle of an event handler or of a DPA thread: by it a kernel triggers it.
#[doc(alias = "doca_dpa_dev_notification_completion_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct HandlerHandle(pub Handle);

/// The device's handle of a sync event: eight plain bytes that may lie.
#[doc(alias = "doca_dpa_dev_sync_event_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct EventHandle(pub Handle);
