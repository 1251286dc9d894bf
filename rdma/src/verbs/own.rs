//! Requests of this NIC to itself: how the processor changes a word that the device changes, too.
//!
//! A device's atomics and a processor's do not see each other, so the processor asks the device. Two queue pairs of the
//! device are connected to each other, with a completion queue that nobody else uses; a request is awaited on the spot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::objects::{MemoryRegion, Pages, ProtectionDomain};
use super::port::Port;
use super::queues::{Batch, Channel, CompletionQueue, Place};
use super::raw_pair::{Asked, QueuePairSizes, RawQueuePair, Step};
use crate::memory::Atomic;
use crate::provider::SystemError;
use crate::region::{RemoteKey, Rights};

/// Nothing inside one device takes so long.
const PATIENCE: Duration = Duration::from_secs(2);
const WHAT: &str = "an atomic of the device on itself";

/// Two queue pairs of a protection domain, connected to each other.
#[derive(Debug)]
pub(super) struct OwnPair {
    asks: RawQueuePair,
    _answers: RawQueuePair,
    completions: Arc<CompletionQueue>,
    original: MemoryRegion,
    pages: Arc<Pages>,
}

impl OwnPair {
    /// So often it holds its protection domain: each of its queue pairs does, and its region.
    pub(super) const HOLDS: usize = 3;

    pub(super) fn new(
        port: &Port,
        gid: [u8; 16],
        domain: &Arc<ProtectionDomain>,
    ) -> Result<Self, SystemError> {
        // A channel of its own: nobody is to be woken.
        let channel = Channel::new(&port.device)?;
        let completions = CompletionQueue::new(&channel, 16)?;
        let sizes = QueuePairSizes { work: 4, inline: 0 };
        let mut asks = RawQueuePair::new(domain, &completions, None, sizes)?;
        let mut answers = RawQueuePair::new(domain, &completions, None, sizes)?;
        let numbers = [asks.number(), answers.number()];
        connect(&mut asks, port, gid, numbers[1])?;
        connect(&mut answers, port, gid, numbers[0])?;
        let pages = Pages::new(8)?;
        Ok(Self {
            asks,
            _answers: answers,
            completions,
            original: MemoryRegion::new(domain, pages.clone(), (0, 8), Rights::LOCAL_WRITE)?,
            pages,
        })
    }

    /// Does it; the word before.
    pub(super) fn atomic(
        &mut self,
        (key, address): (RemoteKey, u64),
        operation: Atomic,
    ) -> Result<u64, SystemError> {
        let place = Place {
            address: self.original.base(),
            len: 8,
            key: self.original.local_key(),
        };
        let failed = |errno| SystemError { what: WHAT, errno };
        let mut asked = Asked::new(0, 0);
        asked.atomic((address, key.0), operation);
        asked.carry(place);
        self.asks.post(&mut asked).map_err(failed)?;
        let until = Instant::now() + PATIENCE;
        let mut status = None;
        let mut batch = Batch::new();
        while status.is_none() && Instant::now() < until {
            match self.completions.poll(&mut batch) {
                None => return Err(failed(libc::EIO)),
                Some(0) => {}
                Some(_) => status = Some(batch.get(0).status()),
            }
            std::thread::yield_now();
        }
        match status {
            Some(0) => Ok(self.pages.word(0)),
            Some(_) => Err(failed(libc::EIO)),
            None => Err(failed(libc::ETIMEDOUT)),
        }
    }
}

fn connect(
    pair: &mut RawQueuePair,
    port: &Port,
    gid: [u8; 16],
    number: u32,
) -> Result<(), SystemError> {
    /// 67 ms.
    const TIMEOUT: u8 = 14;
    let at = &port.at;
    let steps = [
        Step::Init { port: at.port },
        Step::ReadyToReceive {
            port: at.port,
            gid_index: at.gid_index,
            gid,
            lid: port.lid,
            number,
            psn: 0,
            mtu: 1,
            responder_resources: 1,
            rnr_timer: 1,
            service_level: 0,
        },
        Step::ReadyToSend {
            psn: 0,
            timeout: TIMEOUT,
            retries: port.limits.most_retries,
            rnr_retries: 0,
            initiator_depth: 1,
        },
    ];
    let what = "connecting the device to itself";
    steps.iter().try_for_each(|step| pair.modify(what, step))
}
