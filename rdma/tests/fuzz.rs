//! Bytes from a stranger, in four places: the packet parser, the responder and the requester of a connected queue
//! pair, and the decoder of exported blobs.
//!
//! Each seed is one small world with some hundred packets; the same seed is the same world. What must hold:
//! nothing panics; nothing is touched but what the rights allow, and no reply carries bytes they do not; every
//! packet leaves a trace, in a counter, an answer or an effect; memory stays bounded.
//!
//! | variable | meaning |
//! |---|---|
//! | `DPA_SEED` | this one seed |
//! | `DPA_SEEDS` | so many seeds |
//! | `DPA_FUZZ_SECONDS` | seeds until so many seconds have passed (`cargo xtask fuzz`) |
//! | `DPA_FUZZ_START` | the first seed, 0 |
//!
//! A failure prints the command that runs its seed again.

#[path = "fuzz/bytes.rs"]
mod bytes;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "../../dpa-model/tests/seeds/number.rs"]
mod number;
#[path = "fuzz/peer.rs"]
mod peer;
#[path = "fuzz/reached.rs"]
mod reached;
#[path = "fuzz/requester.rs"]
mod requester;
#[path = "fuzz/responder.rs"]
mod responder;
mod rig;
#[path = "fuzz/watch.rs"]
mod watch;

use std::time::{Duration, Instant};

use number::number;

/// What the resident set may grow by in a whole run: a leak of a few bytes per packet is more.
const GROWTH: usize = 16 << 20;

#[test]
fn rule_6_8_fuzz_packet_parser() {
    fuzz("rule_6_8_fuzz_packet_parser", 300, bytes::packets);
}

#[test]
fn rule_6_8_fuzz_blob_decoder() {
    fuzz("rule_6_8_fuzz_blob_decoder", 300, bytes::blobs);
}

#[test]
fn rule_6_8_fuzz_responder() {
    fuzz("rule_6_8_fuzz_responder", 300, |seed| {
        responder::World::new(seed).run();
    });
}

#[test]
fn rule_6_8_fuzz_requester() {
    fuzz("rule_6_8_fuzz_requester", 300, |seed| {
        requester::World::new(seed).run();
    });
}

/// One connection for the whole time: what it remembers of the past is bounded.
#[test]
fn rule_6_8_fuzz_bounded_memory() {
    let mut world = responder::World::living();
    let memory = resident();
    let rounds = rounds(200)
        .take(20_000)
        .inspect(|_| (0..1000).for_each(|_| world.live()))
        .count();
    println!("{rounds} x 1,000 packets over one connection");
    assert_bounded(memory);
}

/// The worlds of the responder are worth something only if each reason for dropping or refusing a packet occurs.
#[test]
fn the_fuzzed_packets_reach_every_check() {
    let mut reached = reached::Reached::default();
    for seed in 0..200 {
        let mut world = responder::World::new(seed);
        world.run();
        reached.add(&world);
    }
    let missed: Vec<_> = reached.missed().collect();
    assert_eq!(missed, Vec::<&str>::new(), "{reached:?}");
}

#[test]
fn a_seed_is_always_the_same_world() {
    let replies = |seed| {
        let mut world = responder::World::new(seed);
        world.run();
        world.replies
    };
    assert_eq!(replies(3), replies(3));
    assert_ne!(replies(3), replies(4));
}

/// Runs seeds: the one that is asked for, or until the time is over, or a number of them.
fn fuzz(name: &'static str, default: u64, run: impl Fn(u64)) {
    let memory = resident();
    let start = number("DPA_FUZZ_START").unwrap_or(0);
    let seeds = match number("DPA_SEED") {
        Some(seed) => Box::new(seed..=seed) as Box<dyn Iterator<Item = u64>>,
        None => Box::new(rounds(default).map(|round| start + round)),
    };
    let mut done = 0;
    for seed in seeds {
        let replay = Replay(name, seed);
        run(seed);
        drop(replay);
        done += 1;
    }
    println!("{name}: {done} seeds");
    assert_bounded(memory);
}

/// 0, 1, .. until the time is over, at least once; without a time so many as are asked for, or the default.
fn rounds(default: u64) -> impl Iterator<Item = u64> {
    let until = number("DPA_FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let count = number("DPA_SEEDS").unwrap_or(default);
    (0..).take_while(move |round| match until {
        Some(until) => *round == 0 || Instant::now() < until,
        None => *round < count,
    })
}

/// Not under a sanitizer, which keeps what is freed, and books of its own.
fn assert_bounded(before: usize) {
    if cfg!(dpa_sanitize) {
        return;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} bytes were left behind");
}

/// Says how to run the seed again, if it panics.
struct Replay(&'static str, u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay: cargo xtask replay {} --seed {}", self.0, self.1);
        }
    }
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}
