//! What came of an attack: that it did something, and got nothing that is not the attacker's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::Outcome;
use crate::attack::Attack;

/// What the limits are called that allocating meets.
const LIMITED: [&str; 6] = [
    "events", "launches", "memory", "queues", "regions", "windows",
];

/// What comes of an attack, told by whoever attacks.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Came>);

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Came {
    /// Processes of the attacker that a fault ended.
    faults: u64,
    /// What it tried on others and did not get: connections that failed, rings, addresses.
    refused: u64,
    /// Words that it wrote over what the NIC reads.
    written: u64,
    /// Queues of others that took a ring.
    found: u64,
    /// Threads that had units at a time, at most.
    started: u32,
    /// Launches that came to their end.
    ended: u64,
    /// How much there was of what is limited, when the next was refused.
    limits: BTreeMap<&'static str, usize>,
    /// What else stood in its way.
    stopped: BTreeSet<String>,
}

impl Tally {
    fn with(&self, tell: impl FnOnce(&mut Came)) {
        tell(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn faulted(&self) {
        self.with(|came| came.faults += 1);
    }

    pub fn refused(&self, times: u64) {
        self.with(|came| came.refused += times);
    }

    pub fn written(&self, words: u64) {
        self.with(|came| came.written += words);
    }

    pub fn found(&self, times: u64) {
        self.with(|came| came.found += times);
    }

    pub fn started(&self, threads: u32) {
        self.with(|came| came.started = came.started.max(threads));
    }

    pub fn ended(&self, launches: u64) {
        self.with(|came| came.ended += launches);
    }

    pub fn limit(&self, what: &'static str, taken: usize, refused: &doca_dpa::Error) {
        if taken == 0 {
            return self.stopped_by(refused);
        }
        self.with(|came| {
            came.limits.insert(what, taken);
        });
    }

    pub fn stopped_by(&self, error: &doca_dpa::Error) {
        self.with(|came| {
            if came.stopped.len() < 4 {
                came.stopped.insert(error.to_string());
            }
        });
    }

    pub fn came(&self) -> Came {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Came {
    /// Whether the attack took place, and came to nothing.
    ///
    /// # Errors
    /// It did not, or it found what is another's.
    pub fn check(&self, attack: Attack) -> Outcome {
        if self.found > 0 {
            let found = self.found;
            return Err(format!("{found} rings were taken by queues of another process").into());
        }
        let took_place = match attack {
            Attack::Events | Attack::Overflows => self.faults > 0,
            Attack::Keys | Attack::Doorbells | Attack::Addresses => self.refused > 0,
            Attack::Entries => self.refused > 0 && self.written > 0,
            Attack::Allocates => LIMITED.iter().all(|what| self.limits.contains_key(what)),
            Attack::Streams => self.limits.contains_key("streams"),
            Attack::Floods => self.ended > 0,
            // Its launches have no end.
            Attack::Spins => self.started > 0,
        };
        match took_place {
            true => Ok(()),
            false => Err(format!("{} did not take place: {self}", attack.name()).into()),
        }
    }
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            faults,
            refused,
            started,
            ended,
            ..
        } = self;
        write!(
            f,
            "{started} threads at a time, {ended} launches ended, {faults} faults, {refused} refused"
        )?;
        for (what, taken) in &self.limits {
            write!(f, ", {taken} {what}")?;
        }
        self.stopped.iter().try_for_each(|why| write!(f, "; {why}"))
    }
}
