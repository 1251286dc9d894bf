//! Queues of the NIC as a kernel's thread works them: rings in device memory, records beside them, doorbells.
//!
//! The protocols stand in [`dpa_abi::queue::record`]. Any number of threads may use one queue at once.

mod completion;

use core::fmt;

use dpa_abi::handle::Handle;
use dpa_abi::queue::post::{self, Count, NoNumber};
use dpa_abi::queue::record::{
    CONNECTION_WORDS, CONNECTIONS, DOORBELL, HEAD_WORDS, QUEUE_PAIR, RECEIVE_ACKNOWLEDGED,
    RECEIVE_ENTRIES, RECEIVE_PRODUCED, RECEIVE_RING, RECEIVE_TAKEN, SEND_ENTRIES, SEND_PRODUCED,
    SEND_RING, SEND_TAKEN, STATE, STATE_BITS, STATE_NONE, connection,
};
use dpa_abi::queue::work::{MAX_LEN, PHASE_WORD};
use dpa_abi::queue::{
    ENTRY_WORDS, EntryWords, NicCounter, WorkData, WorkEntry, WorkFlags, WorkOpcode, phase, slot,
};
use dpa_abi::{DevAddr, FaultKind};

use crate::context::ThreadContext;
use crate::view::{AtomicCell, AtomicSlice};

pub use completion::{CompletionError, CompletionQueue};

/// Why a queue did not take an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError {
    /// All its entries are in use. Nothing was posted; ring the doorbell if there is something it has not been rung for.
    Full {
        /// How many it has.
        entries: u64,
    },
    /// The connection is not connected: not yet, or it was dropped. One that has failed takes work, and reports it as flushed.
    NotConnected,
    /// It names more bytes than an entry can. Nothing was posted.
    TooLong {
        /// How many.
        len: u32,
    },
    /// It is about more bytes than the place in the peer's memory that it names has. Nothing was posted.
    NoRoom {
        /// How many.
        len: u32,
        /// Bytes of the place.
        room: u32,
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
            Self::NoRoom { len, room } => write!(
                f,
                "{len} bytes, and the place in the peer's memory has {room}"
            ),
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

impl Count for AtomicCell<'_, u64> {
    fn load(&self) -> u64 {
        Self::load(self)
    }
    fn add(&self, n: u64) -> u64 {
        Self::add(self, n)
    }
    fn compare_exchange(&self, expected: u64, new: u64) -> Result<u64, u64> {
        Self::compare_exchange(self, expected, new)
    }
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
        let record = self.words.part(connection(id as usize), CONNECTION_WORDS);
        let first = first_number_in(&record);
        let none = SendQueue {
            thread: self.thread,
            record,
            ring: record.part(0, 0),
            entries: 0,
            first,
            queue_pair: 0,
            doorbell: Handle::from_bits(0),
        };
        if first == NO_NUMBER {
            return none;
        }
        let entries = record.at(SEND_ENTRIES).load();
        let bound = ring(self.thread, record.at(SEND_RING).load(), entries);
        let queue_pair = record.at(QUEUE_PAIR).load() as u32;
        let doorbell = Handle::from_bits(record.at(DOORBELL).load());
        match bound {
            // What was read may be of two.
            _ if first_number_in(&record) != first => none,
            Ok(ring) => SendQueue {
                ring,
                entries,
                queue_pair,
                doorbell,
                ..none
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
        let acknowledged = || self.words.at(RECEIVE_ACKNOWLEDGED).load();
        let number = post::reserve(&produced, entries, acknowledged, || true);
        number.map_err(|_| PostError::Full { entries })
    }

    /// Gives the slots of `count` receives that are over back.
    ///
    /// # Panics
    /// If the NIC has not used so many: a fault of the process.
    #[doc(alias = "doca_dpa_dev_rdma_receive_ack")]
    #[track_caller]
    pub fn receive_ack(&self, count: u32) {
        let before = self.words.at(RECEIVE_ACKNOWLEDGED).add(count.into());
        let used = self.words.at(RECEIVE_TAKEN).load().wrapping_sub(before);
        assert!(
            within(count, used),
            "{count} receives are given back, and {used} are used and were not"
        );
    }
}

/// Whether `count` are not more than `left`, a difference of two counters.
const fn within(count: u32, left: u64) -> bool {
    count as u64 <= left && left <= u64::MAX / 2
}

/// What stands for the first number of no connection.
const NO_NUMBER: u64 = 0;

/// The first number of the connection that the record is of just now.
fn first_number_in(record: &AtomicSlice<'_, u64>) -> u64 {
    record.at(STATE).load() & !STATE_BITS
}

/// The send queue of one connection. When that is gone it stays so, whatever connection has its id next.
#[derive(Clone, Copy, Debug)]
pub struct SendQueue<'t> {
    thread: &'t ThreadContext<'t>,
    record: AtomicSlice<'t, u64>,
    ring: AtomicSlice<'t, u64>,
    entries: u64,
    /// The first number of the connection.
    first: u64,
    queue_pair: u32,
    doorbell: Handle,
}

impl<'t> SendQueue<'t> {
    /// The thread that uses it.
    pub(crate) fn thread(&self) -> &'t ThreadContext<'t> {
        self.thread
    }

    /// Posts an entry; its number modulo 2^16, by which its completion names it. The NIC need not look at it before
    /// [`SendQueue::ring_doorbell`], whoever calls that: the caller at once, if it is to `ring`.
    ///
    /// # Errors
    /// The queue is full; the connection is not connected; more bytes than an entry names.
    pub fn post(&self, entry: &WorkEntry, ring: bool) -> Result<u16, PostError> {
        if self.entries == 0 {
            return Err(PostError::NotConnected);
        }
        fits(entry)?;
        let number = self.reserve()?;
        let words = entry.encode(number, self.queue_pair, phase(number, self.entries));
        put(&self.ring, slot(number, self.entries), &words, PHASE_WORD);
        if ring || self.is_passed(number) {
            self.ring_doorbell();
        }
        Ok(number as u16)
    }

    fn reserve(&self) -> Result<u64, PostError> {
        let produced = self.record.at(SEND_PRODUCED);
        let taken = || self.record.at(SEND_TAKEN).load();
        let is_connected = || self.state() != STATE_NONE;
        let number = post::reserve(&produced, self.entries, taken, is_connected);
        number.map_err(|why| match why {
            NoNumber::Gone => PostError::NotConnected,
            NoNumber::Full => PostError::Full {
                entries: self.entries,
            },
        })
    }

    /// Whoever posted behind this entry before it was written, or before the NIC saw it, rang for nothing: the NIC stopped
    /// here.
    fn is_passed(&self, number: u64) -> bool {
        self.thread.memory_writeback();
        post::is_passed(&self.record.at(SEND_PRODUCED), number)
    }

    /// What the NIC has counted of its connection.
    pub fn counters<const N: usize>(&self, which: [NicCounter; N]) -> [u64; N] {
        let mut values = [0; N];
        let unit = self.thread.unit();
        unit.nic_counters(self.doorbell, &which, &mut values);
        values
    }

    /// Makes the NIC look at what was posted. What this thread wrote before is visible to it.
    #[doc(alias = "flexio_dev_qp_sq_ring_db")]
    pub fn ring_doorbell(&self) {
        self.thread.memory_writeback();
        self.thread.unit().doorbell(self.doorbell);
    }

    /// The connection's state: one of those of [`dpa_abi::queue::record`].
    #[inline]
    pub fn state(&self) -> u64 {
        let state = self.record.at(STATE).load();
        match state & !STATE_BITS == self.first {
            true => state & STATE_BITS,
            false => STATE_NONE,
        }
    }
}
