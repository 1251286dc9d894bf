//! The doorbells of a process: which queue each handle or number rings for. A process can ring its own only.

use std::collections::BTreeMap;
use std::sync::Arc;

use dpa_abi::Handle;
use dpa_abi::queue::bell::{OutboxHandle, Ring, RingError};
use dpa_abi::queue::{CompletionEntry, NicCounter};
use parking_lot::RwLock;
use rdma::counters::Counters;
use rdma::psn::Qpn;

use super::DeviceNic;
use crate::handles::Handles;
use crate::process::Process;
use crate::quota::Share;

/// The doorbells of a process.
#[derive(Debug, Default)]
pub(crate) struct Doorbells {
    connections: Handles<(Arc<DeviceNic>, Qpn)>,
    pub(crate) outboxes: Handles<Share>,
    pub(crate) pages: Handles<Share>,
    sends: RwLock<BTreeMap<u32, (Arc<DeviceNic>, Qpn)>>,
    completions: RwLock<BTreeMap<u32, (Arc<DeviceNic>, usize)>>,
}

impl Doorbells {
    /// A doorbell for the send queue of this queue pair.
    pub(crate) fn add(&self, nic: Arc<DeviceNic>, number: Qpn) -> Handle {
        self.connections.add((nic, number))
    }

    /// Takes a doorbell back.
    pub(crate) fn remove(&self, handle: Handle) {
        self.connections.remove(handle);
    }

    /// Enters a send queue of the low layer; false if another of the process, at another NIC, has its number.
    pub(crate) fn enter_send(&self, nic: &Arc<DeviceNic>, number: Qpn) -> bool {
        let mut sends = self.sends.write();
        let free = !sends.contains_key(&number.value());
        free && sends
            .insert(number.value(), (nic.clone(), number))
            .is_none()
    }

    /// The send queue with this number is gone.
    pub(crate) fn remove_send(&self, number: Qpn) {
        self.sends.write().remove(&number.value());
    }

    /// Enters a completion queue; false if another of the process, at another NIC, has its number.
    pub(crate) fn enter_completions(&self, nic: &Arc<DeviceNic>, number: u32, key: usize) -> bool {
        let mut completions = self.completions.write();
        let free = !completions.contains_key(&number);
        free && completions.insert(number, (nic.clone(), key)).is_none()
    }

    /// The completion queue with this number is gone.
    pub(crate) fn remove_completions(&self, number: u32) {
        self.completions.write().remove(&number);
    }

    /// Takes all of them back.
    pub(crate) fn clear(&self) {
        self.connections.clear(drop);
        self.outboxes.clear(drop);
        self.sends.write().clear();
        self.completions.write().clear();
    }

    /// Rings; whether there is such a doorbell, and whether a kernel may have been opened.
    #[inline]
    pub(crate) fn ring(&self, handle: Handle, now: impl FnOnce() -> u64) -> Option<bool> {
        let (nic, number) = self.connections.get(handle, Clone::clone)?;
        Some(nic.ring(now(), number))
    }
}

impl Doorbells {
    /// What the NIC has counted of the connection behind a doorbell; `None` if there is no such doorbell.
    pub(crate) fn counters(&self, handle: Handle) -> Option<Counters> {
        let (nic, number) = self.connections.get(handle, Clone::clone)?;
        Some(nic.with(|engine| engine.provider.counters_of(number)))
    }
}

/// One of them.
pub(crate) fn counter(counters: &Counters, which: NicCounter) -> u64 {
    match which {
        NicCounter::Dropped => counters.dropped(),
        NicCounter::Duplicates => counters.duplicates,
        NicCounter::Resent => counters.resent,
        NicCounter::Timeouts => counters.timeouts,
        NicCounter::SequenceNaksSent => counters.sequence_naks_sent,
        NicCounter::SequenceNaksReceived => counters.sequence_naks_received,
        NicCounter::RnrNaksSent => counters.rnr_naks_sent,
        NicCounter::RnrNaksReceived => counters.rnr_naks_received,
        NicCounter::CongestionNotifications => counters.congestion_notifications,
        NicCounter::RepliesRefused => counters.replies_refused,
        // One that this device does not count.
        _ => 0,
    }
}

impl Process {
    /// Rings by number, through an outbox of this process; whether a kernel may have been opened.
    pub(crate) fn ring(&self, outbox: OutboxHandle, ring: Ring) -> Result<bool, RingError> {
        let doorbells = &self.doorbells;
        if outbox != OutboxHandle::DEFAULT && doorbells.outboxes.get(outbox.0, |_| ()).is_none() {
            return Err(RingError::NoOutbox);
        }
        match ring {
            Ring::Check => Ok(false),
            Ring::Send { number, producer } => self.ring_send(number, producer),
            Ring::Arm { number, consumer } => self.arm(number, consumer),
            Ring::Dummy { number } => self.dummy(number),
        }
    }

    fn ring_send(&self, number: u32, producer: u16) -> Result<bool, RingError> {
        let found = self.doorbells.sends.read().get(&number).cloned();
        let (nic, queue) = found.ok_or(RingError::NoQueue { number })?;
        let rung = nic.with(|engine| {
            let pair = engine.world.pairs.get_mut(queue)?;
            let send = pair.send.as_mut();
            Some(send.and_then(|send| send.rung(producer)))
        });
        let rung = rung.ok_or(RingError::NoQueue { number })?;
        let index = u64::from(producer);
        rung.ok_or(RingError::BadIndex { number, index })?;
        Ok(nic.ring(self.device.clock.now(), queue))
    }

    fn arm(&self, number: u32, consumer: u64) -> Result<bool, RingError> {
        let (nic, key) = self.completions(number)?;
        nic.with(|engine| {
            let world = &mut engine.world;
            let ring = world.queues.get_mut(key);
            let ring = ring.filter(|ring| ring.number() == number && ring.is_of(self));
            let ring = ring.ok_or(RingError::NoQueue { number })?;
            let index = consumer;
            let bad = RingError::BadIndex { number, index };
            let after = ring.arm(consumer).ok_or(bad)?;
            let told = after.is_some();
            after.into_iter().for_each(|after| world.later(after));
            Ok(told)
        })
    }

    fn dummy(&self, number: u32) -> Result<bool, RingError> {
        let (nic, key) = self.completions(number)?;
        nic.with(|engine| {
            let world = &mut engine.world;
            let ring = world.queues.get(key);
            let ring = ring.filter(|ring| ring.number() == number && ring.is_of(self));
            ring.ok_or(RingError::NoQueue { number })?;
            world.dummy(key, &CompletionEntry::DUMMY);
            Ok(true)
        })
    }

    fn completions(&self, number: u32) -> Result<(Arc<DeviceNic>, usize), RingError> {
        let found = self.doorbells.completions.read().get(&number).cloned();
        found.ok_or(RingError::NoQueue { number })
    }
}
