//! The time for which a completion queue holds a notification back.

use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::DeviceNic;
use crate::process::Process;

/// One period of one completion queue.
#[derive(Debug)]
pub(crate) struct Period {
    pub(crate) process: Weak<Process>,
    /// The number of the queue.
    pub(crate) number: u32,
    /// Which of its periods.
    pub(crate) period: u64,
    pub(crate) length: Duration,
}

/// A period, and where its queue is.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) nic: Weak<DeviceNic>,
    pub(crate) key: usize,
    pub(crate) period: Period,
}

impl Begun {
    /// Begins it: it is over in device time.
    pub(crate) fn begin(self: Arc<Self>) {
        if let Some(process) = self.period.process.upgrade() {
            let device = &process.device;
            let until = device.clock.now() + self.period.length.as_nanos() as u64;
            // Never taken back: one that is over early does nothing when it ends.
            device.wake_at(until, process.number(), Waker::from(self));
        }
    }
}

impl Wake for Begun {
    fn wake(self: Arc<Self>) {
        let Some(nic) = self.nic.upgrade() else {
            return;
        };
        nic.with(|engine| {
            let ring = engine.world.queues.get_mut(self.key);
            // Another queue may have got its place.
            let ring = ring.filter(|ring| ring.number() == self.period.number);
            let after = ring.and_then(|ring| ring.period_over(self.period.period));
            after
                .into_iter()
                .for_each(|after| engine.world.later(after));
        });
    }
}
