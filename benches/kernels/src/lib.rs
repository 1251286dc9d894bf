//! The kernels of the benches.

#![no_std]
#![forbid(unsafe_code)]

use doca_dpa_dev::prelude::*;

/// Returns at once.
#[dpa_kernel]
pub fn nothing(_thread: &Thread) {}

/// Counts itself in device memory.
#[dpa_kernel]
pub fn bump(_thread: &Thread, total: AtomicSlice<u64>) {
    total.at(0).add_fetch(1);
}

/// Returns at once, with an argument.
#[dpa_kernel]
pub fn take(_thread: &Thread, value: u64) {
    core::hint::black_box(value);
}

/// Meets the other threads once.
#[dpa_kernel]
pub fn meet(thread: &Thread) {
    thread.barrier();
}

/// Waits until the event is set.
#[dpa_kernel]
pub fn wait(_thread: &Thread, go: DevEvent) {
    // A closed event ends the wait as well.
    let _ = go.wait(Condition::ge(1));
}

/// Answers so many requests: each request adds one to `asked`, each answer one to `answered`.
#[dpa_kernel]
pub fn serve(_thread: &Thread, asked: DevEvent, answered: DevEvent, requests: u64) {
    for n in 1..=requests {
        if asked.wait(Condition::ge(n)).is_err() || answered.add(1).is_err() {
            return;
        }
    }
}

/// What [`bounce`](struct@bounce) throws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod)]
pub struct Throw {
    /// Rounds before these.
    pub before: u64,
    /// Rounds.
    pub rounds: u64,
    /// 1: this side serves.
    pub serves: bool,
    /// A write of eight bytes before the signal.
    pub write: bool,
    /// The signal adds, in place of setting.
    pub add: bool,
}

/// Throws to and fro: a signal, perhaps behind a write.
#[dpa_kernel]
pub fn bounce(
    _thread: &Thread,
    rdma: Rdma,
    sent: LocalMemory,
    to: RemoteMemory,
    signal: RemoteEvent,
    arrived: DevEvent,
    throw: Throw,
) {
    let peer = rdma.connection(0);
    let (from, to) = (sent.at(0, 8), to.at(0, 8));
    let quiet = PostFlags::OPTIMIZE_REPORTS;
    let go = |round: u64| {
        if throw.write && peer.write(from, to, quiet).is_err() {
            return false;
        }
        let now = quiet | PostFlags::FLUSH;
        match throw.add {
            true => peer.signal_add(signal, 1, now).is_ok(),
            false => peer.signal_set(signal, round + 1, now).is_ok(),
        }
    };
    for round in throw.before..throw.before + throw.rounds {
        let served = !throw.serves || go(round);
        if !served || arrived.wait(Condition::ge(round + 1)).is_err() {
            return;
        }
        if !throw.serves && !go(round) {
            return;
        }
    }
}

/// So many fetch-adds, each awaited.
#[dpa_kernel]
pub fn fetch_each(thread: &Thread, rdma: Rdma, done: Completions, to: RemoteMemory, times: u64) {
    let peer = rdma.connection(0);
    for _ in 0..times {
        if peer
            .fetch_add(to.at(0, 8), 1, None, PostFlags::FLUSH)
            .is_err()
        {
            thread.error(1);
        }
        while !matches!(done.poll(), Ok(Some(_))) {}
    }
}

/// So many writes of `sent.len` bytes, sixteen on their way at a time.
#[dpa_kernel]
pub fn stream(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    sent: LocalMemory,
    to: RemoteMemory,
    times: u64,
) {
    let peer = rdma.connection(0);
    let bytes = sent.len as u32;
    let (mut posted, mut over) = (0, 0);
    while over < times {
        while posted < times && posted - over < 16 {
            if peer
                .write(sent.at(0, bytes), to.at(0, bytes), PostFlags::FLUSH)
                .is_err()
            {
                break;
            }
            posted += 1;
        }
        match done.wait() {
            Ok(completion) if completion.result().is_ok() => over += 1,
            _ => thread.error(1),
        }
    }
}

/// So many writes of eight bytes and signals to this same node; waits for the last.
#[dpa_kernel]
pub fn to_myself(
    thread: &Thread,
    rdma: Rdma,
    sent: LocalMemory,
    to: RemoteMemory,
    signal: RemoteEvent,
    times: u64,
) {
    let peer = rdma.connection(0);
    let quiet = PostFlags::OPTIMIZE_REPORTS;
    for _ in 0..times {
        until_taken(thread, || peer.write(sent.at(0, 8), to.at(0, 8), quiet));
        until_taken(thread, || {
            peer.signal_add(signal, 1, quiet | PostFlags::FLUSH)
        });
    }
}

/// Posts; while the queue is full it lets others run.
fn until_taken(thread: &Thread, post: impl Fn() -> Result<u16, PostError>) {
    loop {
        match post() {
            Ok(_) => return,
            Err(PostError::Full { .. }) => thread.yield_now(),
            Err(_) => thread.error(1),
        }
    }
}

/// Looks up so many keys from `first` on, and adds up what it finds.
#[dpa_kernel]
pub fn find_each(
    _thread: &Thread,
    table: HashTable,
    keys: DevSlice<u32>,
    first: u64,
    times: u64,
    sum: AtomicSlice<u64>,
) {
    const PIECE: usize = 64;
    let (mut piece, mut found) = ([0; PIECE], 0u64);
    let (first, times) = (first as usize, times as usize);
    for at in (0..times).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(times - at)];
        keys.read_into(first + at, piece);
        for &key in &*piece {
            found = found.wrapping_add(table.get(key).unwrap_or(1));
        }
    }
    sum.at(0).add(found);
}

/// Started by the completion of a copy of nothing: asks for the next notification and posts the next copy, as often as its
/// storage says.
#[dpa_kernel]
pub fn again(thread: &Thread, ops: AsyncOps, completions: Completions, done: DevEvent) {
    let Ok(left) = thread.bind_mut(thread.local_storage::<u64>(), 1) else {
        thread.error(1);
    };
    while let Ok(Some(_)) = completions.poll() {}
    let now = left.read(0);
    if now == 0 {
        if done.add(1).is_err() {
            thread.error(3);
        }
        return;
    }
    left.write(0, now - 1);
    // Nothing is there, and nobody else posts.
    let more = completions.request_notification();
    let empty = Buf::default();
    if more || ops.copy(empty, empty, PostFlags::FLUSH).is_err() {
        thread.error(2);
    }
}

/// Posts what completes at once, `times` times, and never more than `ahead` that [`take_all`] has not counted. Looks without
/// safe points, so that it keeps its worker and the handler runs on another.
#[dpa_kernel]
pub fn produce(thread: &Thread, ops: AsyncOps, counted: DevSlice<u64>, times: u64, ahead: u64) {
    const AT_ONCE: u64 = 32;
    let first = counted.read(0);
    let mut posted = 0;
    while posted < times {
        let taken = counted.read(0) - first;
        let room = (ahead - (posted - taken)).min(times - posted).min(AT_ONCE);
        for left in (0..room).rev() {
            let flags = if left == 0 {
                PostFlags::FLUSH
            } else {
                PostFlags::NONE
            };
            if ops.copy(Buf::default(), Buf::default(), flags).is_err() {
                thread.error(1);
            }
        }
        posted += room;
    }
}

/// Counts all completions that are there, each by itself, and waits to be started by the next. At a multiple of `batch` it tells the
/// host.
#[dpa_kernel]
pub fn take_all(
    thread: &Thread,
    completions: Completions,
    counted: AtomicSlice<u64>,
    batch: u64,
    done: DevEvent,
) {
    loop {
        while take_some(thread, &completions, &counted, batch, &done) {}
        if !completions.request_notification() {
            return;
        }
    }
}

/// Takes up to 16 completions, gives their slots back, and counts them; whether there were any.
fn take_some(
    thread: &Thread,
    completions: &Completions,
    counted: &AtomicSlice<u64>,
    batch: u64,
    done: &DevEvent,
) -> bool {
    let mut taken = 0;
    while taken < 16
        && let Ok(Some(completion)) = completions.poll_unacknowledged()
    {
        if completion.result().is_err() {
            thread.error(1);
        }
        taken += 1;
    }
    if taken == 0 {
        return false;
    }
    completions.acknowledge(taken);
    let count = counted.at(0).add_fetch(taken.into());
    let before = count - u64::from(taken);
    if count / batch > before / batch && done.add(1).is_err() {
        thread.error(2);
    }
    true
}

/// Gives back what it got.
#[dpa_rpc]
pub fn echo(_thread: &Thread, value: u64) -> u64 {
    value
}

/// A result of its own for each job.
#[dpa_kernel]
pub fn job(thread: &Thread, at: DevAddr<u64>, index: u64, round: u64) {
    match thread.bind_mut(at.element(index), 1) {
        Ok(result) => result.write(0, index + round),
        Err(kind) => thread.fault(kind),
    }
}

/// Reads a page of host memory so many times.
#[dpa_kernel]
pub fn read_window(_thread: &Thread, page: DevSlice<u64>, times: u64) {
    let mut copy = [0; 512];
    for _ in 0..times {
        page.read_into(0, &mut copy);
        core::hint::black_box(&mut copy);
    }
}
