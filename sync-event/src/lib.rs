//! The 64-bit sync event: a counter with waiters.
//!
//! An [`Event`] is a word that any thread may set, add to and read at any time, and a table of those who wait for
//! a [`Condition`] on it. An update opens exactly the waiters whose condition holds for the value it produced, in
//! order of registration, after the lock is released. Nobody waits: an update is one read-modify-write and one
//! load.
//!
//! ```
//! # #[cfg(feature = "std")] {
//! use sync_event::{Condition, Event};
//! let ready = Event::<sync_event::NoGate>::new(0);
//! std::thread::scope(|s| {
//!     s.spawn(|| ready.add(1));
//!     assert_eq!(ready.wait_blocking(Condition::ge(1)), Ok(1));
//! });
//! # }
//! ```
//!
//! The parts: [`waiters`] is the state machine without locks or threads (`no_std`, the only part that is built
//! without the feature `std`); [`event`] puts it behind the word and a short lock; [`wait`] has the futures;
//! `blocking` the waits of a whole thread; [`location`] says who may publish and who may wait.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod location;
pub mod waiters;

#[cfg(feature = "std")]
mod blocking;
#[cfg(feature = "std")]
pub mod event;
#[cfg(feature = "std")]
pub mod gate;
#[cfg(feature = "std")]
mod gates;
#[cfg(feature = "std")]
#[expect(
    unsafe_code,
    reason = "a lock lends what it guards; the only unsafe file of this crate"
)]
#[doc(hidden)]
pub mod lock;
#[cfg(feature = "std")]
mod mutant;
#[cfg(feature = "std")]
mod observer;
#[cfg(feature = "std")]
pub mod sync;
#[cfg(feature = "std")]
mod table;
#[cfg(feature = "std")]
mod tasks;
#[cfg(feature = "std")]
pub mod wait;
#[cfg(feature = "std")]
mod waking;
#[cfg(feature = "std")]
mod woken;

#[cfg(feature = "std")]
pub use blocking::TimedOut;
pub use dpa_abi::{Condition, EventWord, Update};
#[cfg(feature = "std")]
pub use event::{Event, Reached};
#[cfg(feature = "std")]
pub use gate::{CloseReason, Closed, Gate, NoGate, Outcome, Registered};
pub use location::{Location, LocationSet, Locations, LocationsError, NotPublisher, NotSubscriber};
#[cfg(feature = "std")]
pub use observer::Observer;
#[cfg(feature = "std")]
pub use wait::{Wait, WaitOwned};
pub use waiters::WaiterId;
#[cfg(all(feature = "std", not(dpa_loom)))]
pub use waking::discard;
#[cfg(feature = "std")]
pub use waking::wake;
