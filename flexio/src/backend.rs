//! The one seam between the host's crates and a device.
//!
//! Everything above names devices, processes, launches and events by the names that are gathered here. Another backend
//! takes the place of these types; nothing above this file names the model.

pub use dpa_model::fault::{Place, Waiting, WaitingOn};
pub use dpa_model::heap::{HeapInfo, OutOfMemory};
pub use dpa_model::launch::Outcome;
pub use dpa_model::seeded::{SimError, Stuck};
pub use dpa_model::stream::Stream;
pub use dpa_model::{
    CloseReport, ConfigError, DeviceConfig, EventLimit, EventRef as Event, EventUseError, Fault,
    HostWait, OpenError, Snapshot, SubmitError,
};

pub(crate) use dpa_model::launch::{ArgBytes, Body, Launch, Step};
pub(crate) use dpa_model::seeded;
pub(crate) use dpa_model::threads::Threads;
pub(crate) use dpa_model::{Device, Process, Spec, TimerKey};
