//! The macros of kernels: [`macro@dpa_kernel`], [`macro@dpa_rpc`], [`macro@dpa_global`], the derives [`macro@Pod`] and
//! [`macro@Arg`]; and [`macro@dpa_test`], for tests of them.
//!
//! Use them through `doca_dpa_dev`, which re-exports them and which everything they generate refers to (`dpa_test`: `doca_dpa`). Nothing they
//! generate needs `unsafe` in the user's crate: a kernel crate can be `#![forbid(unsafe_code)]`.
#![forbid(unsafe_code)]

use proc_macro::TokenStream;

mod arg;
mod args;
mod fields;
mod global;
mod kernel;
mod lifetimes;
mod pod;
mod refuse;
mod rpc;
mod signature;
mod test;

/// Makes a kernel of a function.
///
/// ```text
/// #[dpa_kernel]
/// pub fn count(thread: &Thread, samples: DevSlice<u32>, bins: AtomicSlice<u64>) { .. }
/// ```
///
/// makes the value `count`, which a launch takes, and the struct `CountArgs { samples, bins }` with the fields that the
/// host fills in (`&DeviceBuffer<u32>` for the first one here). A kernel without arguments has no such struct.
///
/// The first parameter is `&Thread`; every other one is an argument: a plain value (`Pod`), a view, an event, or a
/// struct with `#[derive(Arg)]`. Views of `doca_dpa_dev` may be written without their lifetime, but for those of `raw`: by its name
/// alone a type is taken for one, so a type of your own needs another name. Any other type that has a lifetime needs it written, as
/// `Job<'_>`. An argument has no `#[cfg]`, nor has the thread.
///
/// Doc comments, `#[deprecated]` and `#[cfg]` go to the value; all other attributes stay on the function.
///
/// Like a unit struct, which it is, a kernel's name cannot be the name of a local variable where it is in scope, nor of
/// a module beside it.
#[doc(alias = "__dpa_global__")]
#[proc_macro_attribute]
pub fn dpa_kernel(attr: TokenStream, item: TokenStream) -> TokenStream {
    refuse::answer(kernel::expand(attr.into(), item.into()))
}

/// Makes a function that the host can call on the device. Like [`macro@dpa_kernel`], but the function returns a plain
/// value of at most eight bytes, and runs as one thread.
#[doc(alias = "__dpa_rpc__")]
#[proc_macro_attribute]
pub fn dpa_rpc(attr: TokenStream, item: TokenStream) -> TokenStream {
    refuse::answer(rpc::expand(attr.into(), item.into()))
}

/// Makes a static a global variable of the device: every process has one of its own, which begins with this value.
///
/// ```text
/// #[dpa_global]
/// pub static HITS: Global<u64> = Global::new(0);
/// ```
#[proc_macro_attribute]
pub fn dpa_global(attr: TokenStream, item: TokenStream) -> TokenStream {
    refuse::answer(global::expand(attr.into(), item.into()))
}

/// Makes a test of a host program: it is simulated at many seeds, in virtual time, kernels and network included.
///
/// ```text
/// #[dpa_test(seeds = 1000)]
/// async fn nothing_is_lost(dpa: Dpa) -> Result<(), Error> { .. }
/// ```
///
/// Options: `seeds`, how many (default 100); `network`, a `NetworkSpec`; `mishaps`, what else goes wrong; `device`, a `Builder`; `steps`, the most of one run. A failure prints the
/// seed, what happened in that run, and the command that replays it. See `doca_dpa::testing`.
#[proc_macro_attribute]
pub fn dpa_test(attr: TokenStream, item: TokenStream) -> TokenStream {
    refuse::answer(test::expand(attr.into(), item.into()))
}

/// Makes a struct a plain value: each field plain, laid out as C does (each field at a multiple of its alignment, the
/// size a multiple of the largest), little-endian. The struct must be `Copy`, and neither `repr(packed)` nor `repr(align(..))`.
#[proc_macro_derive(Pod)]
pub fn derive_pod(item: TokenStream) -> TokenStream {
    refuse::answer(pod::expand(item.into()))
}

/// Makes a struct of arguments an argument itself.
///
/// For `struct Job<'t> { samples: DevSlice<'t, u32>, n: u32 }` it makes `JobArg { samples, n }`, which the host fills in
/// and passes where a kernel takes `Job<'_>`. What its fields refer to is kept alive, too.
#[proc_macro_derive(Arg)]
pub fn derive_arg(item: TokenStream) -> TokenStream {
    refuse::answer(arg::expand(item.into()))
}
