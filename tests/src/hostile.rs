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
}

/// Updates events by guessed handles. The first wrong guess ends the process.
#[dpa_kernel]
pub fn hostile_events(thread: &Thread, seed: u64) {
    let mut numbers = Numbers(seed | 1);
    loop {
        let event = EventHandle(doca_dpa_dev::Handle::from_bits(
            numbers.next() & 0x7_0000_003f,
        ));
        let _ = thread.event(event).add(numbers.next());
    }
}

/// Writes random words wherever it may write around an allocation of its own: rings, records and tables that the NIC reads are
/// among them.
#[dpa_kernel]
pub fn hostile_words(thread: &Thread, around: DevAddr<u64>, seed: u64, times: u64) {
    const REACH: u64 = 1 << 17;
    let mut numbers = Numbers(seed | 1);
    for _ in 0..times {
        let offset = (numbers.next() % REACH) & !7;
        let at = around.raw().wrapping_sub(REACH / 2).wrapping_add(offset);
        if let Ok(word) = thread.bind_atomic(DevAddr::<u64>::from_raw(at), 1) {
            word.at(0).store(numbers.next());
        }
    }
}

/// Binds random addresses, most of them of nobody, or of another process if they were the same there.
#[dpa_kernel]
pub fn hostile_addresses(thread: &Thread, seed: u64, times: u64) {
    let mut numbers = Numbers(seed | 1);
    for _ in 0..times {
        let at = numbers.next() >> (numbers.next() % 40);
        if let Ok(word) = thread.bind_atomic(DevAddr::<u64>::from_raw(at & !7), 1) {
            word.at(0).store(numbers.next());
        }
    }
}

/// Work with guessed keys and addresses, of every kind, and rings.
#[dpa_kernel]
pub fn hostile_keys(_thread: &Thread, rdma: Rdma, seed: u64, times: u64) {
    let mut numbers = Numbers(seed | 1);
    let peer = rdma.connection(0);
    for _ in 0..times {
        let local = Buf {
            address: numbers.next() >> 20,
            len: numbers.next() as u32 >> 8,
            key: numbers.next() as u32,
        };
        let remote = RemoteBuf {
            address: numbers.next() >> 20,
            len: local.len,
            key: numbers.next() as u32,
        };
        let flags = PostFlags::FLUSH;
        let _ = match numbers.next() % 4 {
            0 => peer.write(local, remote, flags),
            1 => peer.read(local, remote, flags),
            2 => peer.fetch_add(remote, 1, None, flags),
            _ => peer.send(local, flags),
        };
    }
}

/// Rings for queues by guessed numbers; how many there were.
#[dpa_kernel]
pub fn hostile_doorbells(thread: &Thread, seed: u64, times: u64, found: AtomicSlice<u64>) {
    let mut numbers = Numbers(seed | 1);
    for _ in 0..times {
        let number = numbers.next() as u32 & 0xff_ffff;
        let index = numbers.next();
        let rung: [Result<(), RingError>; 3] = [
            thread.qp_sq_ring_db(index, number),
            thread.cq_arm(index, number),
            thread.zcqe_gen(number),
        ];
        found
            .at(0)
            .add(rung.iter().filter(|rung| rung.is_ok()).count() as u64);
    }
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
