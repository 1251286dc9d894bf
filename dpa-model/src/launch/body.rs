//! What a launch does: a kernel, a call, jobs of a command queue, or a step of the device's own.

use std::fmt;

use dpa_abi::kernel::{KernelEntry, RpcEntry};
use sync_event::sync::Mutex;

/// What a launch does.
pub enum Body {
    /// Runs a kernel.
    Kernel(&'static KernelEntry),
    /// Runs a call and keeps its result.
    Rpc(&'static RpcEntry),
    /// Runs jobs of a command queue.
    Queue,
    /// A step of the device's own copy engine: a copy or a fill. Takes no unit.
    Step(Box<Step>),
}

/// The work of a [`Body::Step`], done once.
pub struct Step {
    /// What it is called in snapshots.
    pub name: &'static str,
    /// The work; taken when it is done.
    pub work: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Step {
    /// This work, under this name.
    pub fn new(name: &'static str, work: impl FnOnce() + Send + 'static) -> Self {
        Self {
            name,
            work: Mutex::new(Some(Box::new(work))),
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Body {
    /// The kernel's, call's or step's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kernel(entry) => entry.name,
            Self::Rpc(entry) => entry.name,
            Self::Queue => "command queue",
            Self::Step(step) => step.name,
        }
    }

    /// Bytes of the arguments that it takes.
    pub fn arg_bytes(&self) -> usize {
        match self {
            Self::Kernel(entry) => entry.arg_bytes,
            Self::Rpc(entry) => entry.arg_bytes,
            Self::Queue | Self::Step(_) => 0,
        }
    }
}
