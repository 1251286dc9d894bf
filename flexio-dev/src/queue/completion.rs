//! Completion queues.

use core::fmt;
use core::panic::Location;

use dpa_abi::handle::Handle;
use dpa_abi::queue::record::{
    ACKNOWLEDGED, ARMED, ARMED_ASKED, ARMED_ASLEEP, COMPLETION_ENTRIES, COMPLETION_RING,
    COMPLETION_WORDS, ERROR, NOTIFY_EVENT, READ,
};
use dpa_abi::queue::{CompletionEntry, ENTRY_WORDS, EntryWords, completion, notify, phase, slot};
use dpa_abi::{Condition, EventError, EventHandle, FaultKind};

use super::{ring, within, words};
use crate::context::ThreadContext;
use crate::event::DevEvent;
use crate::view::{AtomicCell, AtomicSlice};

/// Why a completion queue gives nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompletionError {
    /// More completed than the queue has room for, and nobody read them: what came after is lost, and the connections
    /// that use the queue have failed.
    Overrun,
    /// The queue is closed.
    Closed,
    /// The time of the wait was up.
    TimedOut,
}

impl fmt::Display for CompletionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overrun => "the completion queue has overrun",
            Self::Closed => "the completion queue is closed",
            Self::TimedOut => "no completion in time",
        })
    }
}

impl core::error::Error for CompletionError {}

/// A completion queue.
#[derive(Clone, Copy, Debug)]
pub struct CompletionQueue<'t> {
    thread: &'t ThreadContext<'t>,
    record: AtomicSlice<'t, u64>,
    ring: AtomicSlice<'t, u64>,
    entries: u64,
}

/// The word by which a thread asks for a notification.
struct Armed<'t>(AtomicCell<'t, u64>);

impl notify::Flag for Armed<'_> {
    fn swap(&self, value: u64) -> u64 {
        self.0.swap(value)
    }
    fn or(&self, bits: u64) -> u64 {
        self.0.or(bits)
    }
}

impl<'t> CompletionQueue<'t> {
    /// The thread that uses it.
    pub(crate) fn thread(&self) -> &'t ThreadContext<'t> {
        self.thread
    }

    /// The queue whose record is at `addr`.
    ///
    /// # Errors
    /// Record or ring are not in live allocations of the process.
    pub fn bind(thread: &'t ThreadContext<'t>, addr: u64) -> Result<Self, FaultKind> {
        let record = words(thread, addr, COMPLETION_WORDS as u64)?;
        let entries = record.at(COMPLETION_ENTRIES).load();
        let ring = ring(thread, record.at(COMPLETION_RING).load(), entries)?;
        if entries == 0 {
            return Err(FaultKind::OutOfRange { addr, len: 0 });
        }
        Ok(Self {
            thread,
            record,
            ring,
            entries,
        })
    }

    /// Takes the next entry if there is one. Its slot is free again after [`CompletionQueue::acknowledge`].
    ///
    /// # Errors
    /// The queue has overrun, and everything before that has been read.
    pub fn take(&self) -> Result<Option<CompletionEntry>, CompletionError> {
        let read = self.record.at(READ);
        let mut failed = false;
        loop {
            let number = read.load();
            match self.look(number) {
                Some(words) => {
                    let next = number.wrapping_add(1);
                    if read.compare_exchange(number, next).is_ok() {
                        return Ok(CompletionEntry::decode(&words));
                    }
                }
                None if failed => return Err(CompletionError::Overrun),
                None if !self.has_failed() => return Ok(None),
                // Everything that is ever written was, perhaps after that look.
                None => failed = true,
            }
        }
    }

    fn look(&self, number: u64) -> Option<EntryWords> {
        self.is_there(number).then(|| {
            let first = slot(number, self.entries) * ENTRY_WORDS;
            let mut words = [0; ENTRY_WORDS];
            for (at, word) in words.iter_mut().enumerate() {
                *word = self.ring.at(first + at).load();
            }
            words
        })
    }

    /// Whether the entry of this number is written.
    fn is_there(&self, number: u64) -> bool {
        let first = slot(number, self.entries) * ENTRY_WORDS;
        let owner = self.ring.at(first + completion::OWNER_WORD).load();
        CompletionEntry::is_valid(owner, phase(number, self.entries))
    }

    /// Whether there is an entry that nobody has taken.
    fn has_entry(&self) -> bool {
        self.is_there(self.record.at(READ).load())
    }

    #[cold]
    fn has_failed(&self) -> bool {
        // A loop that polls lets others run, and the NIC.
        self.thread.safe_point();
        self.record.at(ERROR).load() != 0
    }

    /// Gives the slot of one entry that was taken back to the NIC.
    pub(crate) fn acknowledge_one(&self) {
        self.record.at(ACKNOWLEDGED).add(1);
        self.thread.memory_writeback();
    }

    /// Gives the slots of `count` entries back to the NIC.
    ///
    /// # Panics
    /// If not so many were taken: a fault of the process.
    #[doc(alias = "doca_dpa_dev_completion_ack")]
    #[doc(alias = "flexio_dev_dbr_cq_set_ci")]
    #[track_caller]
    pub fn acknowledge(&self, count: u32) {
        let before = self.record.at(ACKNOWLEDGED).add(count.into());
        let taken = self.record.at(READ).load().wrapping_sub(before);
        assert!(
            within(count, taken),
            "{count} completions are given back, and {taken} are taken and were not"
        );
        self.thread.memory_writeback();
    }

    /// Asks for a notification when the next entry is written: the queue's thread is triggered, or if it has none, 1 is
    /// added to its event. True if there is an entry already: it may bring no notification.
    #[doc(alias = "doca_dpa_dev_completion_request_notification")]
    #[doc(alias = "flexio_dev_cq_arm")]
    pub fn request_notification(&self) -> bool {
        let armed = Armed(self.record.at(ARMED));
        let look = || self.has_entry().then_some(());
        notify::arm_then_look(&armed, ARMED_ASKED, look).is_some()
    }

    /// The event that notifications are added to.
    pub fn event(&self) -> DevEvent<'t> {
        let handle = Handle::from_bits(self.record.at(NOTIFY_EVENT).load());
        DevEvent::new(self.thread, EventHandle(handle))
    }

    /// Takes the next entry; blocks this thread until there is one, whoever else is told of entries.
    ///
    /// # Errors
    /// The queue has overrun or is closed; the time, if one is given (nanoseconds), is up.
    #[track_caller]
    pub fn wait(&self, timeout: Option<u64>) -> Result<CompletionEntry, CompletionError> {
        let caller = Location::caller();
        let until = timeout.map(|timeout| self.thread.time().saturating_add(timeout));
        loop {
            if let Some(entry) = self.take()? {
                return Ok(entry);
            }
            let event = self.event();
            let seen = event.get();
            let armed = Armed(self.record.at(ARMED));
            let look = || self.take().transpose();
            if let Some(found) = notify::arm_then_look(&armed, ARMED_ASLEEP, look) {
                return found;
            }
            match self.sleep(&event, seen, until, caller) {
                // It may have come with the end of the time.
                Err(CompletionError::TimedOut) => {
                    return self.take()?.ok_or(CompletionError::TimedOut);
                }
                slept => slept?,
            }
        }
    }

    fn sleep(
        &self,
        event: &DevEvent<'t>,
        seen: u64,
        until: Option<u64>,
        caller: &'static Location<'static>,
    ) -> Result<(), CompletionError> {
        let left = until.map(|until| until.saturating_sub(self.thread.time()));
        let unit = self.thread.unit();
        match unit.event_wait(event.handle(), Condition::ne(seen), left) {
            Ok(_) => Ok(()),
            Err(EventError::Closed { .. }) => Err(CompletionError::Closed),
            Err(EventError::TimedOut { .. }) => Err(CompletionError::TimedOut),
            Err(error) => {
                let event = event.handle();
                self.thread
                    .fault_at(FaultKind::EventSide { event, error }, caller)
            }
        }
    }
}
