//! RC queue pairs of the low layer.
//!
//! ```text
//!  RST --init--> INIT --ready_to_receive--> RTR --ready_to_send--> RTS      any of them --fail--> ERR
//! ```
//!
//! There is no way back: a queue pair that is over is dropped, and a new one made, with a new number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dpa_abi::queue::record::{STATE, STATE_READY};
use rdma::config::{AckTimeout, RetryLimit, ServiceLevel};
use rdma::connection::{ConnectionInfo, Incompatible};
use rdma::counters::Counters;
use rdma::mtu::PathMtu;
use rdma::nic::TransitionError;
use rdma::psn::Psn;
use rdma::queue_pair::{Cause, State};
use rdma::wire::RnrTimer;
use thiserror::Error;

use super::super::NicLease;
use super::super::completions::CompletionQueue;
use super::super::context::{domain, keep_alive_figures};
use super::super::engine::Engine;
use super::super::protocol::Protocol;
use super::super::ring::QueueMemory;
use super::super::watch::Watch;
use super::queue::{Entered, Entry, RawQueueError, ReceiveQueueRef, check_completions, sized};
use crate::process::Process;
use crate::wakers::Until;

/// What a queue pair is made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueuePairSpec {
    /// What its completions carry as user data.
    pub name: u32,
    /// At least so many entries of its send queue.
    pub send_entries: u32,
    /// Work that the NIC takes of it before the first is over.
    pub outstanding: usize,
    /// The path MTU it offers. `None`: [`PathMtu::usual`] at its NIC's address.
    pub mtu: Option<PathMtu>,
    /// How long an acknowledgement may take.
    pub timeout: AckTimeout,
    /// How often it sends again without an acknowledgement.
    pub retries: RetryLimit,
    /// How often it sends again to a receiver that is not ready.
    pub rnr_retries: RetryLimit,
    /// How long a peer is asked to wait when there is no receive.
    pub rnr_timer: RnrTimer,
    /// After how much silence it asks whether the peer is still there: also one that has not connected yet.
    pub keep_alive: Option<Duration>,
    /// The priority of its packets.
    pub service_level: ServiceLevel,
    /// Reads and atomics outstanding, each way.
    pub depth: u8,
    /// How many queue pairs share what the NIC's socket holds of what arrives.
    pub sharing: u32,
}

impl Default for QueuePairSpec {
    fn default() -> Self {
        Self {
            name: 0,
            send_entries: 64,
            outstanding: 256,
            mtu: None,
            timeout: AckTimeout::from_code(14).unwrap_or(AckTimeout::NEVER),
            retries: RetryLimit::Times(7),
            rnr_retries: RetryLimit::Times(7),
            rnr_timer: RnrTimer::at_least(Duration::from_micros(640)),
            keep_alive: None,
            service_level: ServiceLevel::DEFAULT,
            depth: 16,
            sharing: 8,
        }
    }
}

impl QueuePairSpec {
    fn protocol(&self, usual: PathMtu) -> Protocol {
        Protocol {
            outstanding: self.outstanding,
            mtu: self.mtu.unwrap_or(usual),
            timeout: self.timeout,
            retries: self.retries,
            rnr_retries: self.rnr_retries,
            rnr_timer: self.rnr_timer,
            keep_alive: self.keep_alive,
            service_level: self.service_level,
            depth: self.depth,
            sharing: self.sharing.max(1),
        }
    }

    fn checked(mut self) -> Result<Self, RawQueueError> {
        self.send_entries = sized("entries of a send queue", self.send_entries)?;
        if let Some(interval) = self.keep_alive {
            let (asked, min, max) = keep_alive_figures(interval);
            range("keep-alive, in milliseconds,", asked, min, max)?;
        }
        range("work outstanding", self.outstanding as u64, 1, 1 << 20)?;
        Ok(self)
    }
}

fn range(what: &'static str, asked: u64, min: u64, max: u64) -> Result<(), RawQueueError> {
    let refused = RawQueueError::Range {
        what,
        asked,
        min,
        max,
    };
    (min..=max).contains(&asked).then_some(()).ok_or(refused)
}

/// A step of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueuePairStep {
    /// RST to INIT.
    Init,
    /// INIT to RTR.
    ReadyToReceive,
    /// RTR to RTS.
    ReadyToSend,
}

impl std::fmt::Display for QueuePairStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Init => "INIT, which follows RST",
            Self::ReadyToReceive => "RTR, which follows INIT",
            Self::ReadyToSend => "RTS, which follows RTR",
        })
    }
}

/// Why a queue pair could not be led to another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModifyError {
    /// Its state does not allow it.
    #[error("the queue pair is in state {state:?}: there is no way to {step}")]
    Impossible {
        /// The state it is in.
        state: State,
        /// Where it was to go.
        step: QueuePairStep,
    },
    /// The two cannot talk.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// The NIC refuses.
    #[error(transparent)]
    Refused(#[from] TransitionError),
}

/// An RC queue pair. It ends when this is dropped.
#[derive(Debug)]
pub struct QueuePairRef {
    queue: Entered,
    spec: QueuePairSpec,
    info: ConnectionInfo,
    initialised: AtomicBool,
    send_completions: Arc<CompletionQueue>,
    receive_completions: Arc<CompletionQueue>,
    receives: Option<Arc<ReceiveQueueRef>>,
}

impl QueuePairRef {
    /// A queue pair in RST, the entries of its send queue in this memory. Its receives come from `receives`, if it is to have
    /// any.
    ///
    /// # Errors
    /// A figure out of its range; memory that they cannot lie in; a queue of another process or NIC; out of device memory; the process is stopped.
    pub fn new(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        (memory, spec): (&QueueMemory, QueuePairSpec),
        send_completions: &Arc<CompletionQueue>,
        receive_completions: &Arc<CompletionQueue>,
        receives: Option<&Arc<ReceiveQueueRef>>,
    ) -> Result<Self, RawQueueError> {
        let spec = spec.checked()?;
        check_completions(lease, process, send_completions)?;
        check_completions(lease, process, receive_completions)?;
        if receives.is_some_and(|queue| !queue.is_of(lease, process)) {
            let what = "receive queue";
            return Err(RawQueueError::Foreign { what });
        }
        let entry = Entry {
            name: spec.name,
            send_memory: memory,
            local: false,
            send_entries: spec.send_entries,
            send_completions: Some(send_completions.key()),
            receive_completions: Some(receive_completions.key()),
            pool: receives.map(|queue| queue.pool),
        };
        let first_psn = Psn::new(lease.random() as u32 & 0xff_ffff);
        let usual = PathMtu::usual(lease.nic().facts().at.ip());
        let protocol = spec.protocol(usual);
        let config = |number| protocol.config(lease, domain(process), number, first_psn);
        let queue = Entered::new(lease, process, &entry, config)?;
        let info = protocol.info(lease, queue.number, first_psn);
        Ok(Self {
            queue,
            spec,
            info,
            initialised: AtomicBool::new(false),
            send_completions: send_completions.clone(),
            receive_completions: receive_completions.clone(),
            receives: receives.cloned(),
        })
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.queue.number.value()
    }

    /// The address of its record.
    pub fn record(&self) -> u64 {
        self.queue.record.addr()
    }

    /// What it was made with, sizes rounded up.
    pub fn spec(&self) -> &QueuePairSpec {
        &self.spec
    }

    /// What its peer must know.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// Where its sends, writes, reads and atomics are reported.
    pub fn send_completions(&self) -> &Arc<CompletionQueue> {
        &self.send_completions
    }

    /// Where its receives are reported.
    pub fn receive_completions(&self) -> &Arc<CompletionQueue> {
        &self.receive_completions
    }

    /// Where its receives come from.
    pub fn receives(&self) -> Option<&Arc<ReceiveQueueRef>> {
        self.receives.as_ref()
    }

    /// Its state now.
    pub fn state(&self) -> State {
        self.with(|engine| self.state_in(engine))
    }

    fn with<R>(&self, work: impl FnOnce(&mut Engine) -> R) -> R {
        self.queue.lease.nic().with(work)
    }

    /// The core's queue pairs begin in INIT.
    fn state_in(&self, engine: &Engine) -> State {
        let state = engine.provider.state(self.queue.number);
        match state.unwrap_or(State::Error(Cause::Closed)) {
            State::Init if !self.initialised.load(Ordering::Relaxed) => State::Reset,
            state => state,
        }
    }

    fn expect(
        &self,
        engine: &Engine,
        expected: State,
        step: QueuePairStep,
    ) -> Result<(), ModifyError> {
        let state = self.state_in(engine);
        let right = state == expected;
        right
            .then_some(())
            .ok_or(ModifyError::Impossible { state, step })
    }

    /// RST to INIT.
    ///
    /// # Errors
    /// It is in another state.
    pub fn init(&self) -> Result<(), ModifyError> {
        self.with(|engine| {
            self.expect(engine, State::Reset, QueuePairStep::Init)?;
            self.initialised.store(true, Ordering::Relaxed);
            Ok(())
        })
    }

    /// INIT to RTR: requests of this peer are answered from now on.
    ///
    /// # Errors
    /// It is in another state; the two cannot talk.
    pub fn ready_to_receive(&self, theirs: &ConnectionInfo) -> Result<(), ModifyError> {
        let step = QueuePairStep::ReadyToReceive;
        self.with(|engine| {
            self.expect(engine, State::Init, step)?;
            let peer = self.info.agree(theirs)?;
            Ok(engine.provider.connect(self.queue.number, peer)?)
        })
    }

    /// RTR to RTS: what was posted is sent from now on. Its peer should be in RTR.
    ///
    /// # Errors
    /// It is in another state.
    pub fn ready_to_send(&self) -> Result<(), ModifyError> {
        let now = self.queue.now();
        self.with(|engine| {
            self.expect(engine, State::ReadyToReceive, QueuePairStep::ReadyToSend)?;
            engine.provider.activate(now, self.queue.number)?;
            self.queue.record.store(STATE, STATE_READY);
            Ok::<_, ModifyError>(())
        })?;
        let lease = &self.queue.lease;
        lease.nic().ring(lease.now(), self.queue.number);
        Ok(())
    }

    /// Any state to ERR: what is posted is flushed. In ERR already: nothing.
    pub fn fail(&self) {
        self.queue.fail();
    }

    /// Until it is in ERR: why it is.
    pub fn failed(&self) -> Until<&Watch> {
        self.queue.watch.failed()
    }

    /// What it has counted.
    pub fn counters(&self) -> Counters {
        self.with(|engine| engine.provider.counters_of(self.queue.number))
    }
}
