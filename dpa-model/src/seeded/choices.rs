//! Where choices come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dpa_abi::port::READS_PER_SAFE_POINT;

use super::steps::Steps;
use crate::diary::Diary;
use crate::mishaps;

/// At a safe point a thread is switched one time in so many. So is the host program where it awaits what it need not wait for.
const SWITCH_ONE_IN: u64 = 4;

/// Where choices come from: a generator (SplitMix64) and a digest of what it gave.
#[derive(Debug)]
pub struct Choices {
    pub(super) seed: u64,
    pub(super) steps: Steps,
    /// When deadlocks are looked for again, whoever can go on.
    pub(super) next_look: AtomicU64,
    state: AtomicU64,
    made: AtomicU64,
    digest: AtomicU64,
    pub(crate) diary: Option<Arc<Diary>>,
    pub(crate) mishaps: mishaps::State,
}

impl Choices {
    pub(crate) fn new(seed: u64, steps: u64, diary: Option<Arc<Diary>>) -> Self {
        Self {
            seed,
            steps: Steps::new(steps),
            next_look: AtomicU64::new(0),
            diary,
            mishaps: mishaps::State::default(),
            state: AtomicU64::new(seed),
            made: AtomicU64::new(0),
            digest: AtomicU64::new(0xcbf2_9ce4_8422_2325),
        }
    }

    fn next(&self) -> u64 {
        let state = self
            .state
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&self, n: u64) -> u64 {
        let choice = self.next() % n;
        self.made.fetch_add(1, Ordering::Relaxed);
        let digest = self.digest.load(Ordering::Relaxed);
        self.digest.store(
            (digest ^ choice).wrapping_mul(0x0000_0100_0000_01b3),
            Ordering::Relaxed,
        );
        choice
    }

    /// Whether a thread is switched at this safe point, or the host program where it awaits something.
    pub(crate) fn switch_here(&self) -> bool {
        self.below(SWITCH_ONE_IN) == 0
    }

    /// After how many reads a thread comes to its next safe point: a few or many, each order of magnitude as likely.
    pub(crate) fn reads_to_safe_point(&self) -> u32 {
        let magnitude = self.below(u64::from(READS_PER_SAFE_POINT.ilog2()) + 1);
        1 + self.below(1 << magnitude) as u32
    }

    /// How many choices were made.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// A digest of all choices: two runs with equal digests took the same way.
    pub fn digest(&self) -> u64 {
        self.digest.load(Ordering::Relaxed)
    }
}
