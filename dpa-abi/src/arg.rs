//! Arguments of kernels and calls: what the host passes, what travels, what the kernel gets.
//!
//! Three types belong to each argument: the one in the kernel's signature (a [`KernelArg`], a bound view or a plain
//! value), its plain [`KernelArg::Wire`] form that travels, and what the host hands over (an [`IntoArg`], a reference
//! to a buffer or the plain value itself). What must stay alive until the launch is over travels beside the wire form
//! as [`IntoArg::Kept`].

use crate::pod::Pod;

/// Bytes that the packed arguments of one launch or call may take.
pub const MAX_ARG_BYTES: usize = 256;

/// A type that can stand in a kernel's signature, named with the lifetime `'static`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a kernel",
    note = "arguments are plain values (integers, addresses, #[derive(Pod)] structs) and views such as DevSlice<u32>, \
            AtomicSlice<u64>, DevEvent"
)]
pub trait KernelArg {
    /// The plain form in which it travels.
    type Wire: Pod;
}

impl<T: Pod> KernelArg for T {
    type Wire = T;
}

/// What the host may hand over for a kernel's argument of type `A`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be passed where the kernel takes `{A}`",
    label = "the kernel takes `{A}` here",
    note = "pass `&DeviceBuffer<T>` for a slice, `&SyncEvent` for an event, and a value of the same type for a plain one"
)]
pub trait IntoArg<A: KernelArg> {
    /// What must stay alive until the launch is over; `()` for plain values.
    type Kept: Send + 'static;

    /// The wire form, and what to keep.
    fn into_arg(self) -> (A::Wire, Self::Kept);
}

impl<T: Pod> IntoArg<T> for T {
    type Kept = ();
    fn into_arg(self) -> (T, ()) {
        (self, ())
    }
}

/// All arguments of a kernel, as named by its signature.
pub trait KernelArgs {
    /// The packed form; at most [`MAX_ARG_BYTES`].
    type Wire: Pod;
}

/// What the host may hand over for all the arguments of a kernel: the generated struct of the kernel's name, or `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not fit the arguments of this kernel",
    note = "a kernel `count` takes `CountArgs {{ .. }}`; check the type of each field"
)]
pub trait IntoArgs<A: KernelArgs> {
    /// What must stay alive until the launch is over.
    type Kept: Send + 'static;

    /// The packed form, and what to keep.
    fn into_args(self) -> (A::Wire, Self::Kept);
}

impl KernelArgs for () {
    type Wire = ();
}

impl IntoArgs<()> for () {
    type Kept = ();
    fn into_args(self) -> ((), ()) {
        ((), ())
    }
}
