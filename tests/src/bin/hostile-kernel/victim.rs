//! The process that works: launches whose results are checked, and a word of its own that only it may change.

use std::time::{Duration, Instant};

use doca_dpa::rdma::{HostBuffer, Rdma, RemoteMemoryMap, Rights};
use doca_dpa::{DeviceBuffer, Dpa, SyncEvent};
use tests::{CountArgs, count};

use crate::Outcome;

/// Launches in a row before the last is waited for.
const BATCH: u64 = 500;
/// What stands in the memory that nobody else may write.
const OWN: u64 = 0x0123_4567_89ab_cdef;

pub struct Victim {
    dpa: Dpa,
    total: DeviceBuffer<u64>,
    counted: u64,
    own: DeviceBuffer<u64>,
    event: SyncEvent,
    /// Something for others to find: a NIC with a registered region that peers may write, and one that asks it.
    _rdma: Rdma,
    host: doca_dpa::rdma::HostMap,
}

impl Victim {
    pub fn new(dpa: &Dpa) -> Outcome<Self> {
        let rdma = dpa.rdma().address([127, 41, 0, 1].into()).port(0).open()?;
        let host = rdma.map_host(HostBuffer::from_bytes(&OWN.to_ne_bytes()), Rights::all())?;
        RemoteMemoryMap::import(&host.map().export())?;
        Ok(Self {
            dpa: dpa.clone(),
            total: dpa.zeroed_blocking(1)?,
            counted: 0,
            own: dpa.copy_in_blocking(&[OWN; 4096])?,
            event: SyncEvent::device_to_host(dpa)?,
            _rdma: rdma,
            host,
        })
    }

    /// Works for so long; launches a second.
    pub fn work(&mut self, slice: Duration) -> Outcome<f64> {
        let begun = Instant::now();
        let mut launches = 0;
        while begun.elapsed() < slice {
            for _ in 1..BATCH {
                let args = CountArgs { total: &self.total };
                drop(self.dpa.launch(count).args(args).submit()?);
            }
            let args = CountArgs { total: &self.total };
            let last = self.dpa.launch(count).args(args);
            launches += BATCH;
            let goal = self.counted + launches;
            last.then_set(&self.event, goal).submit()?;
            self.event.ge(goal).blocking()?;
        }
        let took = begun.elapsed().as_secs_f64();
        self.dpa.wait_idle_blocking();
        self.verify(launches)?;
        Ok(launches as f64 / took)
    }

    fn verify(&mut self, launches: u64) -> Outcome {
        self.counted += launches;
        let counted = self.total.copy_out_blocking()?[0];
        if counted != self.counted {
            return Err(format!("{counted} launches were counted, {} made", self.counted).into());
        }
        let own = self.own.copy_out_blocking()?;
        if own.iter().any(|word| *word != OWN) {
            return Err("the victim's device memory was written".into());
        }
        if self.host.buffer().to_vec() != OWN.to_ne_bytes() {
            return Err("the victim's host memory was written".into());
        }
        match self.dpa.last_error() {
            None => Ok(()),
            Some(fault) => Err(format!("the victim's process faulted: {fault}").into()),
        }
    }
}
