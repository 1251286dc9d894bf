//! What is taken down on the fault path, because it is gone once the process is stopped.

use std::ops::Range;
use std::time::SystemTime;

use super::parts;
use super::stack::StackCopy;
use crate::close::Snapshot;
use crate::process::Process;
use crate::unit::Core;

/// Events whose values a report shows.
pub(crate) const MOST_EVENTS: usize = 256;
/// Threads whose stacks are kept.
pub(crate) const MOST_STACKS: usize = 64;
/// Bytes of stacks that are kept.
const STACK_BYTES: usize = 8 << 20;

/// An event at the time of the fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventValue {
    pub(crate) index: u32,
    pub(crate) value: u64,
    pub(crate) waiters: usize,
}

/// A process at the time of its fault.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) time: SystemTime,
    /// Nanoseconds since the device was opened.
    pub(crate) device_time: u64,
    pub(crate) snapshot: Snapshot,
    /// The first events by index, those that nobody waits for and that are 0 left out.
    pub(crate) events: Vec<EventValue>,
    /// The parts of the heap that were allocated.
    pub(crate) live: Vec<Range<u64>>,
    /// Launches that were parked.
    pub(crate) parked: usize,
    /// The faulted thread first, if there is one, then those that waited.
    pub(crate) stacks: Vec<StackCopy>,
    /// Threads that waited and whose stacks were not kept.
    pub(crate) stacks_left_out: usize,
    stack_bytes: usize,
}

impl Capture {
    pub(crate) fn new(process: &Process, stack: Option<StackCopy>) -> Self {
        Self {
            time: SystemTime::now(),
            device_time: process.device.clock.now(),
            snapshot: process.snapshot(),
            events: events(process),
            live: if process.crash.wants_core() {
                parts::live(&process.heap)
            } else {
                Vec::new()
            },
            parked: 0,
            stack_bytes: stack.as_ref().map_or(0, |stack| stack.bytes.len()),
            stacks: stack.into_iter().collect(),
            stacks_left_out: 0,
        }
    }

    /// Keeps the stack of a thread that waited, if there is room. The caller owns the thread.
    pub(crate) fn add_blocked(&mut self, core: &Core) {
        let bounds = core.stack_bounds();
        let most = bounds
            .end
            .saturating_sub(core.left_at().sp.max(bounds.start)) as usize;
        if self.stacks.len() >= MOST_STACKS || self.stack_bytes + most > STACK_BYTES {
            self.stacks_left_out += 1;
            return;
        }
        let stack = StackCopy::waiting(core);
        self.stack_bytes += stack.bytes.len();
        self.stacks.push(stack);
    }
}

fn events(process: &Process) -> Vec<EventValue> {
    let mut events = Vec::new();
    process.events.each(|index, slot| {
        let (value, waiters) = (slot.event.get(), slot.event.waiters());
        if events.len() < MOST_EVENTS && (value != 0 || waiters > 0) {
            events.push(EventValue {
                index,
                value,
                waiters,
            });
        }
    });
    events
}
