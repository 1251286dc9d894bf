//! The thread that relieves whoever works a NIC without a network, and has looked at it often enough for others.
//!
//! Such a NIC needs no thread while all goes well: nothing comes from outside, and who rings looks. But others may ring without
//! end, or write more than one is to work off for them. The thread is started when that happens for the first time, and ends
//! with the NIC. It rests for as long as it has worked, so that it leaves the processors to the workers, who look as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::DeviceNic;
use crate::device::Device;

/// How long it rests at most before it looks again.
const LONGEST_REST: Duration = Duration::from_millis(10);

/// Whom to call.
#[derive(Debug, Default)]
pub(crate) struct Relief {
    /// The NIC it is for, and its device; none: there is no relief.
    serves: OnceLock<(Weak<DeviceNic>, Weak<Device>)>,
    /// None: it could not be started.
    thread: OnceLock<Option<Thread>>,
    called: AtomicBool,
    stopped: AtomicBool,
}

impl Relief {
    /// From now on there is one for this NIC.
    pub(crate) fn serve(&self, nic: &Arc<DeviceNic>, device: &Arc<Device>) {
        let served = (Arc::downgrade(nic), Arc::downgrade(device));
        // A NIC is made once.
        let _ = self.serves.set(served);
    }

    /// Whether there is one that can be called. Starts it if it has not run yet.
    pub(crate) fn stands_by(&self) -> bool {
        self.thread.get_or_init(|| self.start()).is_some()
    }

    /// It looks at what has rung, soon.
    pub(crate) fn call(&self) {
        if let Some(Some(thread)) = self.thread.get() {
            self.called.store(true, Ordering::SeqCst);
            thread.unpark();
        }
    }

    /// The thread is to end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(Some(thread)) = self.thread.get() {
            thread.unpark();
        }
    }

    fn start(&self) -> Option<Thread> {
        let (nic, device) = self.serves.get()?;
        let (nic, device) = (nic.upgrade()?, device.upgrade()?);
        let started = std::thread::Builder::new()
            .name("dpa-nic".into())
            .spawn(move || nic.relief.work(&nic, &device));
        Some(started.ok()?.thread().clone())
    }

    fn work(&self, nic: &DeviceNic, device: &Device) {
        while !self.stopped.load(Ordering::SeqCst) {
            if !self.called.swap(false, Ordering::SeqCst) {
                std::thread::park();
                continue;
            }
            let began = Instant::now();
            // If another is at work just now, that one looks, and calls again if need be.
            nic.poll(device.clock.now());
            if self.called.load(Ordering::SeqCst) {
                std::thread::sleep(began.elapsed().min(LONGEST_REST));
            }
        }
    }
}

impl DeviceNic {
    /// Queue pairs have had their turn, and have more to do: who works the NIC goes on with that, or its own thread.
    #[cold]
    pub(super) fn leave_the_rest(&self) {
        if self.bell.ring() && self.has_another() {
            self.call_another();
        }
    }

    /// Whether a thread looks when it is called. Under the seeded driver there is none: nobody rings meanwhile, and who drives
    /// it looks as long as there is something.
    pub(super) fn has_another(&self) -> bool {
        self.attendant.is_some() || self.relief.stands_by()
    }

    /// That thread looks, soon, at what has rung.
    pub(super) fn call_another(&self) {
        match &self.attendant {
            Some(attendant) => attendant.call(),
            None => self.relief.call(),
        }
    }
}
