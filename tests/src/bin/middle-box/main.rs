//! A bad network: takes frames from one interface to another, and back, and on the way loses, delays (so reorders),
//! duplicates and corrupts packets for the RoCE port.
//!
//! `middle-box INTERFACE INTERFACE SEED`. It runs until its standard input ends, then says what it did. What it passes on
//! has no UDP checksum any more, so that only the ICRC can tell what is corrupt; some packets get a wrong one.
#![deny(unsafe_code)]

mod frames;
#[path = "../netns-node/resident.rs"]
mod resident;

use std::collections::BinaryHeap;
use std::error::Error;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use frames::{Frames, Roce};

/// Of a thousand packets: lost, held back, sent twice, corrupted, given a wrong UDP checksum.
const LOST: u64 = 10;
const DELAYED: u64 = 200;
const TWICE: u64 = 30;
const CORRUPT: u64 = 20;
const MISMATCHED: u64 = 10;
/// How long a packet is held back at most.
const LONGEST: u64 = 3000;

static OVER: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Box<dyn Error>> {
    resident::stay();
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("middle-box INTERFACE INTERFACE SEED")
    };
    let ends = [Frames::open(&next()?)?, Frames::open(&next()?)?];
    let seed: u64 = next()?.parse()?;
    std::thread::spawn(|| {
        // An end and an error are the same here: nobody is there any more.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        OVER.store(true, Ordering::Relaxed);
    });
    println!("ready");
    let mut network = Network {
        random: Random(seed),
        held: BinaryHeap::new(),
        done: [0; 5],
        carried: [0; 2],
        count: 0,
    };
    let mut frame = vec![0; 1 << 16];
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !OVER.load(Ordering::Relaxed) {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        let mut idle = true;
        for (from, to) in [(0, 1), (1, 0)] {
            while let Some(len) = ends[from].receive(&mut frame)? {
                idle = false;
                network.carry(&frame[..len], to, &ends)?;
            }
        }
        network.release(&ends)?;
        if idle {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    let [lost, delayed, twice, corrupt, mismatched] = network.done;
    let longest = longest.as_millis();
    println!(
        "{lost} {delayed} {twice} {corrupt} {mismatched} longest stall {longest} ms, {:?} carried, {} held",
        network.carried,
        network.held.len()
    );
    Ok(())
}

/// A packet that is held back; the one that is due first is the greatest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: std::cmp::Reverse<(Instant, u64)>,
    to: usize,
    frame: Vec<u8>,
}

struct Network {
    random: Random,
    held: BinaryHeap<Held>,
    done: [u64; 5],
    /// Packets that came, towards each end.
    carried: [u64; 2],
    count: u64,
}

impl Network {
    fn carry(&mut self, frame: &[u8], to: usize, ends: &[Frames; 2]) -> std::io::Result<()> {
        let mut frame = frame.to_vec();
        let Some(roce) = Roce::find(&mut frame) else {
            return ends[to].send(&frame);
        };
        roce.forget_checksum();
        self.carried[to] += 1;
        if self.strikes(0, LOST) {
            return Ok(());
        }
        if self.strikes(3, CORRUPT) {
            Roce::find(&mut frame).into_iter().for_each(|roce| {
                roce.flip(self.random.next());
            });
        }
        if self.strikes(4, MISMATCHED) {
            Roce::find(&mut frame)
                .into_iter()
                .for_each(Roce::break_checksum);
        }
        if self.strikes(2, TWICE) {
            self.hold(to, frame.clone());
        }
        if self.strikes(1, DELAYED) {
            self.hold(to, frame);
            return Ok(());
        }
        ends[to].send(&frame)
    }

    fn strikes(&mut self, what: usize, of_a_thousand: u64) -> bool {
        let strikes = self.random.next() % 1000 < of_a_thousand;
        self.done[what] += u64::from(strikes);
        strikes
    }

    fn hold(&mut self, to: usize, frame: Vec<u8>) {
        self.count += 1;
        let wait = Duration::from_micros(self.random.next() % LONGEST);
        let due = std::cmp::Reverse((Instant::now() + wait, self.count));
        self.held.push(Held { due, to, frame });
    }

    fn release(&mut self, ends: &[Frames; 2]) -> std::io::Result<()> {
        let now = Instant::now();
        while self.held.peek().is_some_and(|held| held.due.0.0 <= now) {
            if let Some(held) = self.held.pop() {
                ends[held.to].send(&held.frame)?;
            }
        }
        Ok(())
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
