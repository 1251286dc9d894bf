//! Processes.

use std::any::Any;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};

use dpa_abi::{EventHandle, KernelEntry, Pod};
use sync_event::Locations;

use crate::backend::{
    self, CloseReport, CrashSpec, ErrorHandlerError, Event, EventLimit, EventPlace, Fault,
    GroupSpec, Keep, Snapshot, Stream,
};
use crate::device::Device;

/// Whether something went wrong in a process.
#[doc(alias = "flexio_err_status")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorStatus {
    /// Nothing.
    NoError,
    /// A fault; the process is fatal.
    Fatal,
    /// A kernel ended it with an error code of its own.
    User(u64),
    /// A kernel ended it, for no error.
    Finished,
}

impl ErrorStatus {
    /// The byte that the original has for it: 0 for no error, 1 for a fault, 0x40 for a process that ended itself; a code
    /// of the kernel's own if it is from 0x80 to 0xFF, and 0xFF if it is any other.
    pub const fn code(self) -> u8 {
        match self {
            Self::NoError => 0,
            Self::Fatal => 1,
            Self::Finished => 0x40,
            Self::User(code @ 0x80..=0xff) => code as u8,
            Self::User(_) => 0xff,
        }
    }
}

/// A process, and what keeps it open: when the last clone is dropped it is shut down, without waiting.
#[doc(alias = "flexio_process")]
#[derive(Clone, Debug)]
pub struct Process {
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    process: ProcessRef,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.process.raw().shut_down();
    }
}

/// A process, to be used but not kept open: its memory stays as long as this does, but it may be closed.
#[derive(Clone, Debug)]
pub struct ProcessRef {
    // One count for both: it is cloned for every launch.
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    device: Device,
    raw: Arc<backend::Process>,
}

impl Process {
    pub(crate) fn new(device: Device, raw: Arc<backend::Process>) -> Self {
        Self {
            owner: Arc::new(Owner {
                process: ProcessRef {
                    parts: Arc::new(Parts { device, raw }),
                },
            }),
        }
    }
}

impl Deref for Process {
    type Target = ProcessRef;
    fn deref(&self) -> &ProcessRef {
        &self.owner.process
    }
}

impl ProcessRef {
    pub(crate) fn raw(&self) -> &Arc<backend::Process> {
        &self.parts.raw
    }

    /// The device it runs on.
    pub fn device(&self) -> &Device {
        &self.parts.device
    }

    /// Its number on the device.
    pub fn number(&self) -> u32 {
        self.raw().number()
    }

    /// Whether both are the same process.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.raw(), other.raw())
    }

    /// Whether this event is one of this process.
    pub fn owns(&self, event: &Event) -> bool {
        Arc::ptr_eq(self.raw(), event.process())
    }

    /// A new sync event.
    ///
    /// # Errors
    /// There are as many as there may be, or the process is stopped.
    pub fn event(&self, initial: u64, locations: Locations) -> Result<Event, EventLimit> {
        self.raw().event(initial, locations)
    }

    /// A new event that stands in memory: its eight bytes show its value, and whoever writes them through the library
    /// (copies of the host, peers, the NIC) updates it, if it has such a publisher. `keep` is what keeps that memory
    /// allocated, until the event is closed.
    ///
    /// # Errors
    /// As [`ProcessRef::event`]; there are no such eight aligned bytes; another event stands there; over verbs, peers can write there
    /// already.
    #[doc(alias = "doca_sync_event_set_addr")]
    #[doc(alias = "doca_sync_event_set_doca_buf")]
    pub fn event_at(
        &self,
        initial: u64,
        locations: Locations,
        place: EventPlace,
        keep: impl Any + Send + Sync,
    ) -> Result<Event, EventLimit> {
        let keep: Keep = Box::new(keep);
        self.raw().event_at(initial, locations, place, Some(keep))
    }

    /// Why it is fatal, if it is. Looking does not clear it.
    #[doc(alias = "doca_dpa_peek_at_last_error")]
    pub fn fault(&self) -> Option<Arc<Fault>> {
        self.raw().fault().cloned()
    }

    /// Whether something went wrong.
    #[doc(alias = "flexio_err_status_get")]
    pub fn error_status(&self) -> ErrorStatus {
        match self.raw().fault().map(|fault| fault.kind) {
            None => ErrorStatus::NoError,
            Some(dpa_abi::FaultKind::User { code }) => ErrorStatus::User(code),
            Some(dpa_abi::FaultKind::Finished) => ErrorStatus::Finished,
            Some(_) => ErrorStatus::Fatal,
        }
    }

    /// Waits until it is fatal, or closed: why, or nothing. Nothing is left of it when it is dropped.
    pub async fn failed(&self) -> Option<Arc<Fault>> {
        self.raw().stopped().await;
        self.fault()
    }

    /// Polls until it is fatal, or closed: then with why, or with nothing. The task's waker stays until then: see
    /// [`ProcessRef::failed`].
    #[doc(alias = "flexio_err_handler_fd")]
    pub fn poll_failed(&self, cx: &Context<'_>) -> Poll<Option<Arc<Fault>>> {
        self.raw().poll_stopped(cx).map(|()| self.fault())
    }

    /// Sets the kernel that runs, once, on the thread that makes the process fatal, before everything else of it is
    /// stopped: to say so, to leave things tidy. It may do all that kernels may but wait: waits that do not hold end as
    /// closed, barriers are passed. What it does wrong itself ends it and nothing else.
    ///
    /// It does not run where no stack is left to run it on: after an overflow, or when a kernel is stopped for its run
    /// time; nor for a deadlock, nor when a kernel ends the process for no error.
    ///
    /// # Errors
    /// The arguments are not as long as the kernel's; there is one already; the process is stopped.
    #[doc(alias = "flexio_process_error_handler_set")]
    pub fn set_error_handler<A: Pod>(
        &self,
        entry: &'static KernelEntry,
        args: A,
        keep: Option<Box<dyn Any + Send>>,
    ) -> Result<(), ErrorHandlerError> {
        let (given, takes) = (A::SIZE, entry.arg_bytes);
        if given != takes {
            return Err(ErrorHandlerError::Arguments { given, takes });
        }
        let args = crate::command::packed(args);
        let handler = backend::ErrorHandler { entry, args, keep };
        self.raw().set_error_handler(handler)
    }

    /// Whether it is fatal, or closed.
    pub fn is_stopped(&self) -> bool {
        self.raw().is_stopped()
    }

    /// The figures of its crash report, should it become fatal. [`CrashFiles::At`](crate::CrashFiles::At): what the
    /// names of its files begin with, whoever said so; anything else: none is written.
    #[doc(alias = "flexio_coredump_create")]
    #[doc(alias = "flexio_crash_data")]
    pub fn crash_spec(&self) -> CrashSpec {
        self.raw().crash_spec()
    }

    /// The name of the function of the device that it is opened on.
    pub fn function(&self) -> &str {
        self.raw().function()
    }

    /// The address of that function's NIC, if it has one.
    pub fn address(&self) -> Option<IpAddr> {
        self.raw().address()
    }

    /// Execution units that it may have at a time: those of its function's partition, if the device sets no lower limit. Inside they
    /// have the numbers from 0.
    #[doc(alias = "flexio_resources_get_eus_num")]
    #[doc(alias = "flexio_resources_get_eus")]
    pub fn units(&self) -> u32 {
        self.raw().units()
    }

    /// The groups of them, by number.
    #[doc(alias = "flexio_resources_get_eugs_num")]
    pub fn groups(&self) -> &[GroupSpec] {
        self.raw().groups()
    }

    /// What it is doing.
    pub fn snapshot(&self) -> Snapshot {
        self.raw().snapshot()
    }

    /// Cancels what is parked at an event, and what is parked behind that; how many launches.
    pub fn cancel_chain(&self, event: EventHandle) -> usize {
        self.raw().cancel_chain(event)
    }

    /// A new stream.
    pub fn stream(&self) -> Arc<Stream> {
        self.raw().stream()
    }

    /// A place in the order of submission.
    pub fn reserve_place(&self) -> u64 {
        self.raw().reserve_seq()
    }

    /// Polls for room in the queue, in order of places. Once ready, or when the caller gives up,
    /// [`ProcessRef::leave_queue`] follows.
    pub fn poll_room(&self, place: u64, cx: &Context<'_>) -> Poll<()> {
        self.raw().poll_room(place, cx)
    }

    /// Whether somebody waits for room, in front of whoever comes now.
    pub fn has_line(&self) -> bool {
        self.raw().has_line()
    }

    /// Nobody waits for room under this place any more.
    pub fn leave_queue(&self, place: u64) {
        self.raw().leave_room(place);
    }

    /// Waits until nothing is unfinished. Nothing is left of it when it is dropped.
    pub async fn idle(&self) {
        self.raw().idle().await;
    }

    /// Polls until nothing is unfinished. The task's waker stays until then: see [`ProcessRef::idle`].
    pub fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        self.raw().poll_idle(cx)
    }

    /// Refuses new work from now on.
    pub fn refuse(&self) {
        self.raw().refuse();
    }

    /// Waits until nothing of it runs or is ready to, once it refuses new work: [`ProcessRef::refuse`] comes before. Nothing is left of
    /// it when it is dropped.
    pub async fn at_rest(&self) {
        self.raw().at_rest().await;
    }

    /// Ends it for all clones, without waiting.
    #[doc(alias = "flexio_process_destroy")]
    pub fn shut_down(&self) -> CloseReport {
        self.raw().shut_down()
    }
}
