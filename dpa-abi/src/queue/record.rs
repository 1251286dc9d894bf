//! Records: words beside the rings, in device memory.
//!
//! Each table is an array of 64-bit words; the constants are indices. A record of the NIC's (`*_TAKEN`, `STATE`,
//! `*_ERROR`) is written by the NIC and read by kernels; the others are written by kernels.
//!
//! # Send queue
//!
//! 1. A kernel's thread reserves an entry by a compare-and-swap of `PRODUCED`, if `PRODUCED - TAKEN` is below the
//!    queue's size. It then writes the entry, the word with the phase last. How several of them get along stands in
//!    [`post`](super::post).
//! 2. The doorbell makes the NIC read on from `TAKEN` as far as entries have the phase of their round. It copies each and
//!    moves `TAKEN` on.
//! 3. The record of a connection that is gone is the next one's with its id. Both counters of each begin at a number of its
//!    own ([`first_number`]), above all that the ones before could reserve, and `STATE` carries it. It is stored last when
//!    a connection is made, and cleared first when it goes. So whoever finds the same first number in it before and after
//!    it reads the other words has read those of one connection, and whoever still has an earlier one finds out.
//!
//! A send queue of the low layer has the same record, but one producer: it writes entries where it likes, and its doorbell
//! says how far they are there. Their phase means nothing.
//!
//! # Receive queue of the low layer
//!
//! Its entries are the data segments alone, 16 bytes each. The NIC takes one while `RECEIVE_PRODUCED`, which a kernel
//! raises behind the entries, is ahead of `RECEIVE_TAKEN` by at most the queue's size.
//!
//! # Completion queue
//!
//! 1. The NIC writes an entry, its owner word last, then takes what stands in `ARMED`. If a notification was asked for
//!    (`ARMED_ASKED`), it tells whoever the queue has for that, or else adds 1 to its notification event; if a thread sleeps
//!    (`ARMED_ASLEEP`), it adds 1 to the event in any case.
//! 2. A kernel's thread takes the entry at `READ` if its owner word is of this round, by a compare-and-swap of `READ`
//!    *after* it has read the entry. `ACKNOWLEDGED` tells the NIC which slots it may write again.
//! 3. To wait, a thread sets bits of `ARMED` by a read-modify-write that leaves the others, and looks at the entry once more.
//!    So either it sees the entry, or the NIC sees `ARMED` (Dekker's agreement; SEMANTICS 1.3 is about the event behind it).
//! 4. Before it writes, the NIC compares with `ACKNOWLEDGED`: a full queue is an overrun, said in `ERROR`. It looks again only when
//!    the queue would be full by what it saw last.
//! 5. A queue that is to overwrite has no overrun: the NIC raises `PRODUCED` before it writes an entry. A reader who has
//!    read one and then finds `PRODUCED` more than the queue's size ahead has read parts of another, and has lost some.

/// Words of the head of a context's table.
pub const HEAD_WORDS: usize = 8;
/// Connections the context may have.
pub const CONNECTIONS: usize = 0;
/// Address of the ring of the receive queue.
pub const RECEIVE_RING: usize = 1;
/// Its entries; 0: there is none.
pub const RECEIVE_ENTRIES: usize = 2;
/// Receives posted, ever.
pub const RECEIVE_PRODUCED: usize = 3;
/// Receives whose slots are free again, ever. Written by kernels (`receive_ack`).
pub const RECEIVE_ACKNOWLEDGED: usize = 4;
/// Receives the NIC has used, ever.
pub const RECEIVE_TAKEN: usize = 5;

/// The number of a receive queue of the low layer, whose record is such a head alone.
pub const RECEIVE_NUMBER: usize = 6;
/// [`STATE_ERROR`] if it was set to the error state.
pub const RECEIVE_STATE: usize = 7;

/// Words of each connection in a context's table, behind the head.
pub const CONNECTION_WORDS: usize = 8;
/// Address of the ring of its send queue.
pub const SEND_RING: usize = 0;
/// Its entries.
pub const SEND_ENTRIES: usize = 1;
/// Entries reserved, ever.
pub const SEND_PRODUCED: usize = 2;
/// Entries the NIC has taken, ever.
pub const SEND_TAKEN: usize = 3;
/// The handle its doorbell is rung with.
pub const DOORBELL: usize = 4;
/// One of the states below, in the bits of [`STATE_BITS`]; the others are those of the connection's first number.
pub const STATE: usize = 5;
/// The number of its queue pair.
pub const QUEUE_PAIR: usize = 6;

/// The connection is not connected.
pub const STATE_NONE: u64 = 0;
/// It is connected: work may be posted.
pub const STATE_READY: u64 = 1;
/// It has failed: work that is posted is flushed.
pub const STATE_ERROR: u64 = 2;
/// The bits of a state. No first number has one of them, so that the entries of each connection are counted from 0 in 16
/// bits, and its first has slot 0 and the first phase.
pub const STATE_BITS: u64 = 0xffff;

/// The first number of a connection whose record has had numbers below `end`: above them, and never 0.
pub const fn first_number(end: u64) -> u64 {
    (end | STATE_BITS).wrapping_add(1)
}

/// The first word of a connection.
pub const fn connection(id: usize) -> usize {
    HEAD_WORDS + id * CONNECTION_WORDS
}

/// Words of the table of a context with so many connections.
pub const fn table_words(connections: usize) -> usize {
    connection(connections)
}

/// Words of a completion queue's record: three cache lines, one of what does not change, one that readers write, one that the
/// NIC writes. So neither takes a line from the other for each entry.
pub const COMPLETION_WORDS: usize = 24;
/// Address of the ring.
pub const COMPLETION_RING: usize = 0;
/// Its entries.
pub const COMPLETION_ENTRIES: usize = 1;
/// The handle of the notification event; 0: there is none.
pub const NOTIFY_EVENT: usize = 2;
/// The queue's number.
pub const COMPLETION_NUMBER: usize = 3;
/// Entries read, ever.
pub const READ: usize = 8;
/// Entries whose slots are free again, ever: the consumer index.
pub const ACKNOWLEDGED: usize = 9;
/// Not 0: the next entry is to be notified. The bits below say whom.
pub const ARMED: usize = 16;
/// Of [`ARMED`]: a notification was asked for.
pub const ARMED_ASKED: u64 = 1;
/// Of [`ARMED`]: a thread sleeps at the notification event, whoever else is told of entries.
pub const ARMED_ASLEEP: u64 = 2;
/// Not 0: the queue has overrun, and takes no entry any more.
pub const ERROR: usize = 17;
/// Of a queue that overwrites what nobody reads: entries written or about to be, ever.
pub const PRODUCED: usize = 18;
