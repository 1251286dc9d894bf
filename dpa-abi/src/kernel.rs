//! Entries of kernels and calls.

use crate::arg::{IntoArgs, KernelArgs};
use crate::pod::Pod;
use crate::port::UnitRef;

/// What may be done with the threads of a kernel: it follows from what is in the reach of the kernel's code.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    movable: fn() -> bool,
    interruptible: fn() -> bool,
}

impl Reach {
    /// Nothing is known of it, so its threads stay where they are, and are not interrupted.
    pub const UNKNOWN: Self = Self {
        movable: || false,
        interruptible: || false,
    };

    /// As these two say, which are asked again and again.
    ///
    /// # Safety
    /// If `movable` says so, no value that is bound to an OS thread lives across a device call of the kernel. If
    /// `interruptible` says so, nothing that the kernel calls rests on being the only one on its OS thread between two.
    pub const unsafe fn new(movable: fn() -> bool, interruptible: fn() -> bool) -> Self {
        Self {
            movable,
            interruptible,
        }
    }

    /// Whether a thread may go on on another worker after a device call. It may where no thread-bound value can live across
    /// one, that is where the standard library is not linked into the kernel's crate.
    pub fn is_movable(self) -> bool {
        (self.movable)()
    }

    /// Whether a thread may be interrupted between two device calls, for others to run on the same OS thread. It may where
    /// nothing in reach keeps something for each OS thread: neither the standard library nor an allocator.
    pub fn is_interruptible(self) -> bool {
        (self.interruptible)()
    }
}

/// What makes an entry: somebody has promised that it holds what is asked for.
#[derive(Debug)]
pub struct Promise(());

impl Promise {
    /// Promises it of the entry that this becomes part of.
    ///
    /// # Safety
    /// What [`Reach::new`] asks for holds of its `reach` and its `run`. `run` keeps nothing that it gets from the unit, and no cell
    /// that it binds, beyond its return.
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

/// What a device needs to know to run a kernel. Made by `#[dpa_kernel]`, one `static` per kernel. Nobody else makes one without
/// `unsafe`:
///
/// ```compile_fail,E0063
/// use dpa_abi::kernel::{KernelEntry, Reach};
///
/// static ENTRY: KernelEntry = KernelEntry {
///     name: "kernel",
///     file: file!(),
///     line: line!(),
///     arg_bytes: 0,
///     reach: Reach::UNKNOWN,
///     run: |_, _| (),
/// };
/// ```
#[derive(Debug)]
pub struct KernelEntry {
    /// The function's name.
    pub name: &'static str,
    /// The source file it stands in.
    pub file: &'static str,
    /// The line it starts at.
    pub line: u32,
    /// Bytes of its packed arguments.
    pub arg_bytes: usize,
    /// What may be done with its threads.
    pub reach: Reach,
    /// Unpacks the arguments, binds them and runs the kernel once, as one thread.
    pub run: fn(UnitRef<'_>, args: &[u8]),
    /// That this may be run.
    pub promise: Promise,
}

/// What a device needs to know to run a call. Made by `#[dpa_rpc]`.
#[derive(Debug)]
pub struct RpcEntry {
    /// Name, place, arguments; its `run` is never used.
    pub name: &'static str,
    /// The source file it stands in.
    pub file: &'static str,
    /// The line it starts at.
    pub line: u32,
    /// Bytes of its packed arguments.
    pub arg_bytes: usize,
    /// What may be done with its thread.
    pub reach: Reach,
    /// Runs the call and returns its result as 64 bits.
    pub run: fn(UnitRef<'_>, args: &[u8]) -> u64,
    /// That this may be run.
    pub promise: Promise,
}

/// A kernel that can be launched: a value of the type that `#[dpa_kernel]` makes of a function.
///
/// # Safety
/// What [`Reach::new`] asks for holds of its entry. `#[dpa_kernel]` takes care of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a kernel",
    note = "write #[dpa_kernel] above the function"
)]
pub unsafe trait Kernel: Copy + Send + 'static {
    /// Its arguments.
    type Args: KernelArgs;
    /// The state a launch of it begins in: [`Complete`](crate::arg) for kernels without arguments.
    type Given: ArgsState;

    /// Its entry.
    fn entry(self) -> &'static KernelEntry;
}

/// A function that can be called on the device: a value of the type that `#[dpa_rpc]` makes of a function.
///
/// # Safety
/// As for [`Kernel`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called on the device",
    note = "write #[dpa_rpc] above the function"
)]
pub unsafe trait Rpc: Copy + Send + 'static {
    /// Its arguments.
    type Args: KernelArgs;
    /// What it returns: a plain value of at most eight bytes.
    type Output: Pod;

    /// Its entry.
    fn entry(self) -> &'static RpcEntry;
}

/// Whether a launch has its arguments.
pub trait ArgsState: private::Sealed {}

/// The launch still needs `.args(..)`.
#[derive(Debug)]
pub enum NeedsArgs {}
/// The launch has its arguments.
#[derive(Debug)]
pub enum HasArgs {}

impl ArgsState for NeedsArgs {}
impl ArgsState for HasArgs {}

mod private {
    pub trait Sealed {}
    impl Sealed for super::NeedsArgs {}
    impl Sealed for super::HasArgs {}
}

/// The packed arguments a host value makes for a kernel's arguments.
pub type WireOf<A> = <A as KernelArgs>::Wire;
/// What is kept alive for a host value that makes a kernel's arguments.
pub type KeptOf<I, A> = <I as IntoArgs<A>>::Kept;

/// A call's result as the 64 bits that travel.
pub fn result_to_bits<T: Pod>(value: T) -> u64 {
    const {
        assert!(
            T::SIZE <= 8,
            "a call returns at most 8 bytes, and a broadcast takes no more"
        );
    };
    let mut bytes = [0u8; 8];
    value.store(&mut crate::pod::Bytes(&mut bytes[..]), 0);
    u64::from_le_bytes(bytes)
}

/// A call's result from the 64 bits that travelled.
pub fn result_from_bits<T: Pod>(bits: u64) -> T {
    const {
        assert!(
            T::SIZE <= 8,
            "a call returns at most 8 bytes, and a broadcast takes no more"
        );
    };
    T::load(&crate::pod::Bytes(bits.to_le_bytes()), 0)
}
