//! Queues of the NIC while others work at them: at each load of a queue's words, the host, the NIC or another thread does
//! something.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dpa_abi::queue::record::*;
use dpa_abi::queue::work::PHASE_WORD;
use dpa_abi::queue::{
    CompletionEntry, CompletionKind, ENTRY_WORDS, WorkEntry, WorkFlags, WorkOpcode, completion,
};
use dpa_abi::{DevAddr, HEAP_BASE};
use flexio_dev::context::{BindArg, READS_PER_SAFE_POINT};
use flexio_dev::memory::{Buf, RemoteBuf};
use flexio_dev::queue::{CompletionError, CompletionQueue, PostError, QueueTable, SendQueue};
use flexio_dev::raw::{self, PollError, QueueWire};
use flexio_dev::rdma::{PostFlags, Rdma, RdmaWire};
use flexio_dev::{AtomicSlice, ThreadContext};

use super::fake::{Device, EVENT};

/// Entries of each ring.
const ENTRIES: u64 = 4;
const RING_WORDS: usize = ENTRIES as usize * ENTRY_WORDS;

/// Where everything is, in words.
const TABLE: usize = 0;
const RECORD: usize = connection(0);
const RINGS: [usize; 2] = [table_words(1), table_words(1) + RING_WORDS];
const COMPLETIONS: usize = RINGS[1] + RING_WORDS;
const COMPLETION_ENTRIES_AT: usize = COMPLETIONS + COMPLETION_WORDS;
const WORDS: usize = COMPLETION_ENTRIES_AT + RING_WORDS;

const FIRST: u64 = first_number(0);
const SECOND: u64 = first_number(FIRST + ENTRIES);

const fn addr(word: usize) -> u64 {
    HEAP_BASE + 8 * word as u64
}

/// A device with a context of one connection, a receive queue in the second ring, and a completion queue.
fn device() -> Device {
    let device = Device::with_memory(&[0; 8 * WORDS]);
    device.set_words(TABLE + CONNECTIONS, &[1]);
    device.set_words(TABLE + RECEIVE_RING, &[addr(RINGS[1])]);
    device.set_words(TABLE + RECEIVE_ENTRIES, &[ENTRIES]);
    device.set_words(
        COMPLETIONS + COMPLETION_RING,
        &[addr(COMPLETION_ENTRIES_AT)],
    );
    device.set_words(COMPLETIONS + COMPLETION_ENTRIES, &[ENTRIES]);
    device.set_words(COMPLETIONS + NOTIFY_EVENT, &[EVENT.0.to_bits()]);
    for slot in 0..ENTRIES as usize {
        let owner = slot * ENTRY_WORDS + completion::OWNER_WORD;
        device.set_words(
            COMPLETION_ENTRIES_AT + owner,
            &[completion::INVALID_OWNER_WORD],
        );
    }
    device
}

/// As the host makes a connection.
fn export(device: &Device, first: u64, ring: usize) {
    device.set_words(RECORD + SEND_RING, &[addr(ring)]);
    device.set_words(RECORD + SEND_ENTRIES, &[ENTRIES]);
    device.set_words(RECORD + SEND_PRODUCED, &[first]);
    device.set_words(RECORD + SEND_TAKEN, &[first]);
    device.set_words(RECORD + STATE, &[first | STATE_READY]);
}

/// As the host drops it.
fn drop_connection(device: &Device) {
    device.set_words(RECORD, &[0; CONNECTION_WORDS]);
}

fn export_another(device: &Device) {
    drop_connection(device);
    export(device, SECOND, RINGS[1]);
}

/// Runs a kernel in which others do something at the `loads`th load after [`Others::begin`].
fn with_others<R>(
    device: &Device,
    loads: u32,
    others: fn(&Device),
    kernel: impl FnOnce(&ThreadContext<'_>, Others<'_>) -> R,
) -> R {
    let ran = device.run(0, 1, |unit| {
        let thread = ThreadContext::new(unit);
        let begin = Others {
            device,
            loads,
            others,
        };
        kernel(&thread, begin)
    });
    ran.expect("no fault")
}

struct Others<'d> {
    device: &'d Device,
    loads: u32,
    others: fn(&Device),
}

impl Others<'_> {
    fn begin(self, thread: &ThreadContext<'_>) {
        let words: AtomicSlice<'_, u64> = thread
            .bind_atomic(DevAddr::from_raw(HEAP_BASE), 1)
            .expect("memory");
        // Whatever was loaded before, the next safe point is known.
        let reached = || self.device.at_safe_point.borrow().is_none();
        *self.device.at_safe_point.borrow_mut() = Some(Box::new(|_| {}));
        while !reached() {
            words.at(0).load();
        }
        for _ in self.loads..READS_PER_SAFE_POINT {
            words.at(0).load();
        }
        *self.device.at_safe_point.borrow_mut() = Some(Box::new(self.others));
    }
}

/// Loads of one operation, at most.
const LOADS: u32 = 24;

fn table<'t>(thread: &'t ThreadContext<'t>) -> QueueTable<'t> {
    QueueTable::bind(thread, addr(TABLE), table_words(1) as u64).expect("a table")
}

fn completions<'t>(thread: &'t ThreadContext<'t>) -> CompletionQueue<'t> {
    CompletionQueue::bind(thread, addr(COMPLETIONS)).expect("a queue")
}

fn post(queue: &SendQueue<'_>, ring: bool) -> Result<u16, PostError> {
    queue.post(&WorkEntry::new(WorkOpcode::Write, WorkFlags::NONE), ring)
}

fn entry(index: u16) -> CompletionEntry {
    CompletionEntry {
        kind: CompletionKind::Send,
        index,
        ..CompletionEntry::DUMMY
    }
}

/// As the NIC writes the first completion.
fn complete(device: &Device) {
    device.set_words(COMPLETION_ENTRIES_AT, &entry(7).encode(true));
}

/// As the NIC writes the last completion there is room for, and then finds none.
fn complete_and_overrun(device: &Device) {
    complete(device);
    device.set_words(COMPLETIONS + ERROR, &[1]);
}

#[test]
fn a_connection_that_is_dropped_while_work_is_posted_takes_no_number_of_the_next() {
    for (loads, ring) in (1..LOADS).flat_map(|loads| [(loads, true), (loads, false)]) {
        let device = device();
        export(&device, FIRST, RINGS[0]);
        with_others(&device, loads, export_another, |thread, others| {
            let queue = table(thread).send_queue(0);
            others.begin(thread);
            let posted = post(&queue, ring);
            assert!(matches!(posted, Ok(0) | Err(PostError::NotConnected)));
            // If it has not come to that yet.
            let late = device.at_safe_point.borrow_mut().take();
            late.into_iter().for_each(|export| export(&device));
            assert_eq!(post(&queue, ring), Err(PostError::NotConnected));
            assert_eq!(queue.state(), STATE_NONE);
            assert_eq!(device.word(RECORD + SEND_PRODUCED), SECOND, "at {loads}");
            assert_eq!(device.word(RINGS[1] + PHASE_WORD), 0, "at {loads}");
            let fresh = table(thread).send_queue(0);
            assert_eq!(post(&fresh, ring), Ok(0));
            assert_eq!(device.word(RECORD + SEND_PRODUCED), SECOND + 1);
            assert_ne!(device.word(RINGS[1] + PHASE_WORD), 0, "at {loads}");
        });
    }
}

#[test]
fn a_connection_that_is_looked_up_while_it_goes_and_another_comes_is_one_of_them() {
    for (loads, comes) in (1..LOADS).flat_map(|loads| [(loads, true), (loads, false)]) {
        let device = device();
        export(&device, FIRST, RINGS[0]);
        let others = if comes {
            export_another
        } else {
            drop_connection
        };
        with_others(&device, loads, others, |thread, others| {
            others.begin(thread);
            let queue = table(thread).send_queue(0);
            let posted = post(&queue, true);
            let produced = device.word(RECORD + SEND_PRODUCED);
            let in_second = device.word(RINGS[1] + PHASE_WORD) != 0;
            match posted {
                Ok(0) if in_second => assert_eq!(produced, SECOND + 1, "at {loads}"),
                Ok(0) => assert!([FIRST + 1, SECOND, 0].contains(&produced), "at {loads}"),
                Err(PostError::NotConnected) => {
                    assert!([SECOND, 0].contains(&produced) && !in_second, "at {loads}");
                }
                other => panic!("at {loads}: {other:?}"),
            }
        });
    }
    let device = device();
    with_others(
        &device,
        1,
        |_| {},
        |thread, _| {
            let before = table(thread).send_queue(0);
            export(&device, FIRST, RINGS[0]);
            assert_eq!(post(&before, true), Err(PostError::NotConnected));
        },
    );
}

#[test]
fn a_queue_is_not_full_because_others_post_and_the_nic_takes_meanwhile() {
    for loads in 1..LOADS {
        let device = device();
        export(&device, FIRST, RINGS[0]);
        let go_on = |device: &Device| {
            device.set_words(RECORD + SEND_PRODUCED, &[FIRST + 9]);
            device.set_words(RECORD + SEND_TAKEN, &[FIRST + 9]);
            device.set_words(TABLE + RECEIVE_PRODUCED, &[9]);
            device.set_words(TABLE + RECEIVE_ACKNOWLEDGED, &[9]);
        };
        with_others(&device, loads, go_on, |thread, others| {
            let queue = table(thread).send_queue(0);
            others.begin(thread);
            assert!(post(&queue, true).is_ok(), "at {loads}");
        });
        device.set_words(TABLE + RECEIVE_PRODUCED, &[0]);
        device.set_words(TABLE + RECEIVE_ACKNOWLEDGED, &[0]);
        with_others(&device, loads, go_on, |thread, others| {
            let table = table(thread);
            others.begin(thread);
            assert!(table.post_receive(0, 8, 0).is_ok(), "at {loads}");
        });
    }
}

#[test]
fn a_queue_is_full_when_all_its_entries_are_in_use_whatever_its_record_says() {
    let device = device();
    export(&device, FIRST, RINGS[0]);
    let full = Err(PostError::Full { entries: ENTRIES });
    with_others(
        &device,
        1,
        |_| {},
        |thread, _| {
            let queue = table(thread).send_queue(0);
            let numbers = (0..ENTRIES).map(|_| post(&queue, true).expect("room"));
            assert!(numbers.eq(0..ENTRIES as u16));
            assert_eq!(post(&queue, true), full);
            // Taken before it is posted: a kernel has spoilt its own record.
            device.set_words(RECORD + SEND_TAKEN, &[FIRST + 100]);
            assert_eq!(post(&queue, true), full);
        },
    );
}

/// Another that has posted behind it, and rung.
fn post_behind(device: &Device) {
    device.set_words(RECORD + SEND_PRODUCED, &[FIRST + 2]);
}

#[test]
fn who_posts_without_a_doorbell_rings_if_another_has_posted_behind() {
    let mut seen = Vec::new();
    for loads in 1..40 {
        let device = device();
        export(&device, FIRST, RINGS[0]);
        with_others(&device, loads, post_behind, |thread, others| {
            let queue = table(thread).send_queue(0);
            others.begin(thread);
            let posted = post(&queue, false);
            seen.push((posted, device.rung.get()));
        });
    }
    seen.dedup();
    // Before it has its number; when it has, and its entry is not whole; when it has looked.
    assert_eq!(seen, [(Ok(2), 0), (Ok(0), 1), (Ok(0), 0)]);
}

#[test]
fn what_is_complete_is_read_before_the_queue_is_said_to_have_overrun() {
    for loads in 1..LOADS {
        let device = device();
        with_others(&device, loads, complete_and_overrun, |thread, others| {
            let queue = completions(thread);
            others.begin(thread);
            let taken = queue.take().expect("not yet");
            let taken = taken.or_else(|| queue.take().expect("not yet"));
            assert_eq!(taken, Some(entry(7)), "at {loads}");
            assert_eq!(queue.take(), Err(CompletionError::Overrun));
        });
        let device = self::device();
        with_others(&device, loads, complete_and_overrun, |thread, others| {
            let wire = QueueWire {
                record: addr(COMPLETIONS),
            };
            let queue = raw::CompletionQueue::bind(thread, wire).expect("a queue");
            others.begin(thread);
            let found = queue.poll(0).expect("not yet");
            let found = found.or_else(|| queue.poll(0).expect("not yet"));
            assert_eq!(found, Some(entry(7)), "at {loads}");
            assert_eq!(queue.poll(1), Err(PollError::Overrun));
        });
    }
}

/// How much was posted stands in memory that kernels write to.
#[test]
fn numbers_of_entries_wrap() {
    let device = device();
    export(&device, u64::MAX, RINGS[0]);
    let posted = device.run(0, 1, |unit| {
        let thread = ThreadContext::new(unit);
        let wire = QueueWire {
            record: addr(RECORD),
        };
        let queue = raw::SendQueue::bind(&thread, wire).expect("a queue");
        let entry = raw::Wqe::control(WorkOpcode::Send, WorkFlags::default());
        (queue.post(&entry), queue.producer())
    });
    assert_eq!(posted.expect("no fault"), (Ok(0), 0));
}

#[test]
fn a_completion_that_comes_with_the_end_of_the_time_is_taken() {
    let device = device();
    with_others(
        &device,
        1,
        |_| {},
        |thread, _| {
            let queue = completions(thread);
            assert_eq!(queue.wait(Some(1)), Err(CompletionError::TimedOut));
            *device.at_wait.borrow_mut() = Some(Box::new(complete));
            assert_eq!(queue.wait(Some(1)), Ok(entry(7)));
        },
    );
}

#[test]
fn work_on_more_bytes_than_the_named_place_has_is_refused() {
    let device = device();
    export(&device, FIRST, RINGS[0]);
    with_others(
        &device,
        1,
        |_| {},
        |thread, _| {
            let wire = RdmaWire {
                table: addr(TABLE),
                words: table_words(1) as u64,
            };
            let peer = Rdma::bind_arg(wire, thread).expect("a table").connection(0);
            let now = PostFlags::FLUSH;
            let buf = |len| Buf {
                len,
                ..Buf::default()
            };
            let place = |len| RemoteBuf {
                len,
                ..RemoteBuf::default()
            };
            let no_room = |len, room| Err(PostError::NoRoom { len, room });
            assert_eq!(peer.write(buf(128), place(64), now), no_room(128, 64));
            assert_eq!(peer.write_imm(buf(1), place(0), 5, now), no_room(1, 0));
            assert_eq!(peer.read(buf(128), place(127), now), no_room(128, 127));
            assert_eq!(peer.write_word(1, place(7), now), no_room(8, 7));
            assert_eq!(peer.fetch_add(place(4), 1, None, now), no_room(8, 4));
            let swapped = peer.compare_swap(place(4), 1, 2, None, now);
            assert_eq!(swapped, no_room(8, 4));
            assert_eq!(device.word(RECORD + SEND_PRODUCED), FIRST);
            assert_eq!(peer.write(buf(64), place(64), now), Ok(0));
            assert_eq!(peer.read(buf(10), place(64), now), Ok(1));
        },
    );
}

/// What a kernel panics with.
fn panic_of(device: &Device, kernel: impl FnOnce(&ThreadContext<'_>)) -> String {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        with_others(device, 1, |_| {}, |thread, _| kernel(thread));
    }));
    let payload = ran.expect_err("a panic");
    *payload.downcast::<String>().expect("a message")
}

#[test]
fn no_more_is_given_back_than_was_taken() {
    let device = device();
    device.set_words(TABLE + RECEIVE_TAKEN, &[3]);
    device.set_words(COMPLETIONS + READ, &[3]);
    let said = panic_of(&device, |thread| {
        table(thread).receive_ack(2);
        table(thread).receive_ack(2);
    });
    assert!(
        said.contains("2 receives are given back, and 1 are used"),
        "{said}"
    );
    let said = panic_of(&device, |thread| {
        completions(thread).acknowledge(3);
        completions(thread).acknowledge(1);
    });
    assert!(
        said.contains("1 completions are given back, and 0 are taken"),
        "{said}"
    );
}
