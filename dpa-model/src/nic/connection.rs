//! A connection of an RDMA context, as its owner on the host holds it.

use std::sync::Arc;
use std::time::Duration;

use dpa_abi::Handle;
use dpa_abi::queue::record::STATE_READY;
use rdma::connection::{ConnectionInfo, Incompatible};
use rdma::counters::Counters;
use rdma::nic::{NicPostError, TransitionError};
use rdma::psn::Qpn;
use rdma::queue_pair::{Cause, State};
use rdma::work::{Flags, Operation, PostReason, WorkError, WorkRequest};
use thiserror::Error;

use super::context::ContextRef;
use super::pending::{KeptWork, Pending};
use super::queues::SendRing;
use super::watch::{ConnectionState, Watch};
use super::world::{HOST, World};
use crate::mishaps::HostQueue;
use crate::wakers::Until;

/// Why a connection could not be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The two cannot talk.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// It has been connected before, or is over.
    #[error("the connection cannot be connected: {0}")]
    State(#[from] TransitionError),
}

/// Why the host's work was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PostHostError {
    /// The queue pair did not take it.
    #[error("{0}")]
    Refused(PostReason),
    /// The connection is gone.
    #[error("the connection is gone")]
    Gone,
}

/// One connection. It ends when this is dropped: the peer is not told, its work fails when nothing answers.
#[derive(Debug)]
pub struct ConnectionRef {
    context: Arc<ContextRef>,
    id: u32,
    number: Qpn,
    doorbell: Handle,
    info: ConnectionInfo,
    watch: Arc<Watch>,
}

impl ConnectionRef {
    pub(crate) fn new(
        context: Arc<ContextRef>,
        id: u32,
        number: Qpn,
        doorbell: Handle,
        info: ConnectionInfo,
    ) -> Self {
        let watch = context.lease.nic().with(|engine| {
            let pair = engine.world.pairs.get(number);
            pair.map(|pair| pair.watch.clone())
        });
        Self {
            context,
            id,
            number,
            doorbell,
            info,
            watch: watch.unwrap_or_default(),
        }
    }

    /// Its context.
    pub fn context(&self) -> &Arc<ContextRef> {
        &self.context
    }

    /// Its id within the context: kernels and completions name it so.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its queue pair.
    pub fn number(&self) -> Qpn {
        self.number
    }

    /// What the peer must know.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// Its state.
    pub fn state(&self) -> ConnectionState {
        self.watch.state()
    }

    /// Until it is over: why it is.
    pub fn failed(&self) -> Until<&Watch> {
        self.watch.failed()
    }

    /// What its queue pair has counted.
    pub fn counters(&self) -> Counters {
        let nic = self.context.lease.nic();
        nic.with(|engine| engine.provider.counters_of(self.number))
    }

    /// Connects it to a peer: it answers from now on, and sends.
    ///
    /// The peer should be connected, too, before the first work is posted; what comes before is lost and sent again.
    ///
    /// # Errors
    /// The two cannot talk; it has been connected before.
    pub fn connect(&self, theirs: &ConnectionInfo) -> Result<(), ConnectError> {
        let lease = &self.context.lease;
        let peer = self.info.agree(theirs)?;
        let now = Duration::from_nanos(lease.now());
        lease.nic().with(|engine| {
            engine.provider.connect(self.number, peer)?;
            engine.provider.activate(now, self.number)?;
            self.watch.set(ConnectionState::Connected);
            if let Some(pair) = engine.world.pairs.get(self.number) {
                pair.record.set_state(STATE_READY);
            }
            Ok::<_, TransitionError>(())
        })?;
        // Kernels may have posted already.
        lease.nic().ring(lease.now(), self.number);
        Ok(())
    }

    /// Ends it: outstanding work is flushed.
    pub fn disconnect(&self) {
        let lease = &self.context.lease;
        let now = Duration::from_nanos(lease.now());
        lease.nic().with(|engine| {
            // Gone already, or over already: nothing to do.
            let _ = engine.provider.fail(self.number, Cause::Closed);
            engine.send(now);
        });
    }

    /// Posts work of the host. What it works on is kept until it is over.
    ///
    /// # Errors
    /// The queue pair did not take it.
    pub fn post(
        &self,
        operation: Operation,
        flags: Flags,
        kept: KeptWork,
    ) -> Result<Arc<Pending>, PostHostError> {
        let lease = &self.context.lease;
        let now = Duration::from_nanos(lease.now());
        let pending = Pending::new(kept);
        let posted = lease.nic().with(|engine| {
            if self.context.process.device.is_full(HostQueue::Sends) {
                let limit = self.context.spec().outstanding;
                return Err(PostHostError::Refused(PostReason::Full { limit }));
            }
            let id = HOST | engine.world.work.insert(pending.clone()) as u64;
            let request = WorkRequest {
                id,
                operation,
                flags: flags | Flags::SIGNALED,
            };
            let posted = engine.provider.post(now, self.number, request);
            posted.map_err(|error| {
                engine.world.work.try_remove((id & !HOST) as usize);
                match error {
                    NicPostError::Post(error) => PostHostError::Refused(error.reason),
                    _ => PostHostError::Gone,
                }
            })
        });
        posted?;
        lease.kick();
        Ok(pending)
    }

    /// Whether its queue pair is in ERR.
    pub fn is_over(&self) -> bool {
        let nic = self.context.lease.nic();
        nic.with(|engine| {
            let state = engine.provider.state(self.number);
            state.is_none_or(|state| matches!(state, State::Error(_)))
        })
    }
}

impl Drop for ConnectionRef {
    fn drop(&mut self) {
        self.disconnect();
        self.context.process.doorbells.remove(self.doorbell);
        let lease = &self.context.lease;
        let now = Duration::from_nanos(lease.now());
        let gone = lease.nic().with(|engine| {
            engine.destroy(now, self.number);
            engine.world.end_entries(self.number);
            let gone = engine.world.remove(self.number)?;
            if let Some(context) = engine.world.contexts.get_mut(self.context.key) {
                context.connections[self.id as usize] = None;
                let end = gone.send.as_ref().map_or(0, SendRing::end);
                context.numbers_end = context.numbers_end.max(end);
            }
            Some(gone)
        });
        drop(gone);
    }
}

impl World {
    /// A connection is gone: no kernel reserves an entry any more, and those that the NIC has not taken are over, as flushed. It
    /// stops at one that is not written, and who is to write that finds nobody to ring for.
    fn end_entries(&mut self, number: Qpn) {
        let Some(pair) = self.pairs.get(number) else {
            return;
        };
        let produced = pair.record.end();
        let rest = pair.send.as_ref().map(|send| send.rest(produced));
        for index in rest.into_iter().flatten() {
            self.own_done(number, index, Err(WorkError::Flushed));
        }
    }
}
