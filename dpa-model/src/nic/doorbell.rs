//! The doorbells of a process: which queue each handle rings for. A process can ring its own only.

use std::sync::Arc;

use dpa_abi::Handle;
use parking_lot::RwLock;
use rdma::psn::Qpn;

use super::DeviceNic;

/// The doorbells of a process.
#[derive(Debug, Default)]
pub(crate) struct Doorbells {
    slots: RwLock<Vec<Slot>>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    rings: Option<(Arc<DeviceNic>, Qpn)>,
}

impl Doorbells {
    /// A doorbell for the send queue of this queue pair.
    pub(crate) fn add(&self, nic: Arc<DeviceNic>, number: Qpn) -> Handle {
        let mut slots = self.slots.write();
        let free = slots.iter().position(|slot| slot.rings.is_none());
        let index = free.unwrap_or_else(|| {
            slots.push(Slot {
                generation: 0,
                rings: None,
            });
            slots.len() - 1
        });
        let slot = &mut slots[index];
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.rings = Some((nic, number));
        Handle {
            index: index as u32,
            generation: slot.generation,
        }
    }

    /// Takes a doorbell back.
    pub(crate) fn remove(&self, handle: Handle) {
        let mut slots = self.slots.write();
        if let Some(slot) = slots.get_mut(handle.index as usize)
            && slot.generation == handle.generation
        {
            slot.rings = None;
        }
    }

    /// Takes all of them back.
    pub(crate) fn clear(&self) {
        self.slots
            .write()
            .iter_mut()
            .for_each(|slot| slot.rings = None);
    }

    /// Rings; whether there is such a doorbell, and whether a kernel may have been opened.
    pub(crate) fn ring(&self, handle: Handle, now: impl FnOnce() -> u64) -> Option<bool> {
        let slots = self.slots.read();
        let slot = slots.get(handle.index as usize)?;
        let (nic, number) = slot
            .rings
            .as_ref()
            .filter(|_| slot.generation == handle.generation)?;
        let (nic, number) = (nic.clone(), *number);
        drop(slots);
        Some(nic.ring(now(), number))
    }
}
