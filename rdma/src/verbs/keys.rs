//! What the keys of the region table mean to the device.
//!
//! Kernels and the host know memory by the keys of [`RegionTable`](crate::region::RegionTable), whichever NIC carries
//! their work. A registered region has a memory region of the device beside it; work requests are rewritten to that. The
//! device checks bounds and rights. A key that is none becomes one that the device refuses, so that the failure takes the
//! device's way, in its order.

use std::sync::Arc;

use super::objects::{Device, MemoryRegion, Pages, ProtectionDomain};
use super::queues::Place;
use crate::provider::SystemError;
use crate::region::{Domain, Region, Rights};
use crate::work::Segment;

/// The memory regions of the device, by the keys of the table.
#[derive(Debug)]
pub(super) struct Keys {
    /// By the index in the key.
    entries: Vec<Option<Entry>>,
    /// Of a protection domain in which there is no queue pair.
    refused: MemoryRegion,
}

#[derive(Debug)]
struct Entry {
    key: u32,
    domain: Domain,
    local_base: u64,
    region: MemoryRegion,
}

impl Keys {
    pub(super) fn new(device: &Arc<Device>) -> Result<Self, SystemError> {
        let nobody = ProtectionDomain::new(device)?;
        let pages = Pages::new(1)?;
        let rights = Rights::LOCAL_WRITE;
        Ok(Self {
            entries: Vec::new(),
            refused: MemoryRegion::new(&nobody, pages, (0, 8), rights)?,
        })
    }

    /// Enters a region.
    pub(super) fn enter(
        &mut self,
        domain: Domain,
        region: Region,
        local_base: u64,
        memory: MemoryRegion,
    ) {
        let key = region.local_key().0;
        let index = index(key);
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        self.entries[index] = Some(Entry {
            key,
            domain,
            local_base,
            region: memory,
        });
    }

    /// Takes a region out: dropping it deregisters it.
    pub(super) fn take(&mut self, region: Region) -> Option<MemoryRegion> {
        let key = region.local_key().0;
        let entry = self.entries.get_mut(index(key))?;
        let taken = entry.take_if(|entry| entry.key == key);
        taken.map(|entry| entry.region)
    }

    /// Takes all regions of a domain out.
    pub(super) fn take_domain(&mut self, domain: Domain) -> Vec<MemoryRegion> {
        let of = |entry: &mut Entry| entry.domain == domain;
        let taken = self.entries.iter_mut().filter_map(|slot| slot.take_if(of));
        taken.map(|entry| entry.region).collect()
    }

    /// The place that a segment names, as the device knows it.
    #[inline]
    pub(super) fn place(&self, who: Domain, segment: Segment) -> Place {
        let key = segment.key.0;
        let entry = self.entries.get(index(key)).and_then(Option::as_ref);
        match entry.filter(|entry| entry.key == key && entry.domain == who) {
            Some(entry) => {
                let offset = segment.address.wrapping_sub(entry.local_base);
                Place {
                    address: entry.region.base().wrapping_add(offset),
                    len: segment.len,
                    key: entry.region.local_key(),
                }
            }
            None => Place {
                address: segment.address,
                len: segment.len,
                key: self.refused.local_key(),
            },
        }
    }
}

const fn index(key: u32) -> usize {
    (key >> 16) as usize
}
