//! What stands around the NIC's core: contexts and their connections, queues in device memory, work of the host.
//!
//! All of it is under the NIC's lock. What wakes anybody is left for later ([`After`]).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dpa_abi::queue::record::STATE_ERROR;
use dpa_abi::queue::{CompletionEntry, WorkEntry, WorkFlags, WorkOpcode};
use rdma::nic::NicPostError;
use rdma::psn::Qpn;
use rdma::queue_pair::{Cause, Io};
use rdma::region::{LocalKey, RegionTable};
use rdma::soft::Host;
use rdma::work::{Completion, PostReason, Segment, WorkDone, WorkError, WorkFailure, WorkKind};
use slab::Slab;

use super::after::After;
use super::completion_ring::{CompletionRing, Overrun, Told};
use super::context::domain;
use super::late::{Ending, Late};
use super::line::Line;
use super::memory::NicMemory;
use super::pairs::{Context, Pair, Pairs};
use super::pending::{Ended, Pending};
use super::period::Begun;
use super::provider::Provider;
use super::queues::SendRing;
use super::turn::Turn;
use super::waiting::Waiting;
use super::watch::ConnectionState;
use super::words::Words;
use super::{DeviceNic, translate};
use crate::process::Process;

/// Work of the host has this bit in its id, work of kernels has not.
pub(crate) const HOST: u64 = 1 << 63;
/// The number of the first completion queue of a NIC.
const FIRST_COMPLETION_QUEUE: u32 = 0x400;

/// Bytes that are copied in no time.
const AT_ONCE: u32 = 4096;

/// What became of an entry of a send queue.
enum Taken {
    /// It is taken.
    Done,
    /// It stays where it is until the queue is looked at again.
    Later,
    /// No NIC can do this.
    Impossible,
}

/// What stands around the NIC's core.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nic: Weak<DeviceNic>,
    pub(crate) memory: NicMemory,
    pub(crate) regions: Arc<RegionTable>,
    pub(crate) contexts: Slab<Context>,
    pub(crate) pairs: Pairs,
    pub(crate) queues: Slab<CompletionRing>,
    /// The number the next completion queue gets, if none has it. The NICs of a device share it: a process names its queues by
    /// number on all of them.
    pub(crate) next_completion_queue: Arc<AtomicU32>,
    next_receive_queue: u32,
    pub(crate) work: Slab<Arc<Pending>>,
    /// Queue pairs whose send queues must be looked at.
    pub(crate) look_at: VecDeque<Qpn>,
    /// How long the queues that copy have been at it.
    pub(crate) turn: Turn,
    /// Queue pairs whose completion queue has overrun.
    overruns: Line<Qpn>,
    /// Completion queues with entries that nobody was told of yet, each once.
    to_be_told: Vec<usize>,
    /// Words that a device writes for events.
    pub(crate) words: Words,
    /// When what is done just now was begun, if that was not long ago.
    now: Option<u64>,
    /// The NIC's core has got something to do since it was asked last.
    posted: bool,
    /// Completions that are late, in a simulation.
    pub(super) late: Option<Late>,
}

impl World {
    pub(crate) fn new(regions: Arc<RegionTable>) -> Self {
        Self {
            nic: Weak::new(),
            memory: NicMemory::default(),
            regions,
            contexts: Slab::new(),
            pairs: Pairs::default(),
            next_completion_queue: Arc::default(),
            next_receive_queue: 0,
            queues: Slab::new(),
            work: Slab::new(),
            look_at: VecDeque::new(),
            turn: Turn::default(),
            overruns: Line::default(),
            to_be_told: Vec::new(),
            words: Words::default(),
            now: None,
            posted: false,
            late: None,
        }
    }

    /// Something is begun at this time, which short work is done at.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.now = Some(now.as_nanos() as u64);
    }

    /// What was begun is done, or has taken long.
    pub(crate) fn time_passes(&mut self) {
        self.now = None;
    }

    /// The NIC's core may have got something to do.
    pub(crate) fn note_posted(&mut self) {
        self.posted = true;
    }

    /// Whether the NIC's core has got something to do since this was asked last.
    pub(crate) fn take_posted(&mut self) -> bool {
        std::mem::take(&mut self.posted)
    }

    pub(crate) fn later(&mut self, after: After) {
        self.memory.after.get_mut().push(after);
    }

    /// Takes the entries of a send queue to the NIC, as many as both and the turn allow; whether there were any.
    pub(crate) fn pump(&mut self, nic: &mut Provider, now: Duration, number: Qpn) -> bool {
        // Whoever comes when the turn is over comes first in a later one.
        if self.turn.is_over(number) {
            return false;
        }
        let (mut any, enough) = self.post_all(nic, now, number);
        if enough {
            return any;
        }
        // What is left stays where it is, is carried out here, or is impossible.
        while let Some(pair) = self.pairs.get_mut(number) {
            let Some((index, entry)) = pair.send.as_ref().and_then(SendRing::peek) else {
                return any;
            };
            let taken = match entry {
                Ok(entry) => self.take(nic, now, number, index, &entry),
                Err(_) => Taken::Impossible,
            };
            let impossible = matches!(taken, Taken::Impossible);
            let later = matches!(taken, Taken::Later);
            if later || impossible && !self.comes_next(nic, now, number) {
                return any;
            }
            any = true;
            if let Some(pair) = self.pairs.get_mut(number) {
                pair.send.iter_mut().for_each(SendRing::take);
            }
            if impossible {
                self.impossible(nic, number, index);
            }
            self.turn.took();
            if self.turn.is_over(number) {
                return any;
            }
        }
        any
    }

    /// Hands entries to the NIC's core as long as it takes them and the turn lasts; whether there were any, and whether that is
    /// enough for now: all were taken, or the turn is over. A queue pair in ERR takes as many as kernels write.
    #[inline]
    fn post_all(&mut self, nic: &mut Provider, now: Duration, number: Qpn) -> (bool, bool) {
        let pair = self.pairs.get_mut(number).filter(|pair| !pair.local);
        let Some(send) = pair.and_then(|pair| pair.send.as_mut()) else {
            return (false, false);
        };
        let mut any = false;
        loop {
            let (index, entry) = match send.peek() {
                None => return (any, true),
                Some((index, Ok(entry))) if entry.opcode != WorkOpcode::Wait => (index, entry),
                Some(_) => return (any, false),
            };
            self.posted = true;
            let request = translate::request(index.into(), &entry);
            if nic.post(now, number, request).is_err() {
                return (any, false);
            }
            send.take();
            any = true;
            self.turn.took();
            if self.turn.is_over(number) {
                return (any, true);
            }
        }
    }

    /// Takes one entry: to the NIC's core, or carries it out here.
    fn take(
        &mut self,
        nic: &mut Provider,
        now: Duration,
        number: Qpn,
        index: u16,
        entry: &WorkEntry,
    ) -> Taken {
        if self.pairs.is_local(number) || entry.opcode == WorkOpcode::Wait {
            return self.carry_out(nic, now, number, index, entry);
        }
        self.posted = true;
        match nic.post(now, number, translate::request(index.into(), entry)) {
            Ok(()) => Taken::Done,
            Err(error) if comes_later(&error) => Taken::Later,
            Err(_) => Taken::Impossible,
        }
    }

    /// Carries out what needs no peer.
    fn carry_out(
        &mut self,
        nic: &mut Provider,
        now: Duration,
        number: Qpn,
        index: u16,
        entry: &WorkEntry,
    ) -> Taken {
        let has_failed = nic.has_failed(number);
        let outcome = match entry.opcode {
            _ if has_failed && !self.comes_next(nic, now, number) => return Taken::Later,
            _ if has_failed => Err(WorkError::Flushed),
            WorkOpcode::Copy | WorkOpcode::Transpose => self.copy(number, entry),
            WorkOpcode::Wait => {
                let Some(met) = self.wait(number, entry) else {
                    return Taken::Later;
                };
                let silent = met && !entry.flags.has(WorkFlags::SIGNALED);
                if !silent && !self.comes_next(nic, now, number) {
                    // It is over, whatever becomes of the event meanwhile.
                    let pair = self.pairs.get_mut(number).into_iter();
                    pair.for_each(|pair| pair.waiting = Waiting::Over(met));
                    return Taken::Later;
                }
                match met {
                    true => Ok(0),
                    false => return Taken::Impossible,
                }
            }
            _ => return Taken::Impossible,
        };
        if let (Err(error), false) = (outcome, has_failed) {
            // It is one of ours, so this cannot fail.
            let _ = nic.fail(number, Cause::Work(error));
            self.posted = true;
        }
        if outcome.is_err() || entry.flags.has(WorkFlags::SIGNALED) {
            self.own_done(number, index, outcome);
        }
        Taken::Done
    }

    /// Reports an entry of a kernel that no peer knows of: how many bytes it moved, or why nothing was done.
    pub(super) fn own_done(&mut self, number: Qpn, index: u16, outcome: Result<u32, WorkError>) {
        let done = WorkDone {
            id: index.into(),
            kind: WorkKind::Write,
            outcome: outcome
                .map(|_| ())
                .map_err(|cause| WorkFailure { cause, sent: false }),
            len: outcome.unwrap_or(0),
            original: 0,
        };
        self.work_done(number, &done);
    }

    fn copy(&mut self, number: Qpn, entry: &WorkEntry) -> Result<u32, WorkError> {
        let domain = self.pairs.get(number).map(|pair| domain(&pair.process));
        let from = translate::segment(&entry.data);
        let to = Segment {
            address: entry.remote.address,
            len: from.len,
            key: LocalKey(entry.remote.key),
        };
        let io = Io {
            memory: &self.memory,
            regions: &self.regions,
            receives: &mut self.pairs,
        };
        let domain = domain.ok_or(WorkError::LocalProtection)?;
        if from.len > AT_ONCE {
            self.now = None;
        }
        if entry.opcode == WorkOpcode::Transpose {
            let shape = translate::shape(entry).ok_or(WorkError::LocalLength)?;
            rdma::transpose_local(domain, from, to, shape, &io)?;
        } else {
            rdma::copy_local(domain, from, to, &io)?;
        }
        self.turn.copied(from.len);
        Ok(from.len)
    }

    /// An entry that asks for something impossible fails its connection, as in a NIC.
    fn impossible(&mut self, nic: &mut Provider, number: Qpn, index: u16) {
        // It is one of ours, so this cannot fail.
        let _ = nic.fail(number, Cause::ImpossibleWork);
        self.posted = true;
        let Some(pair) = self.pairs.get(number) else {
            return;
        };
        let entry = translate::impossible(index, pair.name, number.value());
        self.report(pair.send_completions, number, &entry);
    }

    /// Events get what a device has written for them; whether anything was new.
    pub(crate) fn carry_words(&mut self) -> bool {
        !self.words.is_empty() && self.words.carry(&self.memory)
    }

    /// Reports work of a kernel.
    #[inline]
    fn work_done(&mut self, number: Qpn, done: &WorkDone) {
        if let Some(pair) = self.pairs.get(number) {
            let entry = translate::work_done(done, pair.name, number.value());
            self.report(pair.send_completions, number, &entry);
        }
    }

    /// Writes a completion entry, now or later.
    #[inline]
    pub(crate) fn report(&mut self, queue: Option<usize>, number: Qpn, entry: &CompletionEntry) {
        match self.late {
            None => self.write_entry(queue, number, entry),
            Some(_) => self.end(number, Ending::Entry(queue, *entry)),
        }
    }

    /// Writes a completion entry.
    pub(super) fn write_entry(
        &mut self,
        queue: Option<usize>,
        number: Qpn,
        entry: &CompletionEntry,
    ) {
        let Some(key) = queue else {
            return;
        };
        if let Some(overran) = self.complete(key, entry) {
            self.overruns.push(number);
            overran.into_iter().for_each(|after| self.later(after));
        }
    }

    /// Writes a completion entry of no queue pair, as a doorbell asks for.
    pub(crate) fn dummy(&mut self, key: usize, entry: &CompletionEntry) {
        let overran = self.complete(key, entry).flatten();
        overran.into_iter().for_each(|after| self.later(after));
    }

    /// Writes a completion entry; if there was no room, who is told of it.
    fn complete(&mut self, key: usize, entry: &CompletionEntry) -> Option<Option<After>> {
        let ring = self.queues.get_mut(key)?;
        let first = !ring.has_overrun();
        match ring.put(entry, self.now) {
            Ok(Told::Nobody) => {}
            Ok(Told::AtTheEnd) if self.to_be_told.contains(&key) => {}
            Ok(Told::AtTheEnd) => self.to_be_told.push(key),
            Ok(Told::Now(after)) => self.later(after),
            Ok(Told::Later(period)) => {
                let nic = self.nic.clone();
                let begun = Begun { nic, key, period };
                self.later(After::Moderate(Arc::new(begun)));
            }
            Err(Overrun) => return Some(first.then(|| ring.tell_anyway())),
        }
        None
    }

    /// Everything is written that is to be written in one go: who has asked for a notification is told.
    pub(crate) fn tell(&mut self) {
        for at in 0..self.to_be_told.len() {
            let ring = self.queues.get_mut(self.to_be_told[at]);
            if let Some(Told::Now(after)) = ring.map(CompletionRing::tell_of_all) {
                self.later(after);
            }
        }
        self.to_be_told.clear();
    }

    /// Tasks of the host that wait for completions of this process are woken.
    pub(crate) fn wake_readers_of(&mut self, process: &Process) {
        let of = self
            .queues
            .iter_mut()
            .filter(|(_, ring)| ring.is_of(process));
        let woken: Vec<After> = of.filter_map(|(_, ring)| ring.wake_readers()).collect();
        woken.into_iter().for_each(|after| self.later(after));
    }

    /// The number of a new receive queue.
    pub(crate) fn receive_number(&mut self) -> u32 {
        self.next_receive_queue = (self.next_receive_queue + 1) & 0xff_ffff;
        self.next_receive_queue
    }

    /// The number of a new completion queue.
    pub(crate) fn completion_number(&mut self) -> u32 {
        loop {
            let next = self.next_completion_queue.fetch_add(1, Ordering::Relaxed);
            let number = next.wrapping_add(FIRST_COMPLETION_QUEUE) & 0xff_ffff;
            if self.queues.iter().all(|(_, ring)| ring.number() != number) {
                return number;
            }
        }
    }

    /// Fails the connections whose completion queue has overrun (SEMANTICS 6.9).
    pub(crate) fn fail_overrun(&mut self, nic: &mut Provider) -> bool {
        if self.overruns.is_empty() {
            return false;
        }
        let mut any = false;
        for number in self.overruns.take() {
            let over = nic.state(number).is_some() && !nic.has_failed(number);
            any |= over && nic.fail(number, Cause::Overrun).is_ok();
        }
        any
    }
}

/// Whether work that was refused will be taken when there is room, or the queue pair is ready: its send queue is looked at
/// then, and not before.
fn comes_later(error: &NicPostError) -> bool {
    match error {
        NicPostError::Post(error) => {
            matches!(error.reason, PostReason::Full { .. } | PostReason::NotReady)
        }
        _ => false,
    }
}

impl Host for World {
    fn io(&mut self, receives_of: Option<Qpn>) -> Io<'_> {
        self.pairs.lend(receives_of);
        Io {
            memory: &self.memory,
            regions: &self.regions,
            receives: &mut self.pairs,
        }
    }

    fn completed(&mut self, number: Qpn, completion: Completion) {
        let Some(pair) = self.pairs.get(number) else {
            return;
        };
        let name = pair.name;
        match completion {
            Completion::Work(done) if done.id & HOST != 0 => {
                self.end(number, Ending::Host(done.id, Ended::Work(done)));
            }
            Completion::Received(received) if received.id & HOST != 0 => {
                let ended = Ended::Received(received, name);
                self.end(number, Ending::Host(received.id, ended));
            }
            Completion::Work(done) => {
                let entry = translate::work_done(&done, name, number.value());
                let queue = pair.send_completions;
                self.report(queue, number, &entry);
            }
            Completion::Received(received) => {
                let queue = self.pairs.receive_queue(pair.pool);
                let entry = translate::received(&received, name, number.value(), queue);
                self.report(pair.receive_completions, number, &entry);
            }
        }
    }

    fn failed(&mut self, number: Qpn, cause: Cause) {
        self.end_late(number);
        let has_events = |pair: &Pair| !pair.events.is_empty();
        if self.pairs.get(number).is_some_and(has_events) {
            // What its peer was told is done counts (SEMANTICS 1.9).
            self.carry_words();
        }
        let Some(pair) = self.pairs.get_mut(number) else {
            return;
        };
        pair.record.set_state(STATE_ERROR);
        pair.watch.set(ConnectionState::Failed(cause));
        let watch = pair.watch.clone();
        let events = std::mem::take(&mut pair.events);
        self.later(After::Changed(watch));
        for event in events {
            self.later(After::Close(event));
        }
        // What kernels have posted and the NIC has not taken is flushed.
        self.look_at.push_back(number);
    }

    fn has_room(&mut self, number: Qpn) {
        self.look_at.push_back(number);
    }
}
