//! The low layer on the host: devices, processes, device memory, commands, calls, events and errors.
//!
//! `doca-dpa` is built on this crate and reaches a device only through it. What stands behind it is chosen in
//! [`backend`], the one seam: today the software device of `dpa-model`, later hardware.
//!
//! ```
//! use flexio::{Device, DeviceConfig};
//! let device = Device::open(DeviceConfig { heap_bytes: 1 << 20, ..DeviceConfig::default() })?;
//! let process = device.process()?;
//! let addr = process.alloc(64, true)?;
//! process.write(addr, b"hello")?;
//! let mut back = [0; 5];
//! process.read(addr, &mut back)?;
//! assert_eq!(&back, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod backend;
pub mod cmdq;
mod command;
mod device;
pub mod device_file;
pub mod handler;
mod memory;
pub mod message;
mod process;
pub mod queues;
pub mod rdma;
mod window;

pub use backend::trace;
pub use backend::{
    Actor, Chance, CloseReport, ConfigError, ContextError, ContextSpec, CrashFiles, CrashProblem,
    CrashReport, CrashSpec, DeviceConfig, DeviceFileError, Diary, Endless, ErrorHandlerError,
    Event, EventLimit, EventPlace, EventUseError, Fault, FileError, FunctionError, FunctionInfo,
    FunctionKind, FunctionSpec, GroupSpec, HeapInfo, HostMemory, HostWait, LayoutError,
    LogOpenError, LogSpec, MishapCounters, Mishaps, NetworkCounters, NetworkSpec, NicError,
    NoUnitSet, Note, OpenError, OutOfMemory, Outcome, PartitionSpec, Place, ProcessSpec,
    QuotaExceeded, Registration, RegistrationError, SimError, SimPlan, Snapshot, Stream,
    StreamSpec, Struck, Stuck, SubmitError, TraceOpenError, TraceSpec, UnitSet, Waiting, WaitingOn,
    When, WindowError,
};
pub use cmdq::CommandQueue;
pub use command::{Command, Submitted};
pub use device::{Device, DeviceInfo, DeviceKind, Fate, Simulated, VirtualNetwork, simulate};
pub use handler::{Affinity, EventHandler, EventHandlerBuilder, HandlerError, HandlerState};
pub use memory::{AccessError, Direction};
pub use process::{ErrorStatus, Process, ProcessRef};
pub use sync_event::{Location, LocationSet, Locations};
pub use window::Window;
