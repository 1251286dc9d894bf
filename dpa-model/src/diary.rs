//! What happened in a simulation, in order: who updated which event, what that opened, which packet went where.
//!
//! Only the seeded driver writes one, and only if it is asked to: the same seed gives the same run, so a run that has
//! failed is run again with a diary.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use dpa_abi::{Condition, EventHandle, Update};
use parking_lot::Mutex;
use rdma::memory::Atomic;
use sync_event::{CloseReason, Event};

use crate::device::Device;
use crate::fault::Fault;
use crate::gate::Gate;
use crate::launch::{Launch, Outcome};
use crate::process::Process;
use crate::seeded::Simulation;
use crate::unit::Core;

/// The most notes that are kept: the last ones.
pub const MOST: usize = 1 << 16;

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Actor {
    /// The host program.
    Host,
    /// A thread of a launch.
    Thread {
        /// Its kernel.
        kernel: &'static str,
        /// The number of the launch, in order of submission.
        launch: u64,
        /// Its rank.
        rank: u32,
    },
    /// The device itself: its scheduler and its timers.
    Device,
    /// A NIC, or the network between them.
    Network,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Thread {
                kernel,
                launch,
                rank,
            } => write!(f, "{kernel} #{launch}.{rank}"),
            Self::Device => f.write_str("device"),
            Self::Network => f.write_str("network"),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When, in device time.
    pub at: Duration,
    /// The device that it was done on, if the simulation has several and it was one. They are numbered from 0 as they are opened.
    pub device: Option<u32>,
    /// Who did it.
    pub who: Actor,
    /// What.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.at.as_nanos();
        let who = match self.device {
            Some(device) => format!("{}@{device}", self.who),
            None => self.who.to_string(),
        };
        write!(f, "{nanos:>12} ns  {who:<18} {}", self.what)
    }
}

/// The notes of one run.
#[derive(Debug)]
pub struct Diary {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    notes: VecDeque<Note>,
    /// Whose turn it is.
    turn: Actor,
}

impl Default for Diary {
    fn default() -> Self {
        let state = State {
            notes: VecDeque::new(),
            turn: Actor::Host,
        };
        Self {
            state: Mutex::new(state),
        }
    }
}

impl Diary {
    /// One more, of whose turn it is if not of `who`. Beyond [`MOST`] the oldest goes.
    fn write(&self, now: u64, device: Option<u32>, who: Option<Actor>, what: String) {
        let mut state = self.state.lock();
        if state.notes.len() == MOST {
            state.notes.pop_front();
        }
        let at = Duration::from_nanos(now);
        let who = who.unwrap_or(state.turn);
        state.notes.push_back(Note {
            at,
            device,
            who,
            what,
        });
    }

    /// Takes all notes out, the oldest first.
    pub fn take(&self) -> Vec<Note> {
        std::mem::take(&mut self.state.lock().notes).into()
    }
}

impl Simulation {
    /// Whether a diary is kept.
    pub(crate) fn keeps_diary(&self) -> bool {
        self.choices.diary.is_some()
    }

    /// Notes what whoever's turn it is has done, on a device or on none, if a diary is kept.
    pub(crate) fn note(&self, device: Option<u32>, what: impl FnOnce() -> String) {
        self.write(device, None, what);
    }

    /// Notes what the NICs or the network have done.
    pub(crate) fn note_network(&self, device: Option<u32>, what: impl FnOnce() -> String) {
        self.write(device, Some(Actor::Network), what);
    }

    fn write(&self, device: Option<u32>, who: Option<Actor>, what: impl FnOnce() -> String) {
        if let Some(diary) = &self.choices.diary {
            let device = device.filter(|_| self.has_several());
            diary.write(self.now(), device, who, what());
        }
    }

    /// It is this one's turn from now on.
    pub(crate) fn note_turn(&self, who: impl FnOnce() -> Actor) {
        if let Some(diary) = &self.choices.diary {
            diary.state.lock().turn = who();
        }
    }
}

impl Device {
    /// Notes what whoever's turn it is has done here, if a diary is kept.
    #[inline]
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(simulation) = &self.simulation {
            simulation.note(Some(self.number), what);
        }
    }

    /// Notes what its NICs have done.
    #[inline]
    pub(crate) fn note_network(&self, what: impl FnOnce() -> String) {
        if let Some(simulation) = &self.simulation {
            simulation.note_network(Some(self.number), what);
        }
    }

    /// It is this one's turn from now on.
    #[inline]
    pub(crate) fn note_turn(&self, who: impl FnOnce() -> Actor) {
        if let Some(simulation) = &self.simulation {
            simulation.note_turn(who);
        }
    }
}

impl Core {
    /// It is the turn of the thread that runs here.
    #[inline]
    pub(crate) fn note_turn(&self, device: &Device) {
        device.note_turn(|| {
            let running = self.running.borrow();
            running.as_ref().map_or(Actor::Device, |thread| {
                let (launch, rank) = (&thread.launch, thread.rank);
                Actor::Thread {
                    kernel: launch.body.name(),
                    launch: launch.seq,
                    rank,
                }
            })
        });
    }
}

/// An update, as it is written.
fn arrow(update: Update) -> String {
    match update {
        Update::Set(value) => format!("= {value}"),
        Update::Add(count) => format!("+= {count}"),
    }
}

impl Process {
    /// An event is about to be updated.
    #[inline]
    pub(crate) fn note_update(&self, index: u32, update: Update, event: &Event<Gate>) {
        self.device
            .note(|| self.updated(index, update, event.get()));
    }

    /// The same, by a NIC.
    #[inline]
    pub(crate) fn note_update_by_nic(&self, index: u32, update: Update, event: &Event<Gate>) {
        self.device
            .note_network(|| self.updated(index, update, event.get()));
    }

    /// An event is about to get an atomic operation by a NIC.
    #[inline]
    pub(crate) fn note_atomic_by_nic(&self, index: u32, operation: Atomic, event: &Event<Gate>) {
        match operation {
            Atomic::Add(count) => self.note_update_by_nic(index, Update::Add(count), event),
            Atomic::CompareSwap { compare, swap } => self.device.note_network(|| {
                let (now, event) = (event.get(), self.event_name(index));
                format!("{event} = {swap} if it is {compare}, is {now}")
            }),
        }
    }

    fn updated(&self, index: u32, update: Update, previous: u64) -> String {
        let (now, update) = (update.apply(previous), arrow(update));
        let event = self.event_name(index);
        format!("{event} {update}, was {previous}, is {now}")
    }

    /// The name of an event.
    fn event_name(&self, index: u32) -> String {
        format!("event {}.{index}", self.number)
    }

    /// A gate is opened at this value of its event.
    #[inline]
    pub(crate) fn note_opened(&self, gate: &Gate, value: u64) {
        self.device.note(|| match gate {
            Gate::Launch(launch) => opens(launch, value),
            Gate::Unit(unit) => format!("wakes {} at {value}", thread(unit.core())),
            Gate::Queue(_) => format!("lets a queue of a NIC go on at {value}"),
            Gate::Place(_) => format!("shows {value} where the event stands"),
        });
    }

    #[inline]
    pub(crate) fn note_opens(&self, launch: &Launch, value: u64) {
        self.device.note(|| opens(launch, value));
    }

    #[inline]
    pub(crate) fn note_closed(&self, index: u32, reason: CloseReason) {
        self.device
            .note(|| format!("closes {}: {reason:?}", self.event_name(index)));
    }

    #[inline]
    pub(crate) fn note_submitted(&self, launch: &Launch, wait: Option<(EventHandle, Condition)>) {
        self.device.note(|| {
            let wait = wait.map(|(event, condition)| {
                let index = event.0.index;
                let value = self.events.event(index).get();
                let event = self.event_name(index);
                format!(", waits for {event} {condition}, is {value}")
            });
            let then = launch.then().map(|(index, update)| {
                let (event, update) = (self.event_name(index), arrow(update));
                format!(", then {event} {update}")
            });
            let threads = launch.threads;
            let (wait, then) = (wait.unwrap_or_default(), then.unwrap_or_default());
            format!("submits {} of {threads} threads{wait}{then}", named(launch))
        });
    }

    #[inline]
    pub(crate) fn note_waits(&self, index: u32, condition: Condition) {
        self.device.note(|| {
            let value = self.events.event(index).get();
            let event = self.event_name(index);
            format!("waits for {event} {condition}, is {value}")
        });
    }

    #[inline]
    pub(crate) fn note_settled(&self, launch: &Launch, outcome: Outcome) {
        self.device
            .note(|| format!("{} ends: {outcome:?}", named(launch)));
    }

    #[inline]
    pub(crate) fn note_fault(&self, fault: &Fault) {
        self.device
            .note(|| format!("process {} becomes fatal: {fault}", self.number));
    }
}

fn opens(launch: &Launch, value: u64) -> String {
    format!("opens {} at {value}", named(launch))
}

fn named(launch: &Launch) -> String {
    format!("{} #{}", launch.body.name(), launch.seq)
}

fn thread(core: &Core) -> String {
    let running = core.running.borrow();
    running.as_ref().map_or_else(String::new, |thread| {
        format!("{}.{}", named(&thread.launch), thread.rank)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_notes_are_kept() {
        let diary = Diary::default();
        for n in 0..MOST as u64 + 3 {
            diary.write(n, None, None, n.to_string());
        }
        let notes = diary.take();
        assert_eq!((notes.len(), notes[0].what.as_str()), (MOST, "3"));
        assert!(diary.take().is_empty());
    }
}
