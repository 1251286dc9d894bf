//! Events for host and device.

use doca_dpa::{Dpa, Error, Location, SyncEvent};

/// An event that both update and wait for.
pub fn everywhere(dpa: &Dpa) -> Result<SyncEvent, Error> {
    SyncEvent::builder(dpa)
        .publisher(Location::Host | Location::Device)
        .subscriber(Location::Host | Location::Device)
        .create()
}
