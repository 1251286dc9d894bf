//! Queues of the NIC as a kernel's thread works them: rings in device memory, records beside them, doorbells.
//!
//! The protocols stand in [`dpa_abi::queue::record`]. Any number of threads may use one queue at once.

use core::fmt;
use core::panic::Location;

use dpa_abi::handle::Handle;
use dpa_abi::queue::record::{
    ACKNOWLEDGED, ARMED, COMPLETION_ENTRIES, COMPLETION_RING, COMPLETION_WORDS, CONNECTION_WORDS,
    CONNECTIONS, DOORBELL, ERROR, HEAD_WORDS, NOTIFY_EVENT, QUEUE_PAIR, READ, RECEIVE_ACKNOWLEDGED,
    RECEIVE_ENTRIES, RECEIVE_PRODUCED, RECEIVE_RING, SEND_ENTRIES, SEND_PRODUCED, SEND_RING,
    SEND_TAKEN, STATE, STATE_NONE, connection,
};
use dpa_abi::queue::work::{MAX_LEN, PHASE_WORD};
use dpa_abi::queue::{
    CompletionEntry, ENTRY_WORDS, EntryWords, NicCounter, WorkData, WorkEntry, WorkFlags,
    WorkOpcode, completion, notify, phase, slot,
};
use dpa_abi::{Condition, DevAddr, EventError, EventHandle, FaultKind};

use crate::context::ThreadContext;
use crate::event::DevEvent;
use crate::view::{AtomicCell, AtomicSlice};

/// Why a queue did not take an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError {
    /// All its entries are in use. Nothing was posted; ring the doorbell if there is something it has not been rung for.
    Full {
        /// How many it has.
        entries: u64,
    },
    /// The connection is not connected (yet).
    NotConnected,
    /// It names more bytes than an entry can. Nothing was posted.
    TooLong {
        /// How many.
        len: u32,
    },
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { entries } => write!(f, "all {entries} entries of the queue are in use"),
            Self::NotConnected => f.write_str("the connection is not connected"),
            Self::TooLong { len } => {
                write!(
                    f,
                    "{len} bytes are more than an entry names, at most {MAX_LEN}"
                )
            }
        }
    }
}

impl core::error::Error for PostError {}

/// Refuses an entry that names more bytes than one can.
pub(crate) const fn fits(entry: &WorkEntry) -> Result<(), PostError> {
    match entry.data {
        WorkData::Local { len, .. } if len > MAX_LEN => Err(PostError::TooLong { len }),
        _ => Ok(()),
    }
}

/// Words of device memory at `addr`.
fn words<'t>(
    thread: &'t ThreadContext<'t>,
    addr: u64,
    len: u64,
) -> Result<AtomicSlice<'t, u64>, FaultKind> {
    AtomicSlice::bind(thread, DevAddr::from_raw(addr), len as usize)
}

fn ring<'t>(
    thread: &'t ThreadContext<'t>,
    addr: u64,
    entries: u64,
) -> Result<AtomicSlice<'t, u64>, FaultKind> {
    // Whatever stands in the record: the ring is bound as far as it says, and used no further.
    words(thread, addr, entries.saturating_mul(ENTRY_WORDS as u64))
}

/// Stores an entry, the word with the phase last.
#[inline]
fn put(ring: &AtomicSlice<'_, u64>, slot: usize, entry: &EntryWords, last: usize) {
    let first = slot * ENTRY_WORDS;
    for (at, word) in entry.iter().enumerate().filter(|(at, _)| *at != last) {
        ring.at(first + at).store(*word);
    }
    ring.at(first + last).store(entry[last]);
}

/// The table of an RDMA context: its receive queue and its connections.
#[derive(Clone, Copy, Debug)]
pub struct QueueTable<'t> {
    thread: &'t ThreadContext<'t>,
    words: AtomicSlice<'t, u64>,
}

impl<'t> QueueTable<'t> {
    /// The thread that uses it.
    pub(crate) fn thread(&self) -> &'t ThreadContext<'t> {
        self.thread
    }

    /// The table at `addr`, of so many words.
    ///
    /// # Errors
    /// Not in one live allocation of the process.
    pub fn bind(thread: &'t ThreadContext<'t>, addr: u64, len: u64) -> Result<Self, FaultKind> {
        let words = words(thread, addr, len)?;
        Ok(Self { thread, words })
    }

    /// How many connections it has room for.
    pub fn connections(&self) -> u32 {
        let room = self.words.len().saturating_sub(HEAD_WORDS) / CONNECTION_WORDS;
        (self.words.at(CONNECTIONS).load() as usize).min(room) as u32
    }

    /// The send queue of a connection; a fault if there is no such connection.
    #[track_caller]
    pub fn send_queue(&self, id: u32) -> SendQueue<'t> {
        let count = self.connections();
        if id >= count {
            self.thread.fault(FaultKind::OutOfBounds {
                index: id.into(),
                len: count.into(),
            });
        }
        let base = connection(id as usize);
        let entries = self.words.at(base + SEND_ENTRIES).load();
        let at = self.words.at(base + SEND_RING).load();
        match ring(self.thread, at, entries) {
            Ok(ring) => SendQueue {
                thread: self.thread,
                record: self.words.part(base, CONNECTION_WORDS),
                ring,
                entries,
                queue_pair: self.words.at(base + QUEUE_PAIR).load() as u32,
            },
            Err(kind) => self.thread.fault(kind),
        }
    }

    /// Posts a receive; its number.
    ///
    /// # Errors
    /// The queue is full, or there is none.
    #[track_caller]
    pub fn post_receive(&self, address: u64, len: u32, key: u32) -> Result<u16, PostError> {
        let entries = self.words.at(RECEIVE_ENTRIES).load();
        let at = self.words.at(RECEIVE_RING).load();
        let ring = match ring(self.thread, at, entries) {
            Ok(ring) => ring,
            Err(kind) => self.thread.fault(kind),
        };
        let number = self.reserve_receive(entries)?;
        // No message is as long as what it cannot name.
        let len = len.min(MAX_LEN);
        let entry = WorkEntry {
            data: WorkData::Local { address, len, key },
            ..WorkEntry::new(WorkOpcode::Send, WorkFlags::NONE)
        };
        let words = entry.encode(number, 0, phase(number, entries));
        put(&ring, slot(number, entries), &words, PHASE_WORD);
        self.thread.memory_writeback();
        Ok(number as u16)
    }

    fn reserve_receive(&self, entries: u64) -> Result<u64, PostError> {
        let produced = self.words.at(RECEIVE_PRODUCED);
        let mut number = produced.load();
        loop {
            let free_from = self.words.at(RECEIVE_ACKNOWLEDGED).load();
            if number.wrapping_sub(free_from) >= entries {
                return Err(PostError::Full { entries });
            }
            match produced.compare_exchange(number, number.wrapping_add(1)) {
                Ok(_) => return Ok(number),
                Err(now) => number = now,
            }
        }
    }

    /// Gives the slots of `count` receives that are over back.
    #[doc(alias = "doca_dpa_dev_rdma_receive_ack")]
    pub fn receive_ack(&self, count: u32) {
        self.words.at(RECEIVE_ACKNOWLEDGED).add(count.into());
    }
}

/// The send queue of one connection.
#[derive(Clone, Copy, Debug)]
pub struct SendQueue<'t> {
    thread: &'t ThreadContext<'t>,
    record: AtomicSlice<'t, u64>,
    ring: AtomicSlice<'t, u64>,
    entries: u64,
    queue_pair: u32,
}

impl<'t> SendQueue<'t> {
    /// The thread that uses it.
    pub(crate) fn thread(&self) -> &'t ThreadContext<'t> {
        self.thread
    }

    /// Posts an entry; its number modulo 2^16, by which its completion names it. The NIC need not look at it before
    /// [`SendQueue::ring_doorbell`].
    ///
    /// # Errors
    /// The queue is full; the connection is not connected; more bytes than an entry names.
    pub fn post(&self, entry: &WorkEntry) -> Result<u16, PostError> {
        if self.entries == 0 || self.record.at(STATE).load() == STATE_NONE {
            return Err(PostError::NotConnected);
        }
        fits(entry)?;
        let number = self.reserve()?;
        let words = entry.encode(number, self.queue_pair, phase(number, self.entries));
        put(&self.ring, slot(number, self.entries), &words, PHASE_WORD);
        // Whoever posted behind this entry before it was written rang for nothing: the NIC stopped here.
        if self.record.at(SEND_PRODUCED).load() != number.wrapping_add(1) {
            self.ring_doorbell();
        }
        Ok(number as u16)
    }

    fn reserve(&self) -> Result<u64, PostError> {
        let produced = self.record.at(SEND_PRODUCED);
        let mut number = produced.load();
        loop {
            let taken = self.record.at(SEND_TAKEN).load();
            if number.wrapping_sub(taken) >= self.entries {
                return Err(PostError::Full {
                    entries: self.entries,
                });
            }
            match produced.compare_exchange(number, number.wrapping_add(1)) {
                Ok(_) => return Ok(number),
                Err(now) => number = now,
            }
        }
    }

    /// What the NIC has counted of its connection.
    pub fn counters<const N: usize>(&self, which: [NicCounter; N]) -> [u64; N] {
        let handle = Handle::from_bits(self.record.at(DOORBELL).load());
        let mut values = [0; N];
        self.thread.unit().nic_counters(handle, &which, &mut values);
        values
    }

    /// Makes the NIC look at what was posted. What this thread wrote before is visible to it.
    #[doc(alias = "flexio_dev_qp_sq_ring_db")]
    pub fn ring_doorbell(&self) {
        self.thread.memory_writeback();
        let handle = Handle::from_bits(self.record.at(DOORBELL).load());
        self.thread.unit().doorbell(handle);
    }

    /// The connection's state: one of those of [`dpa_abi::queue::record`].
    pub fn state(&self) -> u64 {
        self.record.at(STATE).load()
    }
}

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
        loop {
            let number = read.load();
            let Some(words) = self.look(number) else {
                return self.nothing();
            };
            if read
                .compare_exchange(number, number.wrapping_add(1))
                .is_ok()
            {
                return Ok(CompletionEntry::decode(&words));
            }
        }
    }

    fn look(&self, number: u64) -> Option<EntryWords> {
        let first = slot(number, self.entries) * ENTRY_WORDS;
        let owner = self.ring.at(first + completion::OWNER_WORD).load();
        CompletionEntry::is_valid(owner, phase(number, self.entries)).then(|| {
            let mut words = [0; ENTRY_WORDS];
            for (at, word) in words.iter_mut().enumerate() {
                *word = self.ring.at(first + at).load();
            }
            words
        })
    }

    /// Whether there is an entry that nobody has taken.
    fn has_entry(&self) -> bool {
        let number = self.record.at(READ).load();
        let first = slot(number, self.entries) * ENTRY_WORDS;
        let owner = self.ring.at(first + completion::OWNER_WORD).load();
        CompletionEntry::is_valid(owner, phase(number, self.entries))
    }

    #[cold]
    fn nothing(&self) -> Result<Option<CompletionEntry>, CompletionError> {
        // A loop that polls lets others run, and the NIC.
        self.thread.safe_point();
        if self.record.at(ERROR).load() == 0 {
            Ok(None)
        } else {
            Err(CompletionError::Overrun)
        }
    }

    /// Gives the slots of `count` entries back to the NIC.
    #[doc(alias = "doca_dpa_dev_completion_ack")]
    #[doc(alias = "flexio_dev_dbr_cq_set_ci")]
    pub fn acknowledge(&self, count: u32) {
        self.record.at(ACKNOWLEDGED).add(count.into());
        self.thread.memory_writeback();
    }

    /// Asks for a notification when the next entry is written: the queue's thread is triggered, or if it has none, 1 is
    /// added to its event. True if there is an entry already: it may bring no notification.
    #[doc(alias = "doca_dpa_dev_completion_request_notification")]
    #[doc(alias = "flexio_dev_cq_arm")]
    pub fn request_notification(&self) -> bool {
        let armed = Armed(self.record.at(ARMED));
        notify::arm_then_look(&armed, || self.has_entry().then_some(())).is_some()
    }

    /// The event that notifications are added to.
    pub fn event(&self) -> DevEvent<'t> {
        let handle = Handle::from_bits(self.record.at(NOTIFY_EVENT).load());
        DevEvent::new(self.thread, EventHandle(handle))
    }

    /// Takes the next entry; blocks this thread until there is one.
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
            if let Some(found) = notify::arm_then_look(&armed, || self.take().transpose()) {
                return found;
            }
            self.sleep(&event, seen, until, caller)?;
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
