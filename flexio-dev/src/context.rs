//! The thread context: what a kernel's thread holds to reach its device.

use core::cell::Cell;
use core::panic::Location;

use dpa_abi::global::Global;
use dpa_abi::port::{Collective, Counter, Leaving, LogLevel, ReduceOp};
use dpa_abi::queue::bell::OutboxHandle;
use dpa_abi::{DevAddr, FaultKind, HandlerHandle, KernelArg, Pod, UnitRef};

use crate::errno::Errno;
use crate::view::{AtomicSlice, DevSlice, DevSliceMut};
use dpa_abi::access::AtomicNumber;

pub use dpa_abi::port::READS_PER_SAFE_POINT;

/// The context of one thread of a kernel. Having one proves that the thread is started and running.
///
/// It is neither `Send` nor `Sync` and cannot outlive the thread.
#[derive(Debug)]
pub struct ThreadContext<'t> {
    unit: UnitRef<'t>,
    reads: Cell<u32>,
    refusal: Cell<Option<Errno>>,
    outbox: Cell<OutboxHandle>,
}

impl<'t> ThreadContext<'t> {
    /// The context of the thread that runs on `unit`. Called by the code that `#[dpa_kernel]` makes.
    #[inline]
    pub fn new(unit: UnitRef<'t>) -> Self {
        Self {
            unit,
            reads: Cell::new(unit.reads()),
            refusal: Cell::new(None),
            outbox: Cell::new(OutboxHandle::DEFAULT),
        }
    }

    /// The number of this thread in its launch, from 0.
    #[doc(alias = "doca_dpa_dev_thread_rank")]
    #[inline]
    pub fn rank(&self) -> u32 {
        self.unit.rank()
    }

    /// How many threads the launch has.
    #[doc(alias = "doca_dpa_dev_num_threads")]
    #[inline]
    pub fn threads(&self) -> u32 {
        self.unit.threads()
    }

    /// The port of this thread's unit, for the modules of this crate.
    #[inline]
    pub(crate) fn unit(&self) -> UnitRef<'t> {
        self.unit
    }

    /// Where the last refusal is kept.
    #[inline]
    pub(crate) fn refusal(&self) -> &Cell<Option<Errno>> {
        &self.refusal
    }

    /// The outbox its doorbells go through.
    #[inline]
    pub(crate) fn outbox(&self) -> &Cell<OutboxHandle> {
        &self.outbox
    }

    /// Which number this thread has: that of its launch, or of this activation of its handler, in order of submission.
    /// The threads of one launch share it, and differ in their ranks.
    #[doc(alias = "flexio_dev_get_thread_id")]
    pub fn id(&self) -> u64 {
        self.unit.who().launch
    }

    /// The name of the kernel, call or job that runs; in an error handler, of the one that did wrong.
    #[doc(alias = "flexio_dev_get_current_thread_name")]
    pub fn name(&self) -> &'static str {
        self.unit.who().kernel
    }

    /// The event handler or DPA thread that this is an activation of; `None` in a launch.
    pub fn handler(&self) -> Option<HandlerHandle> {
        self.unit.who().handler
    }

    /// Binds `len` elements at `addr` to a checked view for loads.
    ///
    /// # Errors
    /// Unaligned, out of range, freed, or without rights. A kernel that cannot go on hands the error to
    /// [`ThreadContext::fault`].
    pub fn bind<T: Pod>(&self, addr: DevAddr<T>, len: usize) -> Result<DevSlice<'_, T>, FaultKind> {
        DevSlice::bind(self, addr, len)
    }

    /// Binds `len` elements at `addr` to a checked view for loads and stores.
    ///
    /// # Errors
    /// As [`ThreadContext::bind`].
    pub fn bind_mut<T: Pod>(
        &self,
        addr: DevAddr<T>,
        len: usize,
    ) -> Result<DevSliceMut<'_, T>, FaultKind> {
        DevSliceMut::bind(self, addr, len)
    }

    /// Binds `len` numbers at `addr` to a checked view for atomic access.
    ///
    /// # Errors
    /// As [`ThreadContext::bind`].
    pub fn bind_atomic<T: AtomicNumber>(
        &self,
        addr: DevAddr<T>,
        len: usize,
    ) -> Result<AtomicSlice<'_, T>, FaultKind> {
        AtomicSlice::bind(self, addr, len)
    }

    /// Makes the process fatal with this cause, and ends the thread by unwinding its stack.
    #[track_caller]
    pub fn fault(&self, kind: FaultKind) -> ! {
        self.fault_at(kind, Location::caller())
    }

    /// As [`ThreadContext::fault`], with the place to blame.
    pub fn fault_at(&self, kind: FaultKind, at: &'static Location<'static>) -> ! {
        self.unit.fault(kind, at)
    }

    /// Ends the process with an error code of the kernel's own.
    ///
    /// Any 64-bit code reaches the host whole. Where one byte is all there is, as in the status of the original, codes
    /// from 0x80 to 0xFF are that byte, and all others are 0xFF.
    #[doc(alias = "flexio_dev_error")]
    #[track_caller]
    pub fn error(&self, code: u64) -> ! {
        self.fault(FaultKind::User { code })
    }

    /// Lets other threads run if some can: what a loop that neither waits nor reads atomically should call.
    #[inline]
    pub fn safe_point(&self) {
        self.unit.safe_point();
    }

    /// Goes to the end of the line of threads that can run.
    #[doc(alias = "doca_dpa_dev_yield")]
    pub fn yield_now(&self) {
        self.unit.yield_now();
    }

    /// Ends this activation of an event handler or DPA thread: it runs again, from the top, when it is triggered. So does
    /// one that returns, which costs less: this unwinds the stack. In a launch, and in a job, it ends the thread; in a call it is
    /// a fault, for nobody would have the result.
    #[doc(alias = "doca_dpa_dev_thread_reschedule")]
    #[doc(alias = "flexio_dev_thread_reschedule")]
    #[track_caller]
    pub fn reschedule(&self) -> ! {
        self.unit.leave(Leaving::Reschedule, Location::caller())
    }

    /// Ends this activation, and has the handler run again at once, behind what is ready already. Elsewhere it is as
    /// [`ThreadContext::reschedule`].
    #[doc(alias = "flexio_dev_thread_retrigger")]
    #[track_caller]
    pub fn retrigger(&self) -> ! {
        self.unit.leave(Leaving::Retrigger, Location::caller())
    }

    /// Ends this activation, the last one of its handler. Elsewhere it is as [`ThreadContext::reschedule`].
    #[doc(alias = "doca_dpa_dev_thread_finish")]
    #[doc(alias = "flexio_dev_thread_finish")]
    #[track_caller]
    pub fn finish(&self) -> ! {
        self.unit.leave(Leaving::Finish, Location::caller())
    }

    /// Leaves the kernel where it is until its handler is triggered again, and goes on there: what stands on the stack
    /// stays. True if it was; a trigger that came since the handler was started last or came here last ends it at once.
    ///
    /// Only a handler that was made continuable can: in any other, and in a launch, this is false at once and has no
    /// effect. The handler keeps its execution unit meanwhile. If it is dropped, its thread ends here.
    #[doc(alias = "flexio_dev_yield")]
    pub fn await_trigger(&self) -> bool {
        self.unit.await_trigger()
    }

    /// As [`ThreadContext::await_trigger`], with a trigger of its own: lets what is ready run, and goes on. False if
    /// this is no activation of a continuable handler.
    #[doc(alias = "flexio_dev_yield_and_retrigger")]
    pub fn yield_and_retrigger(&self) -> bool {
        let who = self.unit.who();
        let own = who.handler.filter(|_| who.continuable);
        own.is_some_and(|own| self.notify(own)) && {
            self.yield_now();
            self.await_trigger()
        }
    }

    /// Ends the process for no error: its status is the 0x40 of one that ends itself.
    #[doc(alias = "flexio_dev_process_finish")]
    #[track_caller]
    pub fn process_finish(&self) -> ! {
        self.fault(FaultKind::Finished)
    }

    /// The address that the handler was given for its local storage; null if it was given none, and in a launch.
    #[doc(alias = "doca_dpa_dev_thread_get_local_storage")]
    #[doc(alias = "flexio_dev_get_thread_local_storage")]
    pub fn local_storage<T: 'static>(&self) -> DevAddr<T> {
        DevAddr::from_raw(self.unit.local_storage())
    }

    /// The address of a global variable, of which each process has one. Out of memory is a fault.
    #[track_caller]
    pub fn global<T: Pod + Sync>(&self, global: &'static Global<T>) -> DevAddr<T> {
        match self.unit.global(global) {
            Ok(addr) => DevAddr::from_raw(addr),
            Err(none) => self.fault(none),
        }
    }

    /// Triggers an event handler or DPA thread of this process: it runs once more from now on, at the latest when the
    /// activation that runs has ended. Nothing travels with it. False if there is no such handler any more.
    #[doc(alias = "doca_dpa_dev_thread_notify")]
    #[doc(alias = "flexio_dev_event_handler_activate")]
    pub fn notify(&self, handler: HandlerHandle) -> bool {
        let found = self.unit.trigger(handler.0);
        if !found {
            self.refused(Errno::NoHandler);
        }
        found
    }

    /// Counts a read by which a loop could be polling, or an atomic access. Every [`READS_PER_SAFE_POINT`]th is a safe point;
    /// a simulation makes one of any.
    #[inline]
    pub(crate) fn polled(&self) {
        let left = self.reads.get() - 1;
        self.reads.set(left);
        if left == 0 {
            self.out_of_reads();
        }
    }

    #[cold]
    fn out_of_reads(&self) {
        self.reads.set(self.unit.out_of_reads());
    }

    /// Waits until all threads of the launch are here. What any of them did before happens before what any does after.
    /// To call another collective meanwhile is a fault, here as below, and so is a call in a DPA thread of a group, for those run
    /// each for its own events. Any other thread without others passes at once.
    #[inline]
    #[track_caller]
    pub fn barrier(&self) {
        let at = Location::caller();
        self.unit.collective(Collective::Barrier, at);
    }

    /// Everyone gets the value of the thread of rank `root`; waits for all, like [`ThreadContext::barrier`].
    ///
    /// A `root` that is no rank of this launch is a fault.
    #[track_caller]
    pub fn broadcast(&self, root: u32, value: u64) -> u64 {
        if root >= self.threads() {
            self.fault(FaultKind::OutOfBounds {
                index: root.into(),
                len: self.threads().into(),
            });
        }
        let at = Location::caller();
        self.unit
            .collective(Collective::Broadcast { root, value }, at)
    }

    /// Everyone gets the combination of the values of all; waits for all, like [`ThreadContext::barrier`].
    #[track_caller]
    pub fn reduce(&self, op: ReduceOp, value: u64) -> u64 {
        let at = Location::caller();
        self.unit.collective(Collective::Reduce { op, value }, at)
    }

    /// Hands a formatted message to the host.
    pub fn log_str(&self, level: LogLevel, message: &str, at: &'static Location<'static>) {
        self.unit.log(level, message, at);
    }

    /// Cycles of this unit.
    #[doc(alias = "__dpa_thread_cycles")]
    pub fn cycles(&self) -> u64 {
        self.unit.counter(Counter::Cycles)
    }

    /// Nanoseconds since the device was opened; virtual under the seeded driver. No safe point: a loop that waits for
    /// a time calls [`ThreadContext::yield_now`] as well.
    #[doc(alias = "__dpa_thread_time")]
    pub fn time(&self) -> u64 {
        self.unit.counter(Counter::Time)
    }

    /// Instructions retired by this unit; the native model estimates them from its cycles.
    #[doc(alias = "__dpa_thread_inst_ret")]
    pub fn instructions_retired(&self) -> u64 {
        self.unit.counter(Counter::Retired)
    }
}

/// A kernel's argument that is bound to the thread when the kernel starts.
pub trait BindArg<'t>: KernelArg + Sized {
    /// Makes the argument of its wire form.
    ///
    /// # Errors
    /// What a bad address or handle is answered with; the launch trampoline makes a fault of it.
    fn bind_arg(wire: Self::Wire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind>;
}

impl<'t, T: Pod> BindArg<'t> for T {
    #[inline]
    fn bind_arg(wire: T, _: &'t ThreadContext<'t>) -> Result<T, FaultKind> {
        Ok(wire)
    }
}
