//! Registered memory, as its owner on the host holds it.

use std::sync::Arc;

use rdma::connection::{RemoteEvent, RemoteRegion};
use rdma::memory::Target;
use rdma::provider::SystemError;
use rdma::psn::Qpn;
use rdma::region::{RegionKind, RegionSpec, RegisterError, Rights};
use sync_event::Location;
use thiserror::Error;

use super::NicLease;
use super::after::After;
use super::context::domain;
use super::device_region::{self, EnteredRegion};
use super::host_memory::HostMemory;
use super::leased::Use;
use super::memory::Space;
use crate::event::EventRef;
use crate::process::Process;
use crate::quota::{QuotaExceeded, Share};

/// Why memory could not be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The NIC has no region left, or the range is impossible.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The range does not lie in the memory.
    #[error("{len} bytes at {offset} do not lie in memory of {size} bytes")]
    OutOfRange {
        /// The first byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Bytes there are.
        size: u64,
    },
    /// As many regions as the process may have.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The device behind verbs refuses.
    #[error(transparent)]
    System(#[from] SystemError),
    /// Over verbs an event that peers signal is updated by the NIC, not by kernels.
    #[error(
        "over verbs an event that peers signal cannot be updated by kernels and launches: the NIC's updates and those of \
         this machine's processors do not see each other; make it without the publisher `Device` and give those an event \
         of their own, or use the software NIC"
    )]
    DevicePublisher,
    /// Over verbs an event has one word that the NIC writes, and this one has another already.
    #[error(
        "over verbs the NIC writes one word of an event, and this one has another already: register the memory that it \
         stands in before it is exported, on one NIC only, or use the software NIC"
    )]
    OtherWord,
    /// The event is one of another device.
    #[error("the event belongs to another device than the NIC")]
    ForeignEvent,
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
}

/// A registered region: deregistered when it is dropped, which returns when no access is in progress.
#[derive(Debug)]
pub struct Registration {
    lease: Arc<NicLease>,
    entered: EnteredRegion,
    space: usize,
    local_base: u64,
    len: u64,
    rights: Rights,
    /// The connection whose failure closes the event, and its number.
    closes: Option<(Qpn, u32)>,
    /// The memory, or the event, that it keeps.
    kept: Kept,
    /// Its process has no share in the NIC of its own.
    _used: Option<Use>,
    _share: Share,
}

/// What a registration keeps alive.
#[derive(Debug)]
enum Kept {
    /// Nothing: whoever registered device memory keeps it.
    Device,
    Host(#[expect(dead_code, reason = "kept alive, never looked at")] Arc<HostMemory>),
    Event(#[expect(dead_code, reason = "an export counts as a publisher")] EventRef),
    Near(#[expect(dead_code, reason = "as above")] Near),
}

/// An event that a software NIC updates where it stands.
#[derive(Debug)]
struct Near(EventRef);

impl Near {
    fn begin(event: &EventRef) -> Result<Self, RegistrationError> {
        match event.slot().begin_near() {
            true => Ok(Self(event.clone())),
            false => Err(RegistrationError::OtherWord),
        }
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.0.slot().end_near();
    }
}

impl Registration {
    /// Registers `len` bytes of a process's heap at `addr`. The caller keeps the allocation.
    ///
    /// # Errors
    /// The NIC has no region left; the process is stopped.
    pub fn of_heap(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        addr: u64,
        len: u64,
        rights: Rights,
    ) -> Result<Self, RegistrationError> {
        if process.heap.within(addr, len).is_none() {
            let size = process.heap.info().size;
            let offset = addr;
            return Err(RegistrationError::OutOfRange { offset, len, size });
        }
        let range = (addr, len, addr);
        let space = Space::Heap(process.clone());
        Self::new(lease, process, space, range, rights, Kept::Device)
    }

    /// Registers a range of host memory.
    ///
    /// # Errors
    /// The range does not lie in it; the NIC has no region left; the process is stopped.
    pub fn of_host(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        memory: &Arc<HostMemory>,
        (offset, len): (u64, u64),
        rights: Rights,
    ) -> Result<Self, RegistrationError> {
        let size = memory.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(RegistrationError::OutOfRange { offset, len, size });
        }
        let space = Space::Host(memory.clone());
        let kept = Kept::Host(memory.clone());
        Self::new(lease, process, space, (offset, len, 0), rights, kept)
    }

    /// Registers an event, so that remote peers can update it. If `connection` is given, the event is closed when that
    /// connection fails: its peer was the one who would have updated it.
    ///
    /// # Errors
    /// The NIC has no region left; the event is one of another device; the process is stopped.
    pub fn of_event(
        lease: &Arc<NicLease>,
        event: &EventRef,
        connection: Option<Qpn>,
    ) -> Result<Self, RegistrationError> {
        let process = event.process();
        if !lease.is_of(&process.device) {
            return Err(RegistrationError::ForeignEvent);
        }
        let index = event.handle().0.index;
        let publishers = event.locations().publishers();
        if publishers.contains(Location::Device) && lease.nic().is_behind_verbs() {
            return Err(RegistrationError::DevicePublisher);
        }
        let kept = match lease.nic().is_behind_verbs() {
            true => Kept::Event(event.clone()),
            false => Kept::Near(Near::begin(event)?),
        };
        let space = Space::Event(event.use_());
        let rights = Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
        let mut registration = Self::new(lease, process, space, (0, 8, 0), rights, kept)?;
        if let Some(number) = connection {
            registration.closes = Some((number, index));
            lease.nic().with(|engine| {
                if engine.provider.has_failed(number) {
                    engine.world.later(After::Close(event.use_()));
                } else if let Some(pair) = engine.world.pairs.get_mut(number) {
                    pair.events.push(event.use_());
                }
            });
        }
        Ok(registration)
    }

    fn new(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        space: Space,
        (offset, len, local_base): (u64, u64, u64),
        rights: Rights,
        kept: Kept,
    ) -> Result<Self, RegistrationError> {
        let kind = match space {
            Space::Event(_) => RegionKind::Event,
            _ => RegionKind::Bytes,
        };
        let share = process.quotas.region()?;
        let nic = lease.nic();
        let random = lease.random() as u32;
        let used = lease.used_by(process);
        let entered = nic.with(|engine| {
            // A process that stops takes all of its regions back under this lock.
            if process.is_stopped() {
                return Err(RegistrationError::Stopped);
            }
            let space = engine.world.memory.enter(space);
            let spec = RegionSpec {
                domain: domain(process),
                target: Target { space, offset },
                len,
                local_base,
                remote_base: 0,
                rights,
                kind,
            };
            let key = space.0 as usize;
            let entered = match nic.regions.register(spec, random) {
                Ok(region) => device_region::enter(engine, region, &spec).inspect_err(|_| {
                    // It was registered just now.
                    let _ = nic.regions.deregister(region);
                }),
                Err(error) => Err(error.into()),
            };
            entered
                .map(|entered| (key, entered))
                .inspect_err(|_| drop(engine.world.memory.spaces.remove(key)))
        });
        let (space, entered) = entered?;
        Ok(Self {
            lease: lease.clone(),
            entered,
            space,
            local_base,
            len,
            rights,
            kept,
            closes: None,
            _used: used,
            _share: share,
        })
    }

    /// The key for local work.
    #[doc(alias = "flexio_mkey_get_id")]
    pub fn local_key(&self) -> u32 {
        self.entered.region.local_key().0
    }

    /// Its first byte, as the local key counts.
    pub fn local_base(&self) -> u64 {
        self.local_base
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What may be done with it.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// As a peer is to know it.
    pub fn export(&self) -> RemoteRegion {
        RemoteRegion {
            key: self.entered.remote.0,
            base: self.entered.remote.1,
            len: self.len,
            rights: self.rights,
        }
    }

    /// As a peer is to know it, if it is an event.
    pub fn export_event(&self) -> RemoteEvent {
        RemoteEvent {
            key: self.entered.remote.0,
            address: self.entered.remote.1,
        }
    }

    /// The share in the NIC that it is registered with.
    pub fn lease(&self) -> &Arc<NicLease> {
        &self.lease
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let nic = self.lease.nic();
        let space = nic.with(|engine| {
            device_region::leave(engine, &self.entered, self.space);
            if let Some((number, index)) = self.closes
                && let Some(pair) = engine.world.pairs.get_mut(number)
                && let Some(at) = pair.events.iter().position(|other| other.index() == index)
            {
                // Others may have exported it over the same connection: that closes it for them.
                pair.events.swap_remove(at);
            }
            // Stale if the process was stopped: then its own memory has been taken out, too, and only that.
            let stale = nic.regions.deregister(self.entered.region).is_err();
            if stale && !matches!(self.kept, Kept::Host(_)) {
                return None;
            }
            engine.world.memory.spaces.try_remove(self.space)
        });
        drop(space);
    }
}
