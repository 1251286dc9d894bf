//! What a host program hands over as arguments: references to buffers and events, which are kept alive until the launch
//! is over.
//!
//! Device addresses mean something in their own context only, and equal ones are used in each. So while the arguments of
//! a launch are packed, each reference among them says which context it belongs to, and a foreign one is found.

use std::cell::RefCell;

use dpa_abi::access::AtomicNumber;
use dpa_abi::{EventHandle, IntoArg, Pod};
use flexio::{Event, ProcessRef};
use flexio_dev::{AtomicSlice, DevEvent, DevSlice, DevSliceMut, SliceWire};

use crate::buffer::{BufferSlice, DeviceBuffer, Hold};
use crate::event::SyncEvent;
use crate::window::HostWindow;

thread_local! {
    static PACKING: RefCell<Vec<Packing>> = const { RefCell::new(Vec::new()) };
}

/// The packing of one launch's arguments.
struct Packing {
    process: ProcessRef,
    foreign: bool,
}

/// Packs arguments for a launch on `process`; whether any of them belongs to another context.
pub(crate) fn pack<R>(process: &ProcessRef, pack: impl FnOnce() -> R) -> (R, bool) {
    PACKING.with_borrow_mut(|stack| {
        stack.push(Packing {
            process: process.clone(),
            foreign: false,
        });
    });
    let within = Within;
    let packed = pack();
    let foreign = PACKING.with_borrow(|stack| stack.last().is_some_and(|packing| packing.foreign));
    drop(within);
    (packed, foreign)
}

/// Arguments are being packed: that ends with this, also where a panic of theirs ends it.
struct Within;

impl Drop for Within {
    fn drop(&mut self) {
        PACKING.with_borrow_mut(Vec::pop);
    }
}

/// Notes that something among the arguments belongs to this context.
pub(crate) fn belongs_to(process: &ProcessRef) {
    PACKING.with_borrow_mut(|stack| {
        if let Some(packing) = stack.last_mut() {
            packing.foreign |= !packing.process.is(process);
        }
    });
}

impl<T: Pod> BufferSlice<T> {
    fn into_wire(self) -> (SliceWire, Hold) {
        belongs_to(self.hold().process());
        (
            SliceWire {
                addr: self.addr().raw(),
                len: self.len() as u64,
            },
            self.into_hold(),
        )
    }
}

macro_rules! slice_arg {
    ($view:ident, $bound:path) => {
        impl<T: $bound> IntoArg<$view<'static, T>> for BufferSlice<T> {
            type Kept = Hold;
            fn into_arg(self) -> (SliceWire, Hold) {
                self.into_wire()
            }
        }
        impl<T: $bound> IntoArg<$view<'static, T>> for &HostWindow<T> {
            type Kept = Hold;
            fn into_arg(self) -> (SliceWire, Hold) {
                self.all().into_wire()
            }
        }
        impl<T: $bound> IntoArg<$view<'static, T>> for &DeviceBuffer<T> {
            type Kept = Hold;
            fn into_arg(self) -> (SliceWire, Hold) {
                self.all().into_wire()
            }
        }
    };
}

slice_arg!(DevSlice, Pod);
slice_arg!(DevSliceMut, Pod);
slice_arg!(AtomicSlice, AtomicNumber);

/// While the launch is unfinished it counts as a publisher of the event.
impl IntoArg<DevEvent<'static>> for &SyncEvent {
    type Kept = Event;
    fn into_arg(self) -> (EventHandle, Event) {
        belongs_to(self.process());
        (self.handle(), self.event().clone())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use flexio::{Device, DeviceConfig};

    use super::*;

    #[test]
    fn arguments_that_panic_leave_nothing_of_their_packing() {
        let device = Device::open(DeviceConfig::default()).expect("a device");
        let process = device.process().expect("a process");
        let panics = || pack(&process, || resume_unwind(Box::new("no argument")));
        let ended = catch_unwind(AssertUnwindSafe(panics));
        assert!(ended.is_err());
        assert!(PACKING.with_borrow(Vec::is_empty));
        assert_eq!(pack(&process, || belongs_to(&process)), ((), false));
    }
}
