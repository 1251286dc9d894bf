//! What stands around the NIC's core: contexts and their connections, queues in device memory, work of the host.
//!
//! All of it is under the NIC's lock. What wakes anybody is left for later ([`After`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dpa_abi::queue::record::{STATE, STATE_ERROR, connection};
use dpa_abi::queue::{CompletionEntry, WorkEntry, WorkFlags, WorkOpcode};
use rdma::nic::{Nic, NicPostError};
use rdma::psn::Qpn;
use rdma::queue_pair::{Cause, Io, State};
use rdma::region::{LocalKey, RegionTable};
use rdma::soft::Host;
use rdma::work::{
    Completion, PostReason, Receive, Receives, Segment, WorkDone, WorkError, WorkFailure, WorkKind,
};
use slab::Slab;

use super::after::After;
use super::context::domain;
use super::memory::NicMemory;
use super::pending::{Ended, Pending};
use super::queues::{Block, CompletionRing, Overrun, ReceiveRing, SendRing};
use super::waiting::{self, Looked, Waiting};
use super::watch::{ConnectionState, Watch};
use super::{DeviceNic, translate};
use crate::process::Process;

/// Work of the host has this bit in its id, work of kernels has not.
pub(crate) const HOST: u64 = 1 << 63;

/// One RDMA context.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) process: Arc<Process>,
    pub(crate) table: Arc<Block>,
    pub(crate) connections: Vec<Option<Connection>>,
    pub(crate) completions: Option<usize>,
    /// What completions carry in place of the connection's id: it has no peers, only copies and waits.
    pub(crate) local: Option<u32>,
    pub(crate) receives: Option<ReceiveRing>,
    pub(crate) host_receives: VecDeque<Receive>,
}

/// One connection of a context.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: Qpn,
    pub(crate) watch: Arc<Watch>,
    pub(crate) send: Option<SendRing>,
    /// Events that only this connection's peer updates: closed when it fails.
    pub(crate) events: Vec<u32>,
    pub(crate) waiting: Waiting,
}

impl Connection {
    pub(crate) fn new(number: Qpn, send: Option<SendRing>) -> Self {
        Self {
            number,
            watch: Arc::default(),
            send,
            events: Vec::new(),
            waiting: Waiting::No,
        }
    }
}

/// All contexts, and which of them lends receives just now.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    pub(crate) all: Slab<Context>,
    pub(crate) of: BTreeMap<Qpn, (usize, u32)>,
    lending: Option<usize>,
}

/// What became of an entry of a send queue.
enum Taken {
    /// It is taken.
    Done,
    /// It stays where it is until the queue is looked at again.
    Later,
    /// No NIC can do this.
    Impossible,
}

impl Contexts {
    /// Whether this queue has no peer.
    fn is_local(&self, number: Qpn) -> bool {
        let context = self
            .of
            .get(&number)
            .and_then(|(context, _)| self.all.get(*context));
        context.is_some_and(|context| context.local.is_some())
    }

    /// The context of a queue pair, and what its completions are named by.
    fn name_of(&self, number: Qpn) -> Option<(usize, u32)> {
        let (context, id) = *self.of.get(&number)?;
        Some((context, self.all.get(context)?.local.unwrap_or(id)))
    }

    pub(crate) fn connection(&mut self, number: Qpn) -> Option<&mut Connection> {
        let (context, id) = *self.of.get(&number)?;
        self.all
            .get_mut(context)?
            .connections
            .get_mut(id as usize)?
            .as_mut()
    }
}

impl Receives for Contexts {
    fn take(&mut self) -> Option<Receive> {
        let context = self.all.get_mut(self.lending?)?;
        match &mut context.receives {
            Some(ring) => ring.take(),
            None => context.host_receives.pop_front(),
        }
    }
}

/// What stands around the NIC's core.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nic: Weak<DeviceNic>,
    pub(crate) memory: NicMemory,
    pub(crate) regions: Arc<RegionTable>,
    pub(crate) contexts: Contexts,
    pub(crate) queues: Slab<CompletionRing>,
    pub(crate) work: Slab<Arc<Pending>>,
    /// Queue pairs whose send queues must be looked at.
    pub(crate) look_at: VecDeque<Qpn>,
    /// Queue pairs whose send queues wait for room in the NIC.
    pub(crate) stalled: Vec<Qpn>,
    /// Queue pairs whose completion queue has overrun.
    overruns: Vec<Qpn>,
}

impl World {
    pub(crate) fn new(regions: Arc<RegionTable>) -> Self {
        Self {
            nic: Weak::new(),
            memory: NicMemory::default(),
            regions,
            contexts: Contexts::default(),
            queues: Slab::new(),
            work: Slab::new(),
            look_at: VecDeque::new(),
            stalled: Vec::new(),
            overruns: Vec::new(),
        }
    }

    pub(crate) fn later(&mut self, after: After) {
        self.memory.after.get_mut().push(after);
    }

    /// Takes the entries of a send queue to the NIC, as many as both allow; whether there were any.
    pub(crate) fn pump(&mut self, nic: &mut Nic, now: Duration, number: Qpn) -> bool {
        let mut any = false;
        while let Some(connection) = self.contexts.connection(number) {
            let Some((index, entry)) = connection.send.as_ref().and_then(SendRing::peek) else {
                return any;
            };
            let taken = match entry {
                Ok(entry) => self.take(nic, now, number, index, &entry),
                Err(_) => Taken::Impossible,
            };
            if matches!(taken, Taken::Later) {
                return any;
            }
            any = true;
            if let Some(connection) = self.contexts.connection(number) {
                connection.send.iter_mut().for_each(SendRing::take);
            }
            if matches!(taken, Taken::Impossible) {
                self.impossible(nic, number, index);
            }
        }
        any
    }

    /// Takes one entry: to the NIC's core, or carries it out here.
    fn take(
        &mut self,
        nic: &mut Nic,
        now: Duration,
        number: Qpn,
        index: u16,
        entry: &WorkEntry,
    ) -> Taken {
        if self.contexts.is_local(number) || entry.opcode == WorkOpcode::Wait {
            return self.carry_out(nic, number, index, entry);
        }
        match nic.post(now, number, translate::request(index.into(), entry)) {
            Ok(()) => Taken::Done,
            Err(error) if comes_later(&error) => {
                if !self.stalled.contains(&number) {
                    self.stalled.push(number);
                }
                Taken::Later
            }
            Err(_) => Taken::Impossible,
        }
    }

    /// Carries out what needs no peer.
    fn carry_out(&mut self, nic: &mut Nic, number: Qpn, index: u16, entry: &WorkEntry) -> Taken {
        let has_failed = nic
            .queue_pair(number)
            .is_some_and(|queue_pair| matches!(queue_pair.state(), State::Error(_)));
        let outcome = match entry.opcode {
            _ if has_failed => Err(WorkError::Flushed),
            WorkOpcode::Copy => self.copy(number, entry),
            WorkOpcode::Wait => match self.wait(number, entry) {
                Some(Ok(())) => Ok(0),
                Some(Err(())) => return Taken::Impossible,
                None => return Taken::Later,
            },
            _ => return Taken::Impossible,
        };
        if let (Err(error), false) = (outcome, has_failed) {
            // It is one of ours, so this cannot fail.
            let _ = nic.fail(number, Cause::Work(error));
        }
        if outcome.is_err() || entry.flags.has(WorkFlags::SIGNALED) {
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
        Taken::Done
    }

    fn copy(&mut self, number: Qpn, entry: &WorkEntry) -> Result<u32, WorkError> {
        let context = self.contexts.of.get(&number);
        let context = context.and_then(|(context, _)| self.contexts.all.get(*context));
        let domain = context.map(|context| domain(&context.process));
        let from = translate::segment(&entry.data);
        let to = Segment {
            address: entry.remote.address,
            len: from.len,
            key: LocalKey(entry.remote.key),
        };
        let io = Io {
            memory: &self.memory,
            regions: &self.regions,
            receives: &mut self.contexts,
        };
        let domain = domain.ok_or(WorkError::LocalProtection)?;
        rdma::copy_local(domain, from, to, &io)?;
        Ok(from.len)
    }

    /// Looks at the wait at the head of a queue; `None`: it waits, else whether its condition held.
    fn wait(&mut self, number: Qpn, entry: &WorkEntry) -> Option<Result<(), ()>> {
        let process = {
            let (context, _) = *self.contexts.of.get(&number)?;
            self.contexts.all.get(context)?.process.clone()
        };
        let connection = self.contexts.connection(number)?;
        match std::mem::take(&mut connection.waiting) {
            Waiting::Over(met) => return Some(if met { Ok(()) } else { Err(()) }),
            parked @ Waiting::Parked(_) => {
                connection.waiting = parked;
                return None;
            }
            Waiting::No => {}
        }
        match waiting::begin(&process, &self.nic, number, entry) {
            Looked::Met => Some(Ok(())),
            Looked::Impossible => Some(Err(())),
            Looked::Parked(parked) => {
                connection.waiting = Waiting::Parked(parked);
                None
            }
        }
    }

    /// An entry that asks for something impossible fails its connection, as in a NIC.
    fn impossible(&mut self, nic: &mut Nic, number: Qpn, index: u16) {
        // It is one of ours, so this cannot fail.
        let _ = nic.fail(number, Cause::ImpossibleWork);
        let Some((context, id)) = self.contexts.name_of(number) else {
            return;
        };
        self.report(
            context,
            number,
            &translate::impossible(index, id, number.value()),
        );
    }

    /// Reports work of a kernel.
    fn work_done(&mut self, number: Qpn, done: &WorkDone) {
        if let Some((context, id)) = self.contexts.name_of(number) {
            let entry = translate::work_done(done, id, number.value());
            self.report(context, number, &entry);
        }
    }

    /// Writes a completion entry.
    fn report(&mut self, context: usize, number: Qpn, entry: &CompletionEntry) {
        let queue = self
            .contexts
            .all
            .get(context)
            .and_then(|context| context.completions);
        let Some(ring) = queue.and_then(|queue| self.queues.get_mut(queue)) else {
            return;
        };
        let first = !ring.has_overrun();
        let after = match ring.put(entry) {
            Ok(after) => after,
            Err(Overrun) => {
                self.overruns.push(number);
                first.then(|| ring.notification())
            }
        };
        after.into_iter().for_each(|after| self.later(after));
    }

    /// Work of the host that nobody will ever do: its context is gone.
    pub(crate) fn end_work(&mut self, id: u64) {
        self.work_of_host(id, Ended::Gone);
    }

    fn work_of_host(&mut self, id: u64, ended: Ended) {
        if let Some(pending) = self.work.try_remove((id & !HOST) as usize) {
            self.later(After::Ended(pending, ended));
        }
    }

    /// Fails the connections whose completion queue has overrun (SEMANTICS 6.9).
    pub(crate) fn fail_overrun(&mut self, nic: &mut Nic) -> bool {
        let numbers = std::mem::take(&mut self.overruns);
        let mut any = false;
        for number in numbers {
            let over = nic
                .queue_pair(number)
                .is_some_and(|q| !matches!(q.state(), State::Error(_)));
            any |= over && nic.fail(number, Cause::Overrun).is_ok();
        }
        any
    }
}

/// Whether work that was refused will be taken when there is room, or the queue pair is ready.
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
        self.contexts.lending =
            receives_of.and_then(|number| self.contexts.of.get(&number).map(|at| at.0));
        Io {
            memory: &self.memory,
            regions: &self.regions,
            receives: &mut self.contexts,
        }
    }

    fn completed(&mut self, number: Qpn, completion: Completion) {
        let Some(&(context, id)) = self.contexts.of.get(&number) else {
            return;
        };
        match completion {
            Completion::Work(done) if done.id & HOST != 0 => {
                self.work_of_host(done.id, Ended::Work(done));
            }
            Completion::Received(received) if received.id & HOST != 0 => {
                self.work_of_host(received.id, Ended::Received(received, id));
            }
            Completion::Work(done) => self.work_done(number, &done),
            Completion::Received(received) => {
                let entry = translate::received(&received, id, number.value());
                self.report(context, number, &entry);
            }
        }
    }

    fn failed(&mut self, number: Qpn, cause: Cause) {
        let Some(&(context, id)) = self.contexts.of.get(&number) else {
            return;
        };
        let Some(context) = self.contexts.all.get_mut(context) else {
            return;
        };
        let process = context.process.clone();
        context
            .table
            .store(connection(id as usize) + STATE, STATE_ERROR);
        let Some(connection) = context.connections[id as usize].as_mut() else {
            return;
        };
        connection.watch.set(ConnectionState::Failed(cause));
        let watch = connection.watch.clone();
        let events = std::mem::take(&mut connection.events);
        self.later(After::Changed(watch));
        for index in events {
            let process = process.clone();
            self.later(After::Close { process, index });
        }
        // What kernels have posted and the NIC has not taken is flushed.
        self.look_at.push_back(number);
    }
}
