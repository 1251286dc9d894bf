//! The process that attacks. When a fault ends it, it comes again.

use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use doca_dpa::rdma::Rdma;
use doca_dpa::{Dpa, Error, SyncEvent};
use tests::hostile::*;
use tests::{OverflowsArgs, SpinsArgs, overflows, spins};

use crate::Outcome;

/// What it tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Updates events by guessed handles.
    Events,
    /// Binds guessed addresses.
    Addresses,
    /// Writes over the rings, records and tables of its own process, which the NIC reads.
    Entries,
    /// Posts work with guessed keys and addresses.
    Keys,
    /// Rings for queues by guessed numbers.
    Doorbells,
    /// Updates an event of its own without end.
    Floods,
    /// Takes device memory, events and queues until it is refused.
    Allocates,
    /// Never comes to a safe point.
    Spins,
    /// Overflows its stack.
    Overflows,
}

/// Launches of one attack at a time.
const AT_ONCE: u64 = 8;
/// What a kernel tries before it ends, where it does.
const TIMES: u64 = 20_000;

impl Attack {
    pub fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Attacks until it is over. What comes of an attack does not matter, as long as it comes to the attacker.
pub fn run(victim: &Dpa, attack: Attack, seed: u64, over: &AtomicBool) -> Outcome {
    let mut seed = seed;
    while !over.load(Ordering::Relaxed) {
        let dpa = victim.open_on("vf0")?;
        while !over.load(Ordering::Relaxed) && dpa.last_error().is_none() {
            seed += 1;
            let _ = once(&dpa, attack, seed, over);
        }
    }
    Ok(())
}

fn once(dpa: &Dpa, attack: Attack, seed: u64, over: &AtomicBool) -> Result<(), Error> {
    match attack {
        Attack::Events => crowd(dpa, over, |n| {
            let args = HostileEventsArgs { seed: seed ^ n };
            Ok(dpa.launch(hostile_events).args(args).submit()?)
        }),
        Attack::Addresses => crowd(dpa, over, |n| {
            let args = HostileAddressesArgs {
                seed: seed ^ n << 32,
                times: TIMES,
            };
            Ok(dpa.launch(hostile_addresses).args(args).submit()?)
        }),
        Attack::Entries => entries(dpa, seed, over),
        Attack::Keys => keys(dpa, seed, over),
        Attack::Doorbells => doorbells(dpa, seed, over),
        Attack::Floods => {
            let event = SyncEvent::device_to_device(dpa)?;
            crowd(dpa, over, |_| {
                let args = HostileFloodArgs {
                    event: &event,
                    times: TIMES,
                };
                Ok(dpa.launch(hostile_flood).args(args).submit()?)
            })
        }
        Attack::Allocates => allocate(dpa, over),
        Attack::Spins => crowd(dpa, over, |from| {
            Ok(dpa.launch(spins).args(SpinsArgs { from }).submit()?)
        }),
        Attack::Overflows => crowd(dpa, over, |depth| {
            Ok(dpa
                .launch(overflows)
                .args(OverflowsArgs { depth })
                .submit()?)
        }),
    }
}

/// Several launches at once, until they are over or it is.
fn crowd(
    _dpa: &Dpa,
    over: &AtomicBool,
    submit: impl Fn(u64) -> Result<doca_dpa::Launch, Error>,
) -> Result<(), Error> {
    let launches = (0..AT_ONCE).map(submit).collect::<Result<Vec<_>, _>>()?;
    while !over.load(Ordering::Relaxed) && launches.iter().any(|launch| !launch.is_over()) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}

/// A connection to itself.
fn looped(
    dpa: &Dpa,
) -> Result<(Rdma, doca_dpa::rdma::Connection, doca_dpa::rdma::Connection), Error> {
    let rdma = dpa.rdma().address([127, 41, 0, 1].into()).port(0);
    let rdma = rdma.connections(2).open()?;
    let (one, other) = (rdma.export()?, rdma.export()?);
    one.connect(&other.blob())?;
    other.connect(&one.blob())?;
    Ok((rdma, one, other))
}

fn entries(dpa: &Dpa, seed: u64, over: &AtomicBool) -> Result<(), Error> {
    let (rdma, one, _other) = looped(dpa)?;
    let near = dpa.zeroed_blocking::<u64>(1)?;
    let writing = crowd(dpa, over, |n| {
        let args = HostileWordsArgs {
            around: near.addr(),
            seed: seed ^ n << 32,
            times: TIMES,
        };
        Ok(dpa.launch(hostile_words).args(args).submit()?)
    });
    let args = HostileKeysArgs {
        rdma: &rdma,
        seed,
        times: 100,
    };
    dpa.launch(hostile_keys).args(args).submit()?.wait()?;
    drop(one);
    writing
}

fn keys(dpa: &Dpa, seed: u64, over: &AtomicBool) -> Result<(), Error> {
    let (rdma, _one, _other) = looped(dpa)?;
    crowd(dpa, over, |n| {
        let args = HostileKeysArgs {
            rdma: &rdma,
            seed: seed ^ n << 32,
            times: TIMES,
        };
        Ok(dpa.launch(hostile_keys).args(args).submit()?)
    })
}

fn doorbells(dpa: &Dpa, seed: u64, over: &AtomicBool) -> Result<(), Error> {
    let found = dpa.zeroed_blocking::<u64>(1)?;
    crowd(dpa, over, |n| {
        let args = HostileDoorbellsArgs {
            seed: seed ^ n << 32,
            times: TIMES,
            found: &found,
        };
        Ok(dpa.launch(hostile_doorbells).args(args).submit()?)
    })
}

/// Takes what there is until it is refused, then lets it go.
fn allocate(dpa: &Dpa, over: &AtomicBool) -> Result<(), Error> {
    let going = || !over.load(Ordering::Relaxed);
    let mut memory = Vec::new();
    while going() {
        match dpa.alloc::<u8>(1 << 20) {
            Ok(buffer) => memory.push(buffer),
            Err(_) => break,
        }
    }
    drop(memory);
    let mut events = Vec::new();
    while going() && events.len() < 100_000 {
        match SyncEvent::device_to_device(dpa) {
            Ok(event) => events.push(event),
            Err(_) => break,
        }
    }
    drop(events);
    let mut queues = Vec::new();
    while going() {
        match dpa.async_ops().open() {
            Ok(queue) => queues.push(queue),
            Err(_) => break,
        }
    }
    Ok(())
}
