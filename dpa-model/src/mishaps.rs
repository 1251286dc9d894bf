//! What goes wrong in a simulation because it is asked to: kernels panic, memory is refused, NICs and clocks stumble.
//!
//! What goes wrong with packets is the network's: [`crate::network`]. All of it is drawn from the seed, so the seeded driver
//! only has it: the `threads` driver runs the same code as ever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::device::Device;
use crate::heap::OutOfMemory;
use crate::network::Chance;
use crate::process::Process;
use crate::seeded::Choices;
use crate::unit::Core;

/// When something goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum When {
    /// Never.
    #[default]
    Never,
    /// Each time with this chance.
    By(Chance),
    /// Once: at the n-th time it could since this was said, the first being 0. A program that is run with one number after the
    /// other meets the mishap at every place where it can happen.
    At(u64),
}

/// What goes wrong in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mishaps {
    /// A kernel panics at a device call.
    pub kernel_panic: When,
    /// An allocation of device memory is refused as if there were no room.
    pub allocation: When,
    /// A launch finds the queue full; the next one does not.
    pub queue_full: When,
    /// Work that the host posts to a connection finds its queue full; the next does not. Kernels see a full queue where theirs has few
    /// entries.
    pub send_full: When,
    /// A receive that the host posts finds the queue full; the next does not.
    pub receive_full: When,
    /// A completion is late, and what ends behind it on the same queue pair with it; the NIC goes on meanwhile.
    pub completion_late: When,
    /// How late a completion is at most.
    pub longest_lateness: Duration,
    /// At a step of the device a NIC stands still for a time: what it sends and what it completes comes late.
    pub nic_stall: When,
    /// The longest that a NIC stands still.
    pub longest_stall: Duration,
    /// Device time jumps between two steps.
    pub clock_jump: When,
    /// The longest jump.
    pub longest_jump: Duration,
}

impl Mishaps {
    /// None at all.
    pub const NONE: Self = Self {
        kernel_panic: When::Never,
        allocation: When::Never,
        queue_full: When::Never,
        send_full: When::Never,
        receive_full: When::Never,
        completion_late: When::Never,
        longest_lateness: Duration::from_micros(100),
        nic_stall: When::Never,
        longest_stall: Duration::from_micros(100),
        clock_jump: When::Never,
        longest_jump: Duration::from_secs(1),
    };
}

impl Default for Mishaps {
    fn default() -> Self {
        Self::NONE
    }
}

/// How often something could have gone wrong, and has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Struck {
    /// Times that it could.
    pub chances: u64,
    /// Times that it has.
    pub struck: u64,
}

/// How often each mishap has struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of Mishaps")]
pub struct MishapCounters {
    pub kernel_panic: Struck,
    pub allocation: Struck,
    pub queue_full: Struck,
    pub send_full: Struck,
    pub receive_full: Struck,
    pub completion_late: Struck,
    pub nic_stall: Struck,
    pub clock_jump: Struck,
}

/// Whether the program is built without them, to see what they cost: `cargo xtask mishaps-cost`.
const LEFT_OUT: bool = cfg!(dpa_without_mishaps);

/// One kind of mishap.
#[derive(Debug, Default)]
struct Kind {
    chances: AtomicU64,
    struck: AtomicU64,
    /// The chances before it was said when it strikes.
    before: AtomicU64,
}

impl Kind {
    fn strikes(&self, when: When, choices: &Choices) -> bool {
        let n = self.chances.fetch_add(1, Ordering::Relaxed);
        let strikes = match when {
            When::Never => false,
            When::By(chance) => chance.strikes(choices),
            When::At(at) => n - self.before.load(Ordering::Relaxed) == at,
        };
        self.struck.fetch_add(strikes.into(), Ordering::Relaxed);
        strikes
    }

    /// From now on its chances are counted for [`When::At`].
    fn begin(&self) {
        let chances = self.chances.load(Ordering::Relaxed);
        self.before.store(chances, Ordering::Relaxed);
    }

    fn counted(&self) -> Struck {
        Struck {
            chances: self.chances.load(Ordering::Relaxed),
            struck: self.struck.load(Ordering::Relaxed),
        }
    }
}

/// A queue that counts as full. The next who comes finds room.
#[derive(Debug, Default)]
struct Full {
    kind: Kind,
    /// Who came before was refused.
    was: AtomicBool,
}

impl Full {
    fn strikes(&self, when: When, choices: &Choices) -> bool {
        let full = !self.was.swap(false, Ordering::Relaxed) && self.kind.strikes(when, choices);
        self.was.store(full, Ordering::Relaxed);
        full
    }
}

/// A queue of the host that can count as full.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostQueue {
    /// That of launches.
    Launches,
    /// That of a connection's work.
    Sends,
    /// That of receives.
    Receives,
}

impl HostQueue {
    const fn name(self) -> &'static str {
        match self {
            Self::Launches => "launches",
            Self::Sends => "sends",
            Self::Receives => "receives",
        }
    }
}

/// The mishaps of one simulation.
#[derive(Debug, Default)]
pub struct State {
    spec: Mutex<Mishaps>,
    kernel_panic: Kind,
    allocation: Kind,
    queue_full: Full,
    send_full: Full,
    receive_full: Full,
    completion_late: Kind,
    nic_stall: Kind,
    clock_jump: Kind,
}

impl State {
    /// From now on this goes wrong.
    pub fn set(&self, spec: Mishaps) {
        *self.spec.lock() = spec;
        let kinds = [
            &self.kernel_panic,
            &self.allocation,
            &self.queue_full.kind,
            &self.send_full.kind,
            &self.receive_full.kind,
            &self.completion_late,
            &self.nic_stall,
            &self.clock_jump,
        ];
        kinds.into_iter().for_each(Kind::begin);
    }

    /// What goes wrong.
    pub fn spec(&self) -> Mishaps {
        *self.spec.lock()
    }

    /// What has gone wrong.
    pub fn counters(&self) -> MishapCounters {
        MishapCounters {
            kernel_panic: self.kernel_panic.counted(),
            allocation: self.allocation.counted(),
            queue_full: self.queue_full.kind.counted(),
            send_full: self.send_full.kind.counted(),
            receive_full: self.receive_full.kind.counted(),
            completion_late: self.completion_late.counted(),
            nic_stall: self.nic_stall.counted(),
            clock_jump: self.clock_jump.counted(),
        }
    }

    /// Whether the running kernel panics now; at which of its process's device calls.
    fn kernel_panic(&self, choices: &Choices) -> Option<u64> {
        let when = self.spec().kernel_panic;
        let strikes = self.kernel_panic.strikes(when, choices);
        strikes.then(|| self.kernel_panic.counted().chances - 1)
    }

    /// How late a completion is, if it is.
    fn completion_late(&self, choices: &Choices) -> Option<u64> {
        let spec = self.spec();
        let strikes = self.completion_late.strikes(spec.completion_late, choices);
        strikes.then(|| some_of(spec.longest_lateness, choices))
    }

    /// Whether this queue counts as full.
    fn is_full(&self, queue: HostQueue, choices: &Choices) -> bool {
        let spec = self.spec();
        let (full, when) = match queue {
            HostQueue::Launches => (&self.queue_full, spec.queue_full),
            HostQueue::Sends => (&self.send_full, spec.send_full),
            HostQueue::Receives => (&self.receive_full, spec.receive_full),
        };
        full.strikes(when, choices)
    }

    /// How long a NIC stands still from now on, if it does.
    pub(crate) fn nic_stall(&self, choices: &Choices) -> Option<u64> {
        let spec = self.spec();
        let strikes = self.nic_stall.strikes(spec.nic_stall, choices);
        strikes.then(|| some_of(spec.longest_stall, choices))
    }

    /// How far the clock jumps, if it does.
    pub(crate) fn clock_jump(&self, choices: &Choices) -> Option<u64> {
        let spec = self.spec();
        let strikes = self.clock_jump.strikes(spec.clock_jump, choices);
        strikes.then(|| some_of(spec.longest_jump, choices))
    }
}

/// At least a nanosecond, and no longer than that.
pub(crate) fn some_of(longest: Duration, choices: &Choices) -> u64 {
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    1 + choices.below(nanos.max(1))
}

impl Device {
    /// What goes wrong; `None` with another driver than the seeded one.
    pub fn mishaps(&self) -> Option<&State> {
        self.choices().map(|choices| &choices.mishaps)
    }

    /// Whether who comes to this queue finds no room although there is some.
    #[inline]
    pub(crate) fn is_full(&self, queue: HostQueue) -> bool {
        if LEFT_OUT {
            return false;
        }
        self.choices().is_some_and(|choices| {
            let full = choices.mishaps.is_full(queue, choices);
            if full {
                self.note(|| format!("mishap: the queue of {} counts as full", queue.name()));
            }
            full
        })
    }

    /// Until when a completion is kept back, if it is late.
    pub(crate) fn completion_late(&self) -> Option<u64> {
        let choices = self.choices()?;
        let nanos = choices.mishaps.completion_late(choices)?;
        self.note(|| format!("mishap: a completion comes {nanos} ns late"));
        Some(self.clock.now().saturating_add(nanos))
    }
}

impl Process {
    /// Allocates device memory, aligned for any type.
    ///
    /// # Errors
    /// Out of memory: what was asked, what is free, the largest block.
    pub fn alloc(&self, bytes: u64, zeroed: bool) -> Result<u64, OutOfMemory> {
        self.refuse_memory(bytes)?;
        self.heap.alloc(&self.epochs, bytes, zeroed)
    }

    /// The mishap of an allocation that is refused.
    pub(crate) fn refuse_memory(&self, bytes: u64) -> Result<(), OutOfMemory> {
        let Some(choices) = self.device.choices().filter(|_| !LEFT_OUT) else {
            return Ok(());
        };
        let when = choices.mishaps.spec().allocation;
        if !choices.mishaps.allocation.strikes(when, choices) {
            return Ok(());
        }
        self.device
            .note(|| format!("mishap: {bytes} bytes of device memory are refused"));
        Err(self.heap.refusal(bytes))
    }
}

impl Core {
    /// As [`Core::may_panic`], if the seeded driver runs it.
    pub(crate) fn may_panic_here(&self) {
        if let Some(choices) = self.worker().device().choices() {
            self.may_panic(choices);
        }
    }

    /// The mishap of a kernel that panics at a device call.
    ///
    /// # Panics
    /// If it strikes.
    pub(crate) fn may_panic(&self, choices: &Choices) {
        if LEFT_OUT || self.handling.get() {
            return;
        }
        if let Some(call) = choices.mishaps.kernel_panic(choices) {
            self.enter_kernel();
            panic!("mishap: it panics at device call {call} of the simulation");
        }
    }
}
