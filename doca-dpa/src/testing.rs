//! Tests of one's own kernels: a program is simulated at many seeds, and the seed at which it fails is replayed with its
//! story.
//!
//! ```
//! use doca_dpa::testing::{Chance, NetworkSpec};
//! use doca_dpa::{Dpa, Error, SyncEvent, dpa_test};
//!
//! #[dpa_test(seeds = 1000, network = NetworkSpec { loss: Chance::percent(5), ..NetworkSpec::default() })]
//! async fn nothing_is_lost(dpa: Dpa) -> Result<(), Error> {
//!     let done = SyncEvent::device_to_host(&dpa)?;
//!     // Kernels are launched, nodes are opened with `open_device` or `open_beside`, ..
//!     Ok(())
//! }
//! ```
//!
//! The function becomes a `#[test]`. What goes wrong beside packets is said by [`Mishaps`]: with a chance, or once at the n-th place
//! where it can ([`When`]), so that a loop over n meets it everywhere. [`Check`] is the same without the attribute:
//!
//! ```
//! use doca_dpa::testing::{Check, Mishaps, When};
//! use doca_dpa::{Dpa, Error};
//!
//! let mishaps = Mishaps {
//!     allocation: When::At(1),
//!     ..Mishaps::NONE
//! };
//! Check::named("the_second_buffer_is_refused").seeds(20).mishaps(mishaps).run(async |dpa: Dpa| {
//!     let _first = dpa.zeroed::<u64>(8).await?;
//!     assert!(dpa.zeroed::<u64>(8).await.is_err());
//!     let _third = dpa.zeroed::<u64>(8).await?;
//!     Ok::<_, Error>(())
//! });
//! ```
//!
//! A test fails if it panics, returns an error, takes more steps than it may or waits for what nothing in the simulation brings about (a
//! kernel that comes to no safe point takes none: that it runs for [long](crate::Sim::run) is said, and it is waited for). Then the run is made again
//! with a [`Diary`], the end of that is printed, and the command that runs this seed alone. It also fails if a mishap that it asks for
//! once ([`When::At`]) has struck at none of its seeds; of one with a chance that is printed only.
//!
//! Kernels are switched at device calls and between atomic accesses, not between plain reads and writes of a view: that two threads
//! write the same plain element without order is not found here. The program is switched wherever it awaits something of the device, be
//! it a copy that is made at once (`submit_async` only where it waits for room). What it does between two awaits nothing else comes
//! between: a launch that is submitted and cancelled without an await has never started then, although it may have elsewhere.
//!
//! | variable | |
//! |---|---|
//! | `DPA_SEED=17` | this seed only |
//! | `DPA_SEEDS=100000` | so many seeds, whatever the test says |
//! | `DPA_STEPS=1000` | so many steps before a run counts as one without end ([`Sim::steps`]) |
//! | `DPA_DIARY=all` | the whole story of a failure, not its end |

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::builder::Builder;
use crate::dpa::Dpa;
use crate::sim::Sim;

mod asked;

use asked::Asked;

pub use crate::sim::{
    Actor, Chance, Diary, Fate, MishapCounters, Mishaps, NetworkCounters, NetworkSpec, Note,
    Struck, VirtualNetwork, When,
};

/// Seeds of a test that says nothing else.
const SEEDS: u64 = 100;
/// Notes that are printed of a failure, from its end.
const NOTES: usize = 100;

/// What a simulation says of its end, which begins with its seed. That stands before it anyway.
fn without_seed(seed: u64, said: &str) -> String {
    let rest = said.strip_prefix(&format!("seed {seed}: "));
    rest.unwrap_or(said).to_owned()
}

/// What a failure says before it names a crash report: each run writes one of its own.
fn before_report(said: &str) -> &str {
    let reports = [" (crash report: ", " (no crash report: "];
    let named = reports.iter().filter_map(|report| said.find(report)).min();
    named.map_or(said, |at| &said[..at])
}

/// What a test returns.
pub trait Verdict {
    /// Why it has failed, if it has.
    fn failure(self) -> Option<String>;
}

impl Verdict for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<T, E: Debug> Verdict for Result<T, E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| format!("{error:?}"))
    }
}

/// A test at many seeds: what [`dpa_test`](crate::dpa_test) makes of a function.
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until `run`"]
pub struct Check {
    name: &'static str,
    /// The package whose test it is, if it is one.
    package: Option<&'static str>,
    seeds: u64,
    /// What is simulated at each of them.
    sim: Sim,
}

impl Check {
    /// A test of this name, at 100 seeds, on the default device and network.
    pub fn named(name: &'static str) -> Self {
        Self {
            name,
            package: None,
            seeds: SEEDS,
            sim: Sim::new(0),
        }
    }

    /// Says that it is a `#[test]` of this package, and that its name is that function's path: then a failure prints the command
    /// that runs it alone. [`dpa_test`](crate::dpa_test) says so.
    pub fn in_package(mut self, package: &'static str) -> Self {
        self.package = Some(package);
        self
    }

    /// At so many seeds, from 0 on; at least one.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// What the network does to packets.
    pub fn network(mut self, network: NetworkSpec) -> Self {
        self.sim = self.sim.network(network);
        self
    }

    /// What goes wrong beside packets.
    pub fn mishaps(mut self, mishaps: Mishaps) -> Self {
        self.sim = self.sim.mishaps(mishaps);
        self
    }

    /// The figures of its first device.
    pub fn device(mut self, device: Builder) -> Self {
        self.sim = self.sim.on(device);
        self
    }

    /// The most steps of one run: [`Sim::steps`].
    pub fn steps(mut self, steps: u64) -> Self {
        self.sim = self.sim.steps(steps);
        self
    }

    /// Runs it.
    ///
    /// # Panics
    /// If it fails at a seed: with the seed and the reason, after the story and the command that replays it were printed. If a
    /// mishap that is to strike once has struck at no seed, unless fewer seeds were run than it asks for. If `DPA_SEED`, `DPA_SEEDS` or
    /// `DPA_STEPS` is no number.
    pub fn run<V: Verdict>(self, program: impl AsyncFn(Dpa) -> V) {
        let one = number("DPA_SEED");
        let count = number("DPA_SEEDS").unwrap_or(self.seeds).max(1);
        let seeds = one.map_or(0..=count - 1, |seed| seed..=seed);
        let mut asked = Asked::default();
        for seed in seeds {
            match self.one(seed, None, &program) {
                Ok(came) => asked.count(self.sim.asked(), &came),
                Err(reason) => {
                    self.tell(seed, &reason, &program);
                    panic!("seed {seed}: {reason}");
                }
            }
        }
        if one.is_none() && count >= self.seeds {
            self.misses_none(&asked);
        }
    }

    fn misses_none(&self, asked: &Asked) {
        for (mistake, what) in asked.missing(self.sim.asked()) {
            assert!(!mistake, "{}: {what}", self.name);
            eprintln!("{}: {what}", self.name);
        }
    }

    fn one<V: Verdict>(
        &self,
        seed: u64,
        diary: Option<&Arc<Diary>>,
        program: &impl AsyncFn(Dpa) -> V,
    ) -> Result<MishapCounters, String> {
        let sim = self.sim.clone().at(seed);
        let sim = diary.into_iter().fold(sim, Sim::diary);
        let run = catch_unwind(AssertUnwindSafe(|| sim.run(async |dpa| program(dpa).await)));
        let ended = match run {
            Err(payload) => return Err(panic_message(&*payload)),
            Ok(run) => run.map_err(|error| without_seed(seed, &error.to_string()))?,
        };
        ended.value.failure().map_or(Ok(ended.mishaps), Err)
    }

    /// Prints how it came to the failure.
    fn tell<V: Verdict>(&self, seed: u64, reason: &str, program: &impl AsyncFn(Dpa) -> V) {
        // First of all: it may be that the run does not end if it is made again.
        eprintln!("{} fails at seed {seed}: {reason}", self.name);
        let diary = Arc::new(Diary::default());
        let again = self.one(seed, Some(&diary), program);
        let notes = diary.take();
        let all = std::env::var("DPA_DIARY").is_ok_and(|what| what == "all");
        let first = if all {
            0
        } else {
            notes.len().saturating_sub(NOTES)
        };
        if first > 0 {
            eprintln!("({first} notes before; DPA_DIARY=all shows them)");
        }
        notes[first..].iter().for_each(|note| eprintln!("{note}"));
        if again.err().as_deref().map(before_report) != Some(before_report(reason)) {
            eprintln!("(run again it ended otherwise: it depends on more than the seed)");
        }
        eprintln!("replay: {}", self.replay(seed));
        if self.package.is_some() {
            eprintln!("(with the features and the target of this run)");
        }
    }

    /// How it is run at this seed alone.
    fn replay(&self, seed: u64) -> String {
        let steps = number("DPA_STEPS").map(|steps| format!(" DPA_STEPS={steps}"));
        let variables = format!("DPA_SEED={seed}{}", steps.unwrap_or_default());
        let Some(package) = self.package else {
            return variables;
        };
        // `cargo test` names tests without their crate.
        let name = self.name.split_once("::");
        let name = name.map_or(self.name, |(_, name)| name);
        format!("{variables} cargo test -p {package} {name} -- --exact --include-ignored")
    }
}

fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// A number that the environment gives; an empty variable gives none.
///
/// # Panics
/// It gives something else: a test that ran other seeds than those it was told would pass for the wrong reason.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let given = std::env::var_os(variable).filter(|given| !given.is_empty())?;
    let number = given.to_str().and_then(|text| text.trim().parse().ok());
    Some(number.unwrap_or_else(|| {
        panic!(
            "{variable} is {given:?}, allowed are whole numbers from 0 to {}",
            u64::MAX
        )
    }))
}
