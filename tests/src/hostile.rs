//! Kernels that mean harm: they guess at what is another process's, write over what is their own process's and the NIC reads,
//! and use up what they can.

use doca_dpa_dev::prelude::*;
use doca_dpa_dev::raw::RingError;

/// Numbers without an end, none of them special (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }
}

/// What the attacker knows of its victim: more than it could guess.
#[derive(Clone, Copy, Debug, Pod)]
pub struct Prey {
    /// Registered memory, by its local key.
    pub local: LocalMemory,
    /// The same memory, by its remote key.
    pub remote: RemoteMemory,
    /// Device memory.
    pub address: u64,
    /// The handle of an event.
    pub event: u64,
    /// The number of a queue pair.
    pub pair: u32,
    /// Reserved.
    pub reserved: u32,
}

/// Updates events by handles, half of the time the victim's, else guessed ones. The first that names nothing ends the process.
#[dpa_kernel]
pub fn hostile_events(thread: &Thread, prey: Prey, seed: u64) {
    let mut numbers = Numbers(seed | 1);
    numbers.next();
    loop {
        let handle = match numbers.once_in(2) {
            true => prey.event,
            false => numbers.next() & 0x7_0000_003f,
        };
        let event = EventHandle(doca_dpa_dev::Handle::from_bits(handle));
        let _ = thread.event(event).add(numbers.next());
    }
}

/// Writes wherever it may write around an allocation of its own: rings, records and tables that the NIC reads are among them.
/// Half of the words are random, the others name the victim's memory. At the end it says how many it could write.
#[dpa_kernel]
pub fn hostile_words(
    thread: &Thread,
    around: DevAddr<u64>,
    prey: Prey,
    seed: u64,
    times: u64,
    written: DevEvent,
) {
    const REACH: u64 = 1 << 17;
    let theirs = [
        prey.local.base,
        u64::from(prey.local.key) << 32 | 8,
        u64::from(prey.remote.key) << 32 | 8,
        u64::from(prey.pair),
    ];
    let mut numbers = Numbers(seed | 1);
    let mut count = 0;
    for _ in 0..times {
        let offset = (numbers.next() % REACH) & !7;
        let at = around.raw().wrapping_sub(REACH / 2).wrapping_add(offset);
        let word = match theirs.get(numbers.next() as usize % (2 * theirs.len())) {
            Some(word) => *word,
            None => numbers.next(),
        };
        if let Ok(place) = thread.bind_atomic(DevAddr::<u64>::from_raw(at), 1) {
            place.at(0).store(word);
            count += 1;
        }
    }
    let _ = written.add(count);
}

/// Binds addresses, some of the victim's, which mean something else here, most of them of nobody. At the end it says how many were
/// refused.
#[dpa_kernel]
pub fn hostile_addresses(thread: &Thread, prey: Prey, seed: u64, times: u64, refused: DevEvent) {
    let mut numbers = Numbers(seed | 1);
    let mut count = 0;
    for _ in 0..times {
        let at = match numbers.once_in(4) {
            true => prey.address.wrapping_add(numbers.next() % (1 << 16)),
            false => numbers.next() >> (numbers.next() % 40),
        };
        match thread.bind_atomic(DevAddr::<u64>::from_raw(at & !7), 1) {
            Ok(word) => word.at(0).store(numbers.next()),
            Err(_) => count += 1,
        }
    }
    let _ = refused.add(count);
}

/// Memory by a local key: the attacker's own, the victim's, or anybody's.
fn local(numbers: &mut Numbers, own: &LocalMemory, prey: &Prey) -> Buf {
    match numbers.next() % 4 {
        0 | 1 => own.at(0, 8),
        2 => prey.local.at(0, 8),
        _ => Buf {
            address: numbers.next() >> 20,
            len: numbers.next() as u32 >> 8,
            key: numbers.next() as u32,
        },
    }
}

/// Memory of a peer, which the attacker is itself: the victim's, or anybody's.
fn remote(numbers: &mut Numbers, len: u32, prey: &Prey) -> RemoteBuf {
    match numbers.once_in(2) {
        true => prey.remote.at(0, 8),
        false => RemoteBuf {
            address: numbers.next() >> 20,
            len,
            key: numbers.next() as u32,
        },
    }
}

/// Work of every kind with keys and addresses that are not its own, on any of so many connections, each of which the first
/// wrong one ends.
#[dpa_kernel]
pub fn hostile_keys(
    _thread: &Thread,
    rdma: Rdma,
    own: LocalMemory,
    prey: Prey,
    connections: u32,
    seed: u64,
    times: u64,
) {
    let mut numbers = Numbers(seed | 1);
    for _ in 0..times {
        let peer = rdma.connection(numbers.next() as u32 % connections);
        let local = local(&mut numbers, &own, &prey);
        let remote = remote(&mut numbers, local.len, &prey);
        let flags = PostFlags::FLUSH;
        let _ = match numbers.next() % 4 {
            0 => peer.write(local, remote, flags),
            1 => peer.read(local, remote, flags),
            2 => peer.fetch_add(remote, 1, None, flags),
            _ => peer.compare_swap(remote, prey.address, 1, None, flags),
        };
    }
}

/// Rings for queues by numbers: the victim's queue pair, those that are given out first, guessed ones; how many took a ring, and
/// at its end how many did not.
#[dpa_kernel]
pub fn hostile_doorbells(
    thread: &Thread,
    prey: Prey,
    seed: u64,
    times: u64,
    rings: AtomicSlice<u64>,
) {
    let mut numbers = Numbers(seed | 1);
    let mut refused = 0;
    for _ in 0..times {
        let number = match numbers.next() % 4 {
            0 => prey.pair,
            1 => numbers.next() as u32 % 256,
            _ => numbers.next() as u32 & 0xff_ffff,
        };
        // Few entries ahead: that is what a queue may have.
        let index = numbers.next() % 16;
        let rung: [Result<(), RingError>; 3] = [
            thread.qp_sq_ring_db(index, number),
            thread.cq_arm(index, number),
            thread.zcqe_gen(number),
        ];
        let taken = rung.iter().filter(|rung| rung.is_ok()).count() as u64;
        rings.at(0).add(taken);
        refused += rung.len() as u64 - taken;
    }
    rings.at(1).add(refused);
}

/// So many times a thousand and twenty-four characters.
struct Length(u64);

impl core::fmt::Display for Length {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        const KIBIBYTE: [u8; 1024] = [b'x'; 1024];
        let text = core::str::from_utf8(&KIBIBYTE).map_err(|_| core::fmt::Error)?;
        (0..self.0).try_for_each(|_| f.write_str(text))
    }
}

/// Panics, and says so many kibibytes with it.
#[dpa_kernel]
pub fn panics_at_length(_thread: &Thread, kibibytes: u64) {
    panic!("{}", Length(kibibytes));
}

/// Updates an event of its own again and again.
#[dpa_kernel]
pub fn hostile_flood(_thread: &Thread, event: DevEvent, times: u64) {
    for _ in 0..times {
        let _ = event.add(1);
    }
}

/// Formatting it does not end.
struct Endless;

impl core::fmt::Display for Endless {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut n = 0u64;
        loop {
            n = core::hint::black_box(n.wrapping_add(1));
        }
    }
}

/// Panics, and does not come to an end with what it says.
#[dpa_kernel]
pub fn panics_without_end(_thread: &Thread) {
    panic!("{Endless}");
}
