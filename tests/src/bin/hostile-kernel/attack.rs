//! The process that attacks. When a fault ends it, it comes again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use doca_dpa::rdma::{Connection, ConnectionState, HostBuffer, Rdma, Rights};
use doca_dpa::{Dpa, Error, Launch, SyncEvent};
use tests::hostile::*;
use tests::{OverflowsArgs, SpinsArgs, overflows, spins};

use crate::allocate::{allocate, streams};
use crate::tally::Tally;
use crate::{Outcome, victim::Victim};

/// What it tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Updates events by handles of the victim's, or guessed.
    Events,
    /// Binds addresses of the victim's, or guessed.
    Addresses,
    /// Writes over the rings, records and tables of its own process, which the NIC reads.
    Entries,
    /// Posts work with keys and addresses of the victim's, or guessed, through the NIC that both share.
    Keys,
    /// Rings for queues by numbers of the victim's, or guessed.
    Doorbells,
    /// Updates an event of its own without end.
    Floods,
    /// Takes of everything that has a limit until it is refused, but for what has a thread.
    Allocates,
    /// Opens message streams, each with a thread, until it is refused: what the host's program of a process does, and no kernel.
    Streams,
    /// Never comes to a safe point.
    Spins,
    /// Overflows its stack.
    Overflows,
}

/// Launches of one attack at a time.
const AT_ONCE: u64 = 8;
/// What a kernel tries before it ends, where it does.
const TIMES: u64 = 20_000;
/// Connections of the attacker, in pairs that are connected to each other.
const CONNECTIONS: u32 = 64;

impl Attack {
    pub fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Whom it attacks, and with what.
pub struct Target<'v> {
    victim: &'v Dpa,
    function: &'v str,
    prey: Prey,
    nic: SocketAddr,
}

impl<'v> Target<'v> {
    /// The attacker is opened on this function of the device.
    pub fn new(dpa: &'v Dpa, function: &'v str, victim: &Victim) -> Self {
        Self {
            victim: dpa,
            function,
            prey: victim.prey(),
            nic: victim.nic(),
        }
    }
}

/// Attacks until it is over. What comes of it is told to the tally.
pub fn run(
    target: &Target<'_>,
    attack: Attack,
    seed: u64,
    over: &AtomicBool,
    tally: &Tally,
) -> Outcome {
    let mut seed = seed;
    while !over.load(Ordering::Relaxed) {
        let attacker = Attacker {
            dpa: target.victim.open_on(target.function)?,
            prey: target.prey,
            nic: target.nic,
            over,
            tally,
        };
        while attacker.goes_on() && attacker.dpa.last_error().is_none() {
            seed = seed.wrapping_add(1);
            let came = attacker.once(attack, seed);
            if let Err(error) = came
                && attacker.dpa.last_error().is_none()
            {
                tally.stopped_by(&error);
            }
        }
        if attacker.dpa.last_error().is_some() {
            tally.faulted();
        }
    }
    Ok(())
}

/// A process that attacks.
pub struct Attacker<'v> {
    pub dpa: Dpa,
    prey: Prey,
    nic: SocketAddr,
    over: &'v AtomicBool,
    pub tally: &'v Tally,
}

impl Attacker<'_> {
    pub fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn once(&self, attack: Attack, seed: u64) -> Result<(), Error> {
        let (dpa, prey) = (&self.dpa, self.prey);
        match attack {
            Attack::Events => self.crowd(|n| {
                let seed = seed ^ n << 32;
                let args = HostileEventsArgs { prey, seed };
                Ok(dpa.launch(hostile_events).args(args).submit()?)
            }),
            Attack::Addresses => self.addresses(seed),
            Attack::Entries => self.entries(seed),
            Attack::Keys => self.keys(seed),
            Attack::Doorbells => self.doorbells(seed),
            Attack::Floods => self.floods(),
            Attack::Allocates => allocate(self),
            Attack::Streams => {
                streams(self);
                Ok(())
            }
            Attack::Spins => self.crowd(|from| {
                let args = SpinsArgs { from };
                Ok(dpa.launch(spins).args(args).submit()?)
            }),
            Attack::Overflows => self.crowd(|depth| {
                let args = OverflowsArgs { depth };
                Ok(dpa.launch(overflows).args(args).submit()?)
            }),
        }
    }

    /// Several launches at once, until they are over or it is.
    fn crowd(&self, submit: impl Fn(u64) -> Result<Launch, Error>) -> Result<(), Error> {
        self.attend(&start(submit)?);
        Ok(())
    }

    /// Waits until they are over or it is.
    fn attend(&self, launches: &[Launch]) {
        let ended = || launches.iter().filter(|launch| launch.is_over()).count();
        while self.goes_on() && ended() < launches.len() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.tally.started(self.dpa.snapshot().started);
        self.tally.ended(ended() as u64);
    }

    /// Connections to itself, on the NIC of the victim.
    fn looped(&self) -> Result<(Rdma, Vec<Connection>), Error> {
        let rdma = self.dpa.rdma().address(self.nic.ip()).port(self.nic.port());
        let rdma = rdma.connections(CONNECTIONS).open()?;
        let exported = (0..CONNECTIONS).map(|_| rdma.export());
        let connections = exported.collect::<Result<Vec<_>, _>>()?;
        for pair in connections.chunks(2) {
            let [one, other] = pair else { continue };
            one.connect(&other.blob())?;
            other.connect(&one.blob())?;
        }
        Ok((rdma, connections))
    }

    fn keys(&self, seed: u64) -> Result<(), Error> {
        let (rdma, connections) = self.looped()?;
        let own = rdma.map_host(HostBuffer::new(8), Rights::empty())?;
        let attacked = self.crowd(|n| {
            let args = HostileKeysArgs {
                rdma: &rdma,
                own: own.map(),
                prey: self.prey,
                connections: CONNECTIONS,
                seed: seed ^ n << 32,
                times: u64::from(CONNECTIONS) * 4,
            };
            Ok(self.dpa.launch(hostile_keys).args(args).submit()?)
        });
        let failed = connections
            .iter()
            .filter(|one| matches!(one.state(), ConnectionState::Failed(_)));
        self.tally.refused(failed.count() as u64);
        attacked
    }

    fn entries(&self, seed: u64) -> Result<(), Error> {
        let near = self.dpa.zeroed_blocking::<u64>(1)?;
        let written = SyncEvent::device_to_host(&self.dpa)?;
        let writing = start(|n| {
            let args = HostileWordsArgs {
                around: near.addr(),
                prey: self.prey,
                seed: seed ^ n << 32,
                times: TIMES,
                written: &written,
            };
            Ok(self.dpa.launch(hostile_words).args(args).submit()?)
        })?;
        let posted = self.keys(seed);
        self.attend(&writing);
        self.tally.written(written.get());
        posted
    }

    fn addresses(&self, seed: u64) -> Result<(), Error> {
        let refused = SyncEvent::device_to_host(&self.dpa)?;
        let bound = self.crowd(|n| {
            let args = HostileAddressesArgs {
                prey: self.prey,
                seed: seed ^ n << 32,
                times: TIMES,
                refused: &refused,
            };
            Ok(self.dpa.launch(hostile_addresses).args(args).submit()?)
        });
        self.tally.refused(refused.get());
        bound
    }

    fn doorbells(&self, seed: u64) -> Result<(), Error> {
        let rings = self.dpa.zeroed_blocking::<u64>(2)?;
        let rung = self.crowd(|n| {
            let args = HostileDoorbellsArgs {
                prey: self.prey,
                seed: seed ^ n << 32,
                times: TIMES,
                rings: &rings,
            };
            Ok(self.dpa.launch(hostile_doorbells).args(args).submit()?)
        });
        let rings = rings.copy_out_blocking()?;
        self.tally.found(rings[0]);
        self.tally.refused(rings[1]);
        rung
    }

    fn floods(&self) -> Result<(), Error> {
        let event = SyncEvent::device_to_device(&self.dpa)?;
        self.crowd(|_| {
            let args = HostileFloodArgs {
                event: &event,
                times: TIMES,
            };
            Ok(self.dpa.launch(hostile_flood).args(args).submit()?)
        })
    }
}

/// Several launches at once.
fn start(submit: impl Fn(u64) -> Result<Launch, Error>) -> Result<Vec<Launch>, Error> {
    (0..AT_ONCE).map(submit).collect()
}
