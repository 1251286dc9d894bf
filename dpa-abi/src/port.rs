//! The device port: how a kernel reaches the device it runs on.
//!
//! A kernel's thread holds a [`UnitRef`]: a pointer that only the device understands, and the table of functions that
//! understand it. The native model, RISC-V execution and hardware each have a table of their own. The port uses no
//! thread-locals, and no free function needs a hidden context.

use core::fmt;
use core::marker::PhantomData;
use core::panic::Location;
use core::ptr::NonNull;

use crate::access::Cell;
use crate::condition::{Condition, Update};
use crate::fault::{EventError, FaultKind, Rights};
use crate::global::AnyGlobal;
use crate::handle::{EventHandle, Handle, HandlerHandle};
use crate::message::StreamHandle;
use crate::queue::NicCounter;
use crate::queue::bell::{OutboxHandle, Ring, RingError};

/// Reads and atomic accesses of a thread between two safe points, at most.
pub const READS_PER_SAFE_POINT: u32 = 1024;

/// Level of a message from a kernel.
#[doc(alias = "doca_dpa_dev_log_level_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// To be seen whatever the level of its stream, unless that is off.
    #[doc(alias = "FLEXIO_MSG_DEV_ALWAYS_PRINT")]
    Always = 20,
    /// Something went wrong.
    Error = 30,
    /// Something may go wrong.
    Warn = 40,
    /// What happens.
    Info = 50,
    /// What happens, in detail.
    Debug = 60,
}

/// What a fence orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Space {
    /// The heap of the process.
    #[doc(alias = "__DPA_HEAP")]
    Heap,
    /// Device memory as the NIC sees it.
    #[doc(alias = "__DPA_MEMORY")]
    Memory,
    /// Windows, outboxes and doorbells.
    #[doc(alias = "__DPA_MMIO")]
    Mmio,
    /// All of them.
    #[doc(alias = "__DPA_SYSTEM")]
    System,
}

/// Which accesses a fence orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ops {
    /// Loads.
    #[doc(alias = "__DPA_R")]
    R = 1,
    /// Stores.
    #[doc(alias = "__DPA_W")]
    W = 2,
    /// Both.
    #[doc(alias = "__DPA_RW")]
    Rw = 3,
}

/// A counter of the unit a thread runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Cycles of the unit.
    Cycles,
    /// Time in nanoseconds since the device was opened.
    Time,
    /// Instructions the unit has retired.
    Retired,
}

/// How [`Collective::Reduce`] combines two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    /// The sum, wrapping.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
}

impl ReduceOp {
    /// Combines two values.
    pub const fn apply(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Sum => a.wrapping_add(b),
            Self::Min => {
                if a < b {
                    a
                } else {
                    b
                }
            }
            Self::Max => {
                if a > b {
                    a
                } else {
                    b
                }
            }
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}

/// Something all threads of a launch do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collective {
    /// Everyone waits for everyone. The result is 0.
    Barrier,
    /// Everyone gets the value of the thread of rank `root`.
    Broadcast {
        /// Whose value.
        root: u32,
        /// This thread's value, used if it is the root.
        value: u64,
    },
    /// Everyone gets the combination of all values.
    Reduce {
        /// How.
        op: ReduceOp,
        /// This thread's value.
        value: u64,
    },
}

impl Collective {
    /// What it is, without this thread's value.
    pub const fn kind(self) -> CollectiveKind {
        match self {
            Self::Barrier => CollectiveKind::Barrier,
            Self::Broadcast { root, .. } => CollectiveKind::Broadcast { root },
            Self::Reduce { op, .. } => CollectiveKind::Reduce { op },
        }
    }
}

/// What threads that meet must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CollectiveKind {
    /// They wait for each other.
    Barrier,
    /// They get the value of one.
    Broadcast {
        /// Its rank.
        root: u32,
    },
    /// They get the combination of their values.
    Reduce {
        /// How.
        op: ReduceOp,
    },
}

impl fmt::Display for CollectiveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Barrier => f.write_str("a barrier"),
            Self::Broadcast { root } => write!(f, "a broadcast of rank {root}"),
            Self::Reduce { op } => write!(f, "a reduction ({op:?})"),
        }
    }
}

/// What follows the activation of a handler that ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leaving {
    /// It runs again when it is triggered.
    Reschedule,
    /// It runs again at once.
    Retrigger,
    /// It never runs again.
    Finish,
}

/// Which thread it is that runs on a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The name of its kernel, call or job.
    pub kernel: &'static str,
    /// The number of its launch, or of this activation of its handler, in order of submission.
    pub launch: u64,
    /// Its handler, if it is an activation of one.
    pub handler: Option<HandlerHandle>,
    /// Whether it can wait for its handler to be triggered again.
    pub continuable: bool,
}

/// The functions of a device. Each takes the device's own pointer of the unit first.
///
/// Every function but `bind`, `counter`, `who`, `local_storage` and `message_enabled` is a *safe point*: the thread may be
/// switched there, or stopped by unwinding its stack.
#[derive(Debug)]
#[expect(
    clippy::type_complexity,
    reason = "a table of functions is spelled out once, here"
)]
pub struct PortVtable {
    /// Checks that `len` bytes at `addr` belong to one live allocation of the process with these rights and that
    /// `addr` is a multiple of `align`, and returns where they are in native memory. They stay mapped while the
    /// launch runs.
    pub bind: unsafe fn(
        NonNull<()>,
        addr: u64,
        len: u64,
        align: u32,
        Rights,
    ) -> Result<NonNull<u8>, FaultKind>,
    /// Makes the process fatal and ends this thread.
    pub fault: unsafe fn(NonNull<()>, FaultKind, &'static Location<'static>) -> !,
    /// Lets other threads run if there are any that can.
    pub safe_point: unsafe fn(NonNull<()>),
    /// A safe point that a thread comes to by its reads: after how many more it comes to the next, 1 to
    /// [`READS_PER_SAFE_POINT`].
    pub out_of_reads: unsafe fn(NonNull<()>) -> u32,
    /// Goes to the end of the line.
    pub yield_now: unsafe fn(NonNull<()>),
    /// The value of an event.
    pub event_get: unsafe fn(NonNull<()>, EventHandle) -> Result<u64, EventError>,
    /// Updates an event; the previous value.
    pub event_update: unsafe fn(NonNull<()>, EventHandle, Update) -> Result<u64, EventError>,
    /// Waits until a condition of an event holds, or for so many nanoseconds; the value that satisfied it.
    pub event_wait: unsafe fn(
        NonNull<()>,
        EventHandle,
        Condition,
        timeout: Option<u64>,
    ) -> Result<u64, EventError>,
    /// Meets the other threads of the launch. If they do something else it is a fault.
    pub collective: unsafe fn(NonNull<()>, Collective, &'static Location<'static>) -> u64,
    /// Hands a formatted message to the host.
    pub log: unsafe fn(NonNull<()>, LogLevel, &str, &'static Location<'static>),
    /// Orders accesses.
    pub fence: unsafe fn(NonNull<()>, Space, pred: Ops, succ: Ops),
    /// Reads a counter.
    pub counter: unsafe fn(NonNull<()>, Counter) -> u64,
    /// Rings a doorbell through the outbox: the NIC looks at the queue behind it. A handle that refers to nothing is
    /// answered with `false`.
    pub doorbell: unsafe fn(NonNull<()>, Handle) -> bool,
    /// Reads what the NIC behind a doorbell has counted of its connection. A handle that refers to nothing is answered with
    /// `false`.
    pub nic_counters: unsafe fn(NonNull<()>, Handle, &[NicCounter], &mut [u64]) -> bool,
    /// Says something about a queue, named by its number, through an outbox.
    pub ring: unsafe fn(NonNull<()>, OutboxHandle, Ring) -> Result<(), RingError>,
    /// Ends this thread by unwinding its stack, and says what follows if it is the activation of a handler. In a call it is a
    /// fault: nobody would have its result.
    pub leave: unsafe fn(NonNull<()>, Leaving, &'static Location<'static>) -> !,
    /// The address of the handler's local storage; 0 in a launch.
    pub local_storage: unsafe fn(NonNull<()>) -> u64,
    /// Which thread this is.
    pub who: unsafe fn(NonNull<()>) -> Who,
    /// Waits until the handler is triggered again; `false` at once if it is none that can go on where it was.
    pub await_trigger: unsafe fn(NonNull<()>) -> bool,
    /// Forgets what is cached of the line of a window that this address lies in, with what was stored to it.
    pub data_ignore: unsafe fn(NonNull<()>, addr: u64),
    /// Triggers a handler of the process. A handle that refers to none is answered with `false`.
    pub trigger: unsafe fn(NonNull<()>, Handle) -> bool,
    /// The device address of a global variable of the process; what is wrong if there is no memory for it.
    pub global: unsafe fn(NonNull<()>, &'static dyn AnyGlobal) -> Result<u64, FaultKind>,
    /// Whether a message of this level would reach a stream now. Asked before a message is formatted.
    pub message_enabled: unsafe fn(NonNull<()>, StreamHandle, LogLevel) -> bool,
    /// Hands a formatted message to a stream, or to all; `false` if the handle refers to none.
    pub message:
        unsafe fn(NonNull<()>, StreamHandle, LogLevel, &str, &'static Location<'static>) -> bool,
    /// Adds a record to the trace of the process.
    pub trace: unsafe fn(NonNull<()>, [u64; 5]),
    /// Sends what the trace of the process has buffered.
    pub trace_flush: unsafe fn(NonNull<()>),
}

/// A thread's reference to the unit it runs on. Having one proves that the unit is started and runs this thread.
#[derive(Clone, Copy, Debug)]
pub struct UnitRef<'t> {
    vtable: &'static PortVtable,
    unit: NonNull<()>,
    rank: u32,
    threads: u32,
    reads: u32,
    of: PhantomData<(&'t (), *mut ())>,
}

impl<'t> UnitRef<'t> {
    /// For devices only.
    ///
    /// # Safety
    /// `unit` must be valid for the functions of `vtable`, called from the stack of the thread it stands for, for as
    /// long as `'t`.
    pub const unsafe fn new(
        vtable: &'static PortVtable,
        unit: NonNull<()>,
        rank: u32,
        threads: u32,
    ) -> Self {
        Self {
            vtable,
            unit,
            rank,
            threads,
            reads: READS_PER_SAFE_POINT,
            of: PhantomData,
        }
    }

    /// The same with its first safe point after so many reads, at least 1.
    #[inline]
    pub const fn with_reads(self, reads: u32) -> Self {
        Self { reads, ..self }
    }

    /// After how many reads the thread comes to its first safe point.
    #[inline]
    pub const fn reads(self) -> u32 {
        self.reads
    }

    /// The number of this thread in its launch, from 0.
    #[inline]
    pub const fn rank(self) -> u32 {
        self.rank
    }

    /// How many threads the launch has.
    #[inline]
    pub const fn threads(self) -> u32 {
        self.threads
    }

    /// Binds `len` bytes at `addr` for checked access; see [`PortVtable::bind`]. The cell may be used while the thread
    /// runs.
    ///
    /// # Errors
    /// Out of range, unaligned, without rights.
    pub fn bind_cell(
        self,
        addr: u64,
        len: usize,
        align: u32,
        rights: Rights,
    ) -> Result<Cell, FaultKind> {
        // SAFETY: the creator of this reference promised that the unit is valid for the table's functions.
        let base = unsafe { (self.vtable.bind)(self.unit, addr, len as u64, align, rights) }?;
        // SAFETY: the device has checked range and alignment and keeps the range mapped while the launch runs.
        Ok(unsafe { Cell::new(base.as_ptr(), len) })
    }
}

macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $t:ty),*) $(-> $ret:ty)?;)*) => {
        impl UnitRef<'_> {$(
            $(#[$doc])*
            #[inline]
            pub fn $name(self, $($arg: $t),*) $(-> $ret)? {
                // SAFETY: the creator of this reference promised that the unit is valid for the table's functions.
                unsafe { (self.vtable.$name)(self.unit, $($arg),*) }
            }
        )*}
    };
}

forward! {
    /// See [`PortVtable::fault`].
    fault(kind: FaultKind, at: &'static Location<'static>) -> !;
    /// See [`PortVtable::safe_point`].
    safe_point();
    /// See [`PortVtable::out_of_reads`].
    out_of_reads() -> u32;
    /// See [`PortVtable::yield_now`].
    yield_now();
    /// See [`PortVtable::event_get`].
    event_get(event: EventHandle) -> Result<u64, EventError>;
    /// See [`PortVtable::event_update`].
    event_update(event: EventHandle, update: Update) -> Result<u64, EventError>;
    /// See [`PortVtable::event_wait`].
    event_wait(event: EventHandle, condition: Condition, timeout: Option<u64>) -> Result<u64, EventError>;
    /// See [`PortVtable::collective`].
    collective(what: Collective, at: &'static Location<'static>) -> u64;
    /// See [`PortVtable::log`].
    log(level: LogLevel, message: &str, at: &'static Location<'static>);
    /// See [`PortVtable::fence`].
    fence(space: Space, pred: Ops, succ: Ops);
    /// See [`PortVtable::counter`].
    counter(which: Counter) -> u64;
    /// See [`PortVtable::doorbell`].
    doorbell(queue: Handle) -> bool;
    /// See [`PortVtable::nic_counters`].
    nic_counters(queue: Handle, which: &[NicCounter], values: &mut [u64]) -> bool;
    /// See [`PortVtable::ring`].
    ring(outbox: OutboxHandle, ring: Ring) -> Result<(), RingError>;
    /// See [`PortVtable::leave`].
    leave(how: Leaving, at: &'static Location<'static>) -> !;
    /// See [`PortVtable::local_storage`].
    local_storage() -> u64;
    /// See [`PortVtable::global`].
    global(global: &'static dyn AnyGlobal) -> Result<u64, FaultKind>;
    /// See [`PortVtable::who`].
    who() -> Who;
    /// See [`PortVtable::await_trigger`].
    await_trigger() -> bool;
    /// See [`PortVtable::data_ignore`].
    data_ignore(addr: u64);
    /// See [`PortVtable::trigger`].
    trigger(handler: Handle) -> bool;
    /// See [`PortVtable::message_enabled`].
    message_enabled(stream: StreamHandle, level: LogLevel) -> bool;
    /// See [`PortVtable::message`].
    message(stream: StreamHandle, level: LogLevel, text: &str, at: &'static Location<'static>) -> bool;
    /// See [`PortVtable::trace`].
    trace(args: [u64; 5]);
    /// See [`PortVtable::trace_flush`].
    trace_flush();
}
