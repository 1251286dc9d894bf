//! What a device reaches of this machine's memory: regions, and words that are for its requests to itself alone.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::VerbsNic;
use super::objects::{MemoryRegion, Pages};
use super::own::OwnPair;
use super::pinned::Pinned;
use crate::memory::Atomic;
use crate::provider::SystemError;
use crate::region::{Domain, Region, RegionSpec, RemoteKey, Rights};

/// A range of memory that was registered with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRegion {
    /// The key for peers.
    pub key: RemoteKey,
    /// The address of its first byte, as that key counts.
    pub base: u64,
}

/// Eight bytes of memory that only requests of the device to itself reach by this key. Dropping it deregisters them.
#[derive(Debug)]
pub struct OwnWord {
    region: MemoryRegion,
}

impl OwnWord {
    /// The key, and the address as it counts.
    pub fn at(&self) -> (RemoteKey, u64) {
        (RemoteKey(self.region.remote_key()), self.region.base())
    }
}

impl VerbsNic {
    /// Registers memory with the device, beside a region of the table.
    ///
    /// # Errors
    ///
    /// The device refuses, or the limit for locked memory is too low.
    #[doc(alias = "ibv_reg_mr")]
    pub fn register(
        &mut self,
        region: Region,
        spec: &RegionSpec,
        memory: Arc<dyn Pinned>,
        range: (usize, usize),
    ) -> Result<DeviceRegion, SystemError> {
        let domain = self.domain(spec.domain)?;
        // A device has no region without bytes. One byte, to which nobody has a right, is as good.
        let made = match range.1 {
            0 => MemoryRegion::new(&domain, Pages::new(1)?, (0, 1), Rights::empty())?,
            _ => MemoryRegion::new(&domain, memory, range, spec.rights)?,
        };
        let told = DeviceRegion {
            key: RemoteKey(made.remote_key()),
            base: made.base(),
        };
        self.keys.enter(spec.domain, region, spec.local_base, made);
        Ok(told)
    }

    /// Registers eight bytes, `offset` bytes into the memory, for [`VerbsNic::atomic`] alone: nobody is told the key.
    ///
    /// # Errors
    ///
    /// As [`VerbsNic::register`].
    pub fn own_word(
        &mut self,
        domain: Domain,
        memory: Arc<dyn Pinned>,
        offset: usize,
    ) -> Result<OwnWord, SystemError> {
        let domain = self.domain(domain)?;
        let region = MemoryRegion::new(&domain, memory, (offset, 8), Rights::REMOTE_ATOMIC)?;
        Ok(OwnWord { region })
    }

    /// Deregisters: returns when the device does not touch it any more.
    #[doc(alias = "ibv_dereg_mr")]
    pub fn deregister(&mut self, region: Region) {
        drop(self.keys.take(region));
    }

    /// Deregisters everything of a domain.
    pub fn deregister_domain(&mut self, domain: Domain) {
        drop(self.keys.take_domain(domain));
        self.own.remove(&domain);
        // What is left of it goes with the last queue pair.
        self.domains.remove(&domain);
    }

    /// An atomic of the device on its own memory, by a key for peers; the word before. It waits for the device.
    ///
    /// # Errors
    ///
    /// The device refuses, or does not answer.
    pub fn atomic(
        &mut self,
        domain: Domain,
        at: (RemoteKey, u64),
        operation: Atomic,
    ) -> Result<u64, SystemError> {
        let protection = self.domain(domain)?;
        let gid = crate::connection::gid(self.port.address);
        let own = match self.own.entry(domain) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(OwnPair::new(&self.port, gid, &protection)?),
        };
        let done = own.atomic(at, operation);
        if done.is_err() {
            // It is in ERR now: the next one gets another.
            self.own.remove(&domain);
        }
        done
    }
}
