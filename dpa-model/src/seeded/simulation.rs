//! What the devices of one simulation share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::choices::Choices;
use crate::network::Network;

/// What the devices of one simulation share: the seed, the time, the network.
#[derive(Debug)]
pub struct Simulation {
    /// Where its choices come from.
    pub(crate) choices: Choices,
    /// What is between the NICs of its devices.
    pub(crate) network: Arc<Network>,
    /// Virtual time, in nanoseconds. Each device's clock shows it.
    pub(crate) now: Arc<AtomicU64>,
    /// Devices that were opened.
    opened: AtomicU32,
}

impl Simulation {
    pub(super) fn new(choices: Choices) -> Self {
        Self {
            choices,
            network: Arc::default(),
            now: Arc::default(),
            opened: AtomicU32::new(0),
        }
    }

    /// The number of a device that is opened now; the first is 0.
    pub(crate) fn next_device(&self) -> u32 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether it has, or had, more than one device.
    pub(crate) fn has_several(&self) -> bool {
        self.opened.load(Ordering::Relaxed) > 1
    }

    /// Virtual time, in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Moves virtual time on.
    pub(crate) fn advance_to(&self, nanos: u64) {
        self.now.fetch_max(nanos, Ordering::Relaxed);
    }
}
