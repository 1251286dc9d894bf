//! The time for which a completion queue holds a notification back.

use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::DeviceNic;
use super::after::After;
use super::completion_ring::Told;
use crate::process::Process;

/// The timer of a completion queue, for a period that has begun.
#[derive(Debug)]
pub(crate) struct Period {
    pub(crate) process: Weak<Process>,
    /// The number of the queue.
    pub(crate) number: u32,
    /// Which of its timers.
    pub(crate) timer: u64,
    /// When the period is over, in device time.
    pub(crate) until: u64,
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
            let (until, number) = (self.period.until, process.number());
            // Never taken back: a queue has one at a time, which sees at its end what there is to be done.
            process.device.wake_at(until, number, Waker::from(self));
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
            match ring.map(|ring| ring.time_is_up(self.period.timer)) {
                Some(Told::Now(after)) => engine.world.later(after),
                Some(Told::Later(period)) => {
                    let (nic, key) = (self.nic.clone(), self.key);
                    let begun = Self { nic, key, period };
                    engine.world.later(After::Moderate(Arc::new(begun)));
                }
                _ => {}
            }
        });
    }
}
