//! What the macros of `dpa-macros` refer to. Not part of the interface.

use core::any::TypeId;
use core::panic::Location;

pub use dpa_abi::arg::{IntoArg, IntoArgs, KernelArg, KernelArgs, MAX_ARG_BYTES};
pub use dpa_abi::kernel::{
    HasArgs, Kernel, KernelEntry, NeedsArgs, Promise, Reach, Rpc, RpcEntry, result_to_bits,
};
pub use dpa_abi::pod::{Load, Store, align_up, max};
pub use dpa_abi::{FaultKind, Pod, UnitRef};
pub use flexio_dev::context::{BindArg, ThreadContext};

pub use crate::log::log;
pub use crate::thread::Thread;

/// The packed arguments as their wire form.
#[inline]
pub fn unpack<W: Pod>(bytes: &[u8]) -> W {
    W::load(&dpa_abi::pod::Bytes(bytes), 0)
}

/// Whether a value takes at most so many bytes.
pub const fn fits<T: Pod>(limit: usize) -> bool {
    T::SIZE <= limit
}

/// Binds an argument; one that cannot be bound is a fault at the kernel's place.
#[inline]
pub fn bind<'t, A: BindArg<'t>>(
    wire: A::Wire,
    thread: &'t ThreadContext<'t>,
    at: &'static Location<'static>,
) -> A {
    match A::bind_arg(wire, thread) {
        Ok(argument) => argument,
        Err(kind) => fault_at(thread, kind, at),
    }
}

#[cold]
fn fault_at(thread: &ThreadContext<'_>, kind: FaultKind, at: &'static Location<'static>) -> ! {
    thread.fault_at(kind, at)
}

/// The answer of [`Probe`].
#[derive(Debug)]
pub struct NoStd;

/// The other answer of [`Probe`].
#[derive(Debug)]
pub struct NoAlloc;

/// Finds out whether the standard library, or `alloc`, is in the reach of the crate that asks. `f64::sin` is a method that only
/// the standard library gives `f64`, and `str::to_lowercase` one that only `alloc` gives `str`. Where it is linked, `x.sin()` is
/// that method, because methods of the type itself come first; where it is not, `x.sin()` is this one.
pub trait Probe {
    /// Stands in for the method of the standard library.
    fn sin(&self) -> NoStd {
        NoStd
    }

    /// Stands in for the method of `alloc`.
    fn to_lowercase(&self) -> NoAlloc {
        NoAlloc
    }
}

impl Probe for f64 {}

impl Probe for str {}

/// What `x.sin()` can be.
pub trait Answer {
    /// Whether a thread of the kernel may go on on another OS thread.
    const MOVABLE: bool;
}

impl Answer for f64 {
    const MOVABLE: bool = false;
}

impl Answer for NoStd {
    const MOVABLE: bool = true;
}

/// Whether a thread of the kernel may go on on another OS thread.
pub fn movable<A: Answer>(_: A) -> bool {
    A::MOVABLE
}

/// Whether `ask`, which makes its text small by [`Probe`], does so without `alloc`. It is not called: an interruption asks.
pub fn without_alloc<A: 'static>(_ask: fn(&'static str) -> A) -> bool {
    TypeId::of::<A>() == TypeId::of::<NoAlloc>()
}
