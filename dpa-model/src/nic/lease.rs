//! The NICs of a device, and who has a share in which: one is opened with the first share and closed with the last.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use rdma::provider::Provider as Asked;
use rdma::udp::{BindError, Options};

use super::leased::Use;
use super::{DeviceNic, Looked, NicError, attend, leaving, random};
use crate::device::Device;
use crate::process::Process;
use crate::quota::QuotaExceeded;

/// The address of the NIC of a partition that has no network: it copies, and waits. Each has its own, so that none is kept waiting
/// by what others ask of theirs, or finds it full.
fn local(partition: usize) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, partition as u16).into()
}

/// The NICs of a device.
#[derive(Debug, Default)]
pub(crate) struct Nics {
    /// Whoever goes through them does so without the lock: tasks that a NIC wakes may drop the last share in another.
    all: RwLock<Arc<[Arc<DeviceNic>]>>,
    /// Who opens one holds this, for that takes time, and those who look for work must not wait for it.
    opening: Mutex<()>,
    count: AtomicUsize,
    next_completion_queue: Arc<AtomicU32>,
}

impl Nics {
    /// Whether there are none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn each(&self, mut f: impl FnMut(&Arc<DeviceNic>)) {
        if !self.is_empty() {
            let all = self.all.read().clone();
            all.iter().for_each(&mut f);
        }
    }

    /// Works all of them; for a partition: those that it has a share in. Others go on if there is `enough` else to do.
    pub(crate) fn poll(
        &self,
        now: u64,
        partition: Option<usize>,
        enough: &dyn Fn() -> bool,
    ) -> Looked {
        let mut looked = Looked::default();
        self.each(|nic| {
            if partition.is_some_and(|partition| !nic.is_shared_by(partition)) {
                return;
            }
            let one = nic.poll_for(now, partition, enough);
            looked.worked |= one.worked;
            looked.opened |= one.opened;
        });
        looked
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed) as u64
    }

    /// The one at this address.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<Arc<DeviceNic>> {
        let all = self.all.read();
        all.iter().find(|nic| nic.address == address).cloned()
    }

    /// The mishap of a NIC that stands still: the `which`-th. Its address.
    pub(crate) fn stall(&self, which: u64, until: u64) -> Option<SocketAddr> {
        let all = self.all.read();
        let nic = all.get(which as usize)?;
        nic.stalled_until.store(until, Ordering::Relaxed);
        Some(nic.address)
    }

    /// The earliest time at which one of them wants to be called.
    pub(crate) fn next_timer(&self) -> Option<u64> {
        let mut next = None;
        self.each(|nic| next = [next, nic.next_timer()].into_iter().flatten().min());
        next
    }
}

/// A share in a NIC: it is open while there is one.
#[derive(Debug)]
pub struct NicLease {
    nic: Arc<DeviceNic>,
    device: Arc<Device>,
    partition: usize,
    used: Use,
}

impl NicLease {
    /// The NIC.
    pub fn nic(&self) -> &Arc<DeviceNic> {
        &self.nic
    }

    /// Whether the NIC is one of this device.
    pub(crate) fn is_of(&self, device: &Arc<Device>) -> bool {
        Arc::ptr_eq(&self.device, device)
    }

    pub(crate) fn now(&self) -> u64 {
        self.device.clock.now()
    }

    pub(crate) fn random(&self) -> u64 {
        self.device.random()
    }

    /// What a process holds while something of it is there that is not its share; none: the share is its own.
    pub(crate) fn used_by(&self, process: &Process) -> Option<Use> {
        let foreign = !self.used.is_of(&process.leased);
        foreign.then(|| process.leased.begin(&self.nic))
    }

    /// Sends what was just posted, and works the NIC if nobody does. What others ring for is for others.
    pub(crate) fn kick(&self) {
        if self.nic.bell.ring() {
            let partition = Some(self.partition);
            self.nic.poll_for(self.now(), partition, &|| true);
        }
    }
}

impl Drop for NicLease {
    fn drop(&mut self) {
        // Nobody gets a share while the list is locked.
        let mut all = self.device.nics.all.write();
        self.nic.shares[self.partition].fetch_sub(1, Ordering::Relaxed);
        if self.nic.leases.fetch_sub(1, Ordering::Relaxed) == 1 {
            let others = all.iter().filter(|nic| !Arc::ptr_eq(nic, &self.nic));
            *all = others.cloned().collect();
            self.device.nics.count.store(all.len(), Ordering::Relaxed);
            if let Some(attendant) = &self.nic.attendant {
                self.nic.leaving.begin();
                attendant.stop();
            }
            if let Some(network) = self.device.network() {
                network.free_address(self.nic.address);
            }
            self.nic.relief.stop();
        }
    }
}

impl Process {
    /// A share in the NIC at this address; if nobody has one, opens what is asked for. Under the seeded driver it is one of
    /// the model's, whatever is asked for.
    ///
    /// # Errors
    /// The address is none of this machine's, or its port is taken; something for verbs is missing; the process has as many
    /// NICs as it may have.
    pub fn nic(
        &self,
        address: IpAddr,
        port: u16,
        asked: &Asked,
    ) -> Result<Arc<NicLease>, NicError> {
        // What a socket for both families calls an address of IPv4 is that address.
        let address = address.to_canonical();
        if address.is_unspecified() || address.is_multicast() {
            return Err(BindError::NotConcrete { address }.into());
        }
        self.device.nic(self, SocketAddr::new(address, port), asked)
    }

    /// A share in the NIC without a network, which every partition of a device has.
    ///
    /// # Errors
    /// The process has as many NICs as it may have.
    pub fn local_nic(&self) -> Result<Arc<NicLease>, NicError> {
        let at = local(self.tenancy.partition.index);
        self.device.nic(self, at, &Asked::Soft)
    }
}

impl Device {
    fn nic(
        self: &Arc<Self>,
        process: &Process,
        wanted: SocketAddr,
        asked: &Asked,
    ) -> Result<Arc<NicLease>, NicError> {
        let attempts = leaving::Attempts::new(wanted);
        loop {
            let attempt = attempts.begin();
            match self.open_nic(process, wanted, asked) {
                Err(NicError::Bind(BindError::PortTaken { .. })) if attempts.again(&attempt) => {
                    leaving::pause();
                }
                opened => return opened,
            }
        }
    }

    fn open_nic(
        self: &Arc<Self>,
        process: &Process,
        wanted: SocketAddr,
        asked: &Asked,
    ) -> Result<Arc<NicLease>, NicError> {
        let alone = self.nics.opening.lock();
        if let Some(lease) = self.lease_of_open(process, wanted)? {
            return Ok(lease);
        }
        process.leased.room_for(None)?;
        let nic = self.new_nic(wanted, asked)?;
        let lease = self.lease(process, nic.clone());
        let mut all = self.nics.all.write();
        *all = all.iter().cloned().chain([nic]).collect();
        self.nics.count.store(all.len(), Ordering::Relaxed);
        drop(all);
        drop(alone);
        // Last: who listens is foreign.
        if lease.nic.attendant.is_some() {
            let (address, chosen) = (wanted.ip(), &lease.nic.chosen);
            tracing::info!(target: "dpa::rdma", %address, "RDMA: {chosen}");
        }
        Ok(lease)
    }

    /// A share in the NIC of this address, if there is one. Under the lock of the list: the last share is given back under it.
    fn lease_of_open(
        self: &Arc<Self>,
        process: &Process,
        wanted: SocketAddr,
    ) -> Result<Option<Arc<NicLease>>, QuotaExceeded> {
        let all = self.nics.all.read();
        let Some(nic) = all.iter().find(|nic| nic.address == wanted) else {
            return Ok(None);
        };
        process.leased.room_for(Some(nic))?;
        Ok(Some(self.lease(process, nic.clone())))
    }

    fn new_nic(
        self: &Arc<Self>,
        wanted: SocketAddr,
        asked: &Asked,
    ) -> Result<Arc<DeviceNic>, NicError> {
        let partitions = self.sched.count();
        let nic = if wanted.ip().is_unspecified() {
            let nic = Arc::new(DeviceNic::inside(wanted, self.random(), partitions));
            if !self.is_seeded() {
                nic.relief.serve(&nic, self);
            }
            nic
        } else if let Some(network) = self.network() {
            let (address, port) = (wanted.ip(), wanted.port());
            if !network.take_address(wanted) {
                return Err(BindError::PortTaken { address, port }.into());
            }
            Arc::new(DeviceNic::carried(wanted, self.random(), partitions))
        } else {
            let options = Options {
                port: wanted.port(),
                ..Options::default()
            };
            let nic = DeviceNic::open(asked.clone(), wanted.ip(), &options, partitions)?;
            let nic = Arc::new(nic);
            attend::start(nic.clone(), self.clone()).map_err(NicError::Thread)?;
            nic
        };
        nic.with(|engine| {
            engine.world.nic = Arc::downgrade(&nic);
            engine.world.next_completion_queue = self.nics.next_completion_queue.clone();
        });
        Ok(nic)
    }

    fn lease(self: &Arc<Self>, process: &Process, nic: Arc<DeviceNic>) -> Arc<NicLease> {
        let partition = process.tenancy.partition.index;
        nic.leases.fetch_add(1, Ordering::Relaxed);
        nic.shares[partition].fetch_add(1, Ordering::Relaxed);
        let used = process.leased.begin(&nic);
        Arc::new(NicLease {
            nic,
            device: self.clone(),
            partition,
            used,
        })
    }

    /// A random number: from the system, or from the seed.
    pub(crate) fn random(&self) -> u64 {
        match self.choices() {
            Some(choices) => choices.below(u64::MAX),
            None => random(),
        }
    }
}
