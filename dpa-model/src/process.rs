//! A process: an application on the device with its own heap, events, launches and faults.

mod events;
mod memory;
mod polled;
mod quiet;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use crossbeam::utils::CachePadded;
use dpa_abi::global::AnyGlobal;
use parking_lot::Mutex;
use slab::Slab;

use crate::crash::stack::StackCopy;
use crate::crash::{Crash, CrashSpec};
use crate::device::Device;
use crate::epoch::{Entered, Epochs};
use crate::error_handler::ErrorHandlerSlot;
use crate::events::Events;
use crate::fault::Fault;
use crate::fiber::Switch;
use crate::foreign;
use crate::globals::Globals;
use crate::handler::Handler;
use crate::handles::Handles;
use crate::heap::{Heap, OutOfMemory};
use crate::launch::{Launch, Outcome};
use crate::layout::GroupSpec;
use crate::message::{LogSpec, Messages};
use crate::nic::{Doorbells, HostMemory, Leased};
use crate::partition::Tenancy;
use crate::placed::Places;
use crate::quota::Quotas;
use crate::sched::Tenant;
use crate::streams::Streams;
use crate::trace::{TraceSpec, Tracer};
use crate::unfinished::Unfinished;
use crate::unit::Wake;
use crate::windows::{WindowError, Windows};
use quiet::Quiet;

use waiting::BlockedThread;
pub(crate) use waiting::{BlockedOn, Standstill, UnitTimeout};

/// What a process is opened with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The function of the device that it is opened on; none: the first.
    pub function: Option<String>,
    /// Its default message stream.
    pub log: LogSpec,
    /// Its trace.
    pub trace: TraceSpec,
    /// Its crash reports.
    pub crash: CrashSpec,
}

/// Where what a process says goes.
pub(crate) struct Outlets {
    pub(crate) messages: Messages,
    pub(crate) tracer: Tracer,
    pub(crate) crash: Crash,
}

/// A process of a device.
pub struct Process {
    pub(crate) device: Arc<Device>,
    pub(crate) number: u32,
    /// Where it is opened.
    pub(crate) tenancy: Tenancy,
    /// Its memory.
    pub heap: Heap,
    pub(crate) places: Places,
    /// When what it freed may be used again.
    pub(crate) epochs: Epochs,
    pub(crate) events: Events,
    /// Launches that are not over. By itself: who submits writes it each time.
    pub(crate) unfinished: CachePadded<Unfinished>,
    pub(crate) closing: AtomicBool,
    pub(crate) progress: AtomicU64,
    stop: AtomicBool,
    /// A stop has come to its end.
    ended: AtomicBool,
    pub(crate) dismissed: AtomicBool,
    /// Launches that ended because it was closed, and had not started.
    pub(crate) dropped: AtomicUsize,
    fault: OnceLock<Arc<Fault>>,
    /// What its error handler is run for: the first cause, once it is over.
    pub(crate) cause: OnceLock<Fault>,
    pub(crate) crash: Crash,
    blocked: AtomicU32,
    /// Under the seeded driver: how it was seen to stand still, and since when.
    standstill: Mutex<Option<(Standstill, u64)>>,
    waits: Mutex<Slab<BlockedThread>>,
    pub(crate) wakers: Mutex<Wakers>,
    /// How many tasks wait for room: written under the lock of `wakers`, read without.
    pub(crate) lined_up: AtomicUsize,
    pub(crate) streams: Streams,
    pub(crate) doorbells: Doorbells,
    pub(crate) leased: Arc<Leased>,
    pub(crate) handlers: Handles<Arc<Handler>>,
    pub(crate) windows: Windows,
    globals: Globals,
    pub(crate) error_handler: ErrorHandlerSlot,
    pub(crate) messages: Messages,
    pub(crate) tracer: Tracer,
    /// RDMA contexts: what comes in through them may open anything.
    rdma: AtomicU32,
    pub(crate) quotas: Quotas,
    /// Time of workers, in nanoseconds, while others had work, too.
    pub(crate) used: AtomicU64,
}

crate::anywhere::goes_anywhere!(Process {
    device,
    number,
    tenancy,
    heap,
    places,
    epochs,
    events,
    unfinished,
    closing,
    progress,
    stop,
    ended,
    dismissed,
    dropped,
    fault,
    cause,
    crash,
    blocked,
    standstill,
    waits,
    wakers,
    lined_up,
    streams,
    doorbells,
    leased,
    handlers,
    windows,
    globals,
    error_handler,
    messages,
    tracer,
    rdma,
    quotas,
    used,
});

/// Tasks of the host that wait for something of the process as a whole.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    /// For everything to be finished, or for nothing to run any more.
    pub(crate) quiet: Quiet,
    /// For its end: idle moments are nothing to them.
    pub(crate) stopped: Quiet,
    /// For room in the queue, in order.
    pub(crate) room: VecDeque<(u64, Waker)>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Tenant for Process {
    fn blocked(&self) -> u32 {
        self.blocked.load(Ordering::SeqCst)
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn limit(&self) -> u32 {
        let limit = self.device.config.max_units;
        let fewer = limit.filter(|&limit| limit < self.tenancy.partition.units);
        fewer.unwrap_or(u32::MAX)
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn units_back(&self) {
        self.tell_hosts(false);
    }

    fn gone(&self) {
        // Nothing of it comes any more, however long it is held.
        self.trace_close();
        self.tenancy.leave();
    }

    fn never_starts(process: &Arc<Self>, launch: &Arc<Launch>) {
        process.take_back(launch, process.stop_outcome());
    }
}

impl Process {
    pub(crate) fn new(
        device: Arc<Device>,
        number: u32,
        tenancy: Tenancy,
        heap: Heap,
        outlets: Outlets,
    ) -> Self {
        let Outlets {
            messages,
            tracer,
            crash,
        } = outlets;
        let events = Events::new(device.config.max_events);
        let quotas = Quotas::new(&device.config);
        let used = AtomicU64::new(device.fairness.least(tenancy.partition.index));
        Self {
            used,
            quotas,
            device,
            number,
            tenancy,
            heap,
            places: Places::default(),
            epochs: Epochs::default(),
            events,
            unfinished: CachePadded::default(),
            closing: AtomicBool::new(false),
            progress: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            dismissed: AtomicBool::new(false),
            dropped: AtomicUsize::new(0),
            fault: OnceLock::new(),
            cause: OnceLock::new(),
            crash,
            blocked: AtomicU32::new(0),
            standstill: Mutex::default(),
            waits: Mutex::default(),
            wakers: Mutex::default(),
            lined_up: AtomicUsize::new(0),
            streams: Streams::default(),
            doorbells: Doorbells::default(),
            leased: Arc::default(),
            handlers: Handles::default(),
            windows: Windows::default(),
            globals: Globals::default(),
            error_handler: ErrorHandlerSlot::default(),
            messages,
            tracer,
            rdma: AtomicU32::new(0),
        }
    }

    /// The device it runs on.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// The name of the function it is opened on.
    pub fn function(&self) -> &str {
        &self.tenancy.function
    }

    /// The address of that function's NIC, if it has one.
    pub fn address(&self) -> Option<IpAddr> {
        self.tenancy.address
    }

    /// The execution units it may have at a time.
    pub fn units(&self) -> u32 {
        self.limit().min(self.tenancy.partition.units)
    }

    /// The groups of them, by number.
    pub fn groups(&self) -> &[GroupSpec] {
        &self.tenancy.partition.groups
    }

    /// Its number among the processes of the device.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Why it is fatal, if it is.
    pub fn fault(&self) -> Option<&Arc<Fault>> {
        self.fault.get()
    }

    /// Whether it has used more time than others that have work.
    pub(crate) fn is_over_share(&self) -> bool {
        self.device.fairness.is_over(
            self.tenancy.partition.index,
            self.used.load(Ordering::Relaxed),
        )
    }

    /// Whether its threads are to stop at their next safe point: it is fatal, or closed.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Makes the process fatal (SEMANTICS 5.1, 5.2). Only the first cause counts. Called on a worker's or the host's
    /// own stack, never on a kernel's.
    pub(crate) fn fail(self: &Arc<Self>, fault: Fault) {
        self.fail_on(None, fault);
    }

    /// As [`Process::fail`], with the stack of the thread that did it, for the crash report.
    pub(crate) fn fail_on(self: &Arc<Self>, stack: Option<StackCopy>, fault: Fault) {
        let mut fault = self.cause.get().cloned().unwrap_or(fault);
        self.note_fault(&fault);
        fault.crash = self.crash.expected();
        let fault = Arc::new(fault);
        let mut first = None;
        // Whoever comes second waits, and announces nothing: places are few.
        self.fault.get_or_init(|| {
            first = Some(self.crash.announce(self));
            fault.clone()
        });
        let is_first = first.is_some();
        if let Some(announced) = first {
            self.crash.begin(self, announced, stack);
            self.stop();
            self.crash.finish(self);
        }
        // Last: who listens is foreign.
        foreign::tell(|| match is_first {
            true => tracing::error!(target: "doca_dpa::fault", %fault, "a process became fatal"),
            false => tracing::debug!(target: "doca_dpa::fault", %fault, "a consequence"),
        });
    }

    /// The figures of its crash report: whether and where one will be written.
    pub fn crash_spec(&self) -> CrashSpec {
        self.crash.spec()
    }

    pub(crate) fn rdma_opened(&self) {
        self.rdma.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rdma_closed(&self) {
        self.rdma.fetch_sub(1, Ordering::Relaxed);
    }

    /// Stops everything: what has not started is settled, events are closed, threads are told. Another thread may be in the middle
    /// of the same, for as long as those take that it tells: whatever it has not done yet, this does.
    pub(crate) fn stop(self: &Arc<Self>) {
        let (reason, outcome) = (self.stop_reason(), self.stop_outcome());
        self.stop.store(true, Ordering::SeqCst);
        // At once: workers that find what is ready end it all the same, but then it has begun.
        self.device.sched.set_apart(self.number);
        self.doorbells.clear();
        self.handlers.clear(|handler| handler.stop());
        for nic in self.leased.all() {
            nic.stop_process(&self.device, self);
        }
        self.end_ready(outcome);
        self.break_streams(outcome);
        self.events
            .each(|index, _| _ = self.close_event(index, reason));
        // What workers have opened that had not seen the stop.
        self.end_ready(outcome);
        self.close_meetings();
        self.drop_error_handler();
        self.wake_all_hosts();
        self.device.notify();
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Whether everything of it is stopped, and not only about to be.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// What is ready and has not started ends.
    fn end_ready(self: &Arc<Self>, outcome: Outcome) {
        let sched = &self.device.sched;
        sched.take_ready(self.number, |launch| self.take_back(&launch, outcome));
    }

    /// Something has become ready by a thread that is counted as under way, so that the scheduler has not forgotten the process. A stop that
    /// came meanwhile may have looked for what is ready before this was there.
    #[inline]
    pub(crate) fn end_late(self: &Arc<Self>) {
        if self.is_stopped() {
            self.end_ready(self.stop_outcome());
        }
    }

    fn break_streams(self: &Arc<Self>, outcome: Outcome) {
        self.streams.break_off(|launch| {
            self.crash.saw_parked();
            self.take_back(&launch, outcome);
        });
    }

    fn close_meetings(self: &Arc<Self>) {
        let launches: Vec<Arc<Launch>> = {
            let waits = self.waits.lock();
            let meet = |(_, t): (usize, &BlockedThread)| {
                matches!(t.on, BlockedOn::Meeting).then(|| t.launch.clone())
            };
            waits.iter().filter_map(meet).collect()
        };
        for unit in launches
            .iter()
            .filter_map(|l| l.gang())
            .flat_map(|gang| gang.meeting.close())
        {
            self.crash.saw_blocked(unit.core());
            self.wake_unit(unit, Wake::Closed(0));
        }
    }

    /// The device address of a global variable. It is initialised when it is first asked for.
    ///
    /// # Errors
    /// Out of memory.
    pub fn global(&self, global: &'static dyn AnyGlobal) -> Result<u64, OutOfMemory> {
        if let Some(addr) = self.known_global(global)? {
            return Ok(addr);
        }
        let mut initial = vec![0; global.size()];
        global.initial(&mut initial);
        self.put_global(global, &initial)
    }

    /// The device address of a global variable that has been asked for before.
    pub(crate) fn known_global(
        &self,
        global: &'static dyn AnyGlobal,
    ) -> Result<Option<u64>, OutOfMemory> {
        self.refuse_memory(global.size() as u64)?;
        Ok(self.globals.find(global))
    }

    /// The device address of a global variable that begins with this, if it has not begun.
    pub(crate) fn put_global(
        &self,
        global: &'static dyn AnyGlobal,
        initial: &[u8],
    ) -> Result<u64, OutOfMemory> {
        let (heap, epochs) = (&self.heap, &self.epochs);
        self.globals.put(heap, epochs, global, initial)
    }

    /// Opens a window onto host memory; its first device address.
    ///
    /// # Errors
    /// Too many; too large; the process is stopped.
    pub fn open_window(
        &self,
        memory: &Arc<HostMemory>,
        rights: dpa_abi::Rights,
    ) -> Result<u64, WindowError> {
        if self.is_stopped() {
            return Err(WindowError::Stopped);
        }
        self.windows.open(&self.epochs, memory, rights)
    }

    /// Closes the window at this address.
    pub fn close_window(&self, addr: u64) {
        self.windows.close(&self.epochs, addr);
    }

    /// A launch is over that saw what there was in this epoch, and with it perhaps closed windows. `off`: the caller is on the stack of a
    /// kernel.
    #[inline]
    pub(crate) fn leave_epoch(&self, epoch: Entered, off: Option<&Switch>) {
        self.epochs.leave(epoch);
        if self.windows.has_closed() {
            foreign::on_own_stack(off, || self.windows.let_go(&self.epochs));
        }
    }
}
