//! A device of one thread: memory, one event, and a record of what was asked of it.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::ptr::NonNull;

use dpa_abi::port::{Collective, Counter, Leaving, Ops, READS_PER_SAFE_POINT, Space, Who};
use dpa_abi::queue::NicCounter;
use dpa_abi::queue::bell::{OutboxHandle, Ring, RingError};
use dpa_abi::{
    Condition, EventError, EventHandle, FaultKind, HEAP_BASE, Handle, LogLevel, PortVtable, Rights,
    StreamHandle, UnitRef, Update,
};

/// The handle of its event.
pub const EVENT: EventHandle = EventHandle(Handle {
    index: 7,
    generation: 1,
});

/// What others do meanwhile.
type Meanwhile = RefCell<Option<Box<dyn FnOnce(&Device)>>>;

/// A fault as it was reported.
#[derive(Debug, PartialEq)]
pub struct Fault {
    pub kind: FaultKind,
    pub file: String,
    pub line: u32,
}

#[derive(Default)]
pub struct Device {
    memory: RefCell<Vec<u64>>,
    pub event: RefCell<u64>,
    pub met: RefCell<Vec<Collective>>,
    pub logged: RefCell<Vec<(LogLevel, String, u32)>>,
    /// Messages to streams other than the default one.
    pub printed: RefCell<Vec<(StreamHandle, LogLevel, String)>>,
    /// Records; `None` where they were flushed.
    pub traced: RefCell<Vec<Option<[u64; 5]>>>,
    /// At the next safe point; at the next wait for an event.
    pub at_safe_point: Meanwhile,
    pub at_wait: Meanwhile,
    /// How often its doorbell was rung.
    pub rung: Cell<u32>,
}

impl Device {
    /// A device whose heap has these bytes, padded to a multiple of 8.
    pub fn with_memory(bytes: &[u8]) -> Self {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        Self {
            memory: RefCell::new(words.collect()),
            ..Self::default()
        }
    }

    /// What is in its heap.
    pub fn bytes(&self) -> Vec<u8> {
        self.memory
            .borrow()
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    /// A word of its heap.
    pub fn word(&self, at: usize) -> u64 {
        self.memory.borrow()[at]
    }

    /// Words of its heap are stored.
    pub fn set_words(&self, at: usize, words: &[u64]) {
        self.memory.borrow_mut()[at..at + words.len()].copy_from_slice(words);
    }

    fn others_go_on(&self, meanwhile: &Meanwhile) {
        let what = meanwhile.borrow_mut().take();
        what.into_iter().for_each(|what| what(self));
    }

    /// Runs `f` as the thread of this rank; its fault if it had one.
    pub fn run<R>(
        &self,
        rank: u32,
        threads: u32,
        f: impl FnOnce(UnitRef<'_>) -> R,
    ) -> Result<R, Fault> {
        // SAFETY: the table's functions take this device's pointer, and it lives longer than the call.
        let unit = unsafe { UnitRef::new(&TABLE, NonNull::from(self).cast(), rank, threads) };
        catch_unwind(AssertUnwindSafe(|| f(unit))).map_err(|payload| match payload.downcast() {
            Ok(fault) => *fault,
            Err(other) => resume_unwind(other),
        })
    }
}

static TABLE: PortVtable = PortVtable {
    bind,
    fault,
    safe_point,
    out_of_reads,
    yield_now: nothing,
    event_get,
    event_update,
    event_wait,
    collective,
    log,
    fence,
    counter,
    doorbell: ring_doorbell,
    nic_counters,
    ring,
    leave,
    local_storage,
    who,
    await_trigger,
    data_ignore,
    trigger,
    global,
    message_enabled,
    message,
    trace,
    trace_flush,
};

/// # Safety
/// `unit` is the pointer made in [`Device::run`], which is still running.
unsafe fn device<'a>(unit: NonNull<()>) -> &'a Device {
    // SAFETY: the caller promises it.
    unsafe { unit.cast::<Device>().as_ref() }
}

unsafe fn bind(
    unit: NonNull<()>,
    addr: u64,
    len: u64,
    align: u32,
    _: Rights,
) -> Result<NonNull<u8>, FaultKind> {
    // SAFETY: called through the table.
    let mut memory = unsafe { device(unit) }.memory.borrow_mut();
    let offset = addr.wrapping_sub(HEAP_BASE);
    if offset
        .checked_add(len)
        .is_none_or(|end| end > 8 * memory.len() as u64)
    {
        return Err(FaultKind::OutOfRange { addr, len });
    }
    if !addr.is_multiple_of(align.into()) {
        return Err(FaultKind::Unaligned { addr, align });
    }
    let base = memory
        .as_mut_ptr()
        .cast::<u8>()
        .wrapping_add(offset as usize);
    NonNull::new(base).ok_or(FaultKind::OutOfRange { addr, len })
}

unsafe fn fault(_: NonNull<()>, kind: FaultKind, at: &'static Location<'static>) -> ! {
    resume_unwind(Box::new(Fault {
        kind,
        file: at.file().into(),
        line: at.line(),
    }))
}

unsafe fn safe_point(unit: NonNull<()>) {
    // SAFETY: called through the table.
    let device = unsafe { device(unit) };
    device.others_go_on(&device.at_safe_point);
}

unsafe fn nothing(_: NonNull<()>) {}

unsafe fn out_of_reads(unit: NonNull<()>) -> u32 {
    // SAFETY: as the table's users promise.
    unsafe { safe_point(unit) };
    READS_PER_SAFE_POINT
}

fn known(event: EventHandle) -> Result<(), EventError> {
    (event == EVENT).then_some(()).ok_or(EventError::Stale)
}

unsafe fn event_get(unit: NonNull<()>, event: EventHandle) -> Result<u64, EventError> {
    // SAFETY: called through the table.
    known(event).map(|()| *unsafe { device(unit) }.event.borrow())
}

unsafe fn event_update(
    unit: NonNull<()>,
    event: EventHandle,
    update: Update,
) -> Result<u64, EventError> {
    known(event)?;
    // SAFETY: called through the table.
    let mut value = unsafe { device(unit) }.event.borrow_mut();
    let previous = *value;
    *value = update.apply(previous);
    Ok(previous)
}

unsafe fn event_wait(
    unit: NonNull<()>,
    event: EventHandle,
    condition: Condition,
    _: Option<u64>,
) -> Result<u64, EventError> {
    // SAFETY: called through the table.
    let device = unsafe { device(unit) };
    device.others_go_on(&device.at_wait);
    // SAFETY: called through the table.
    let value = unsafe { event_get(unit, event) }?;
    if condition.holds(value) {
        Ok(value)
    } else {
        Err(EventError::TimedOut { value })
    }
}

unsafe fn collective(unit: NonNull<()>, what: Collective, _: &'static Location<'static>) -> u64 {
    // SAFETY: called through the table.
    unsafe { device(unit) }.met.borrow_mut().push(what);
    match what {
        Collective::Barrier => 0,
        Collective::Broadcast { value, .. } | Collective::Reduce { value, .. } => value,
    }
}

unsafe fn log(unit: NonNull<()>, level: LogLevel, message: &str, at: &'static Location<'static>) {
    // SAFETY: called through the table.
    let logged = &unsafe { device(unit) }.logged;
    logged.borrow_mut().push((level, message.into(), at.line()));
}

unsafe fn fence(_: NonNull<()>, _: Space, _: Ops, _: Ops) {}

unsafe fn counter(_: NonNull<()>, which: Counter) -> u64 {
    match which {
        Counter::Time => 1_500_000_000,
        Counter::Cycles | Counter::Retired => 0,
    }
}

unsafe fn ring_doorbell(unit: NonNull<()>, _: Handle) -> bool {
    // SAFETY: called through the table.
    let rung = &unsafe { device(unit) }.rung;
    rung.set(rung.get() + 1);
    true
}

unsafe fn trigger(_: NonNull<()>, _: Handle) -> bool {
    false
}

unsafe fn nic_counters(_: NonNull<()>, _: Handle, _: &[NicCounter], _: &mut [u64]) -> bool {
    false
}

unsafe fn ring(_: NonNull<()>, _: OutboxHandle, _: Ring) -> Result<(), RingError> {
    Err(RingError::NoOutbox)
}

unsafe fn leave(_: NonNull<()>, how: Leaving, _: &'static Location<'static>) -> ! {
    panic!("no handlers here: {how:?}")
}

unsafe fn who(_: NonNull<()>) -> Who {
    Who {
        kernel: "fake",
        launch: 0,
        handler: None,
        continuable: false,
    }
}

unsafe fn await_trigger(_: NonNull<()>) -> bool {
    false
}

unsafe fn data_ignore(_: NonNull<()>, _: u64) {}

unsafe fn local_storage(_: NonNull<()>) -> u64 {
    0
}

/// Debug messages pass on the default stream only.
unsafe fn message_enabled(_: NonNull<()>, stream: StreamHandle, level: LogLevel) -> bool {
    stream == StreamHandle::DEFAULT || level != LogLevel::Debug
}

unsafe fn message(
    unit: NonNull<()>,
    stream: StreamHandle,
    level: LogLevel,
    text: &str,
    _: &'static Location<'static>,
) -> bool {
    // SAFETY: called through the table.
    let printed = &unsafe { device(unit) }.printed;
    printed.borrow_mut().push((stream, level, text.into()));
    stream.0.generation == 1
}

unsafe fn trace(unit: NonNull<()>, args: [u64; 5]) {
    // SAFETY: called through the table.
    unsafe { device(unit) }.traced.borrow_mut().push(Some(args));
}

unsafe fn trace_flush(unit: NonNull<()>) {
    // SAFETY: called through the table.
    unsafe { device(unit) }.traced.borrow_mut().push(None);
}

unsafe fn global(
    _: NonNull<()>,
    global: &'static dyn dpa_abi::global::AnyGlobal,
) -> Result<u64, FaultKind> {
    Err(FaultKind::OutOfMemory {
        asked: global.size() as u64,
        free: 0,
        largest: 0,
    })
}
