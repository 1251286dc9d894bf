//! The NICs that a process has something at: a share, or an event that another process has registered with its own.
//!
//! A process that stops visits those, and no others: it waits for none where others keep the lock, and keeps it at none. Who has
//! got its share after it was looked whose they are sees the stop when it enters anything there.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{DeviceNic, context};
use crate::device::Device;
use crate::process::Process;
use crate::quota::QuotaExceeded;

/// NICs that a process can have at a time.
pub const MAX_NICS: usize = 64;

/// The NICs that a process has something at.
#[derive(Debug, Default)]
pub(crate) struct Leased {
    all: Mutex<Vec<Counted>>,
}

#[derive(Debug)]
struct Counted {
    nic: Arc<DeviceNic>,
    count: usize,
}

/// As long as this is there, the NIC is one of them.
#[derive(Debug)]
pub(crate) struct Use {
    of: Arc<Leased>,
    nic: Arc<DeviceNic>,
}

impl Leased {
    /// One more thing at this NIC.
    pub(crate) fn begin(self: &Arc<Self>, nic: &Arc<DeviceNic>) -> Use {
        let mut all = self.all.lock();
        match all.iter_mut().find(|one| Arc::ptr_eq(&one.nic, nic)) {
            Some(one) => one.count += 1,
            None => all.push(Counted {
                nic: nic.clone(),
                count: 1,
            }),
        }
        let (of, nic) = (self.clone(), nic.clone());
        Use { of, nic }
    }

    /// Whether there may be this one; none: another that is opened now. Nobody else begins meanwhile.
    pub(crate) fn room_for(&self, nic: Option<&Arc<DeviceNic>>) -> Result<(), QuotaExceeded> {
        let all = self.all.lock();
        let among = |nic| all.iter().any(|one| Arc::ptr_eq(&one.nic, nic));
        if all.len() < MAX_NICS || nic.is_some_and(among) {
            return Ok(());
        }
        let (what, limit) = ("NICs", MAX_NICS);
        Err(QuotaExceeded { what, limit })
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<DeviceNic>> {
        self.all.lock().iter().map(|one| one.nic.clone()).collect()
    }
}

impl Use {
    /// Whether it counts among those.
    pub(crate) fn is_of(&self, leased: &Arc<Leased>) -> bool {
        Arc::ptr_eq(&self.of, leased)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut all = self.of.all.lock();
        let Some(at) = all.iter().position(|one| Arc::ptr_eq(&one.nic, &self.nic)) else {
            return;
        };
        all[at].count -= 1;
        if all[at].count == 0 {
            all.swap_remove(at);
        }
    }
}

impl DeviceNic {
    /// Takes everything of a process back: its queue pairs fail, its regions and keys are invalid, and no access is in
    /// progress when it returns (SEMANTICS 5.2).
    pub(crate) fn stop_process(&self, device: &Device, process: &Process) {
        let now = Duration::from_nanos(device.clock.now());
        self.with(|engine| {
            let domain = context::domain(process);
            let cause = rdma::queue_pair::Cause::Closed;
            engine.fail_domain(now, domain, cause);
            self.regions.deregister_domain(domain);
            engine
                .world
                .memory
                .spaces
                .retain(|_, space| !space.is_of(process));
            engine.end_receives_of(domain);
            engine.world.wake_readers_of(process);
        });
    }
}
