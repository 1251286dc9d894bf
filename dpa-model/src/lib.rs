//! The software device: execution units, scheduler, heap and events of a data-path accelerator, on the machine at hand.
//!
//! The core is a state machine without I/O, in small parts each with its own short lock: the waiters of an event
//! (`sync-event`), the launch ([`launch`]), the scheduler of a partition ([`sched`]), the meeting of a launch's threads
//! ([`meeting`]), the list of idle workers ([`idle`]). Two drivers run it: OS threads in real time ([`threads`]), and
//! one thread with a seed and virtual time ([`seeded`]).
//!
//! Lock order: event waiters, then launch, then scheduler; gates and wakers are collected under a lock and run after
//! it. Under `cfg(dpa_loom)` only the parts that implement a protocol between threads are built, for the models.

#![cfg_attr(
    dpa_loom,
    allow(dead_code, reason = "only the protocols are built for the models")
)]

#[cfg(panic = "abort")]
compile_error!(
    "a kernel that faults or is stopped is unwound, which ends the whole program with `panic = \"abort\"`: \
     take that out of the profile"
);

pub mod activation;
mod anywhere;
pub mod config;
pub mod epoch;
pub mod gate;
pub mod handover;
pub mod idle;
#[cfg(not(dpa_loom))]
mod inbox;
#[cfg(dpa_loom)]
pub mod inbox;
pub mod launch;
pub mod meeting;
pub mod ready;
#[cfg(test)]
mod rig;
pub mod sched;
pub mod stream;
#[cfg(not(dpa_loom))]
mod streams;
pub mod unfinished;

#[cfg(not(dpa_loom))]
mod affinity;
#[cfg(not(dpa_loom))]
mod chunk;
#[cfg(not(dpa_loom))]
mod clock;
#[cfg(not(dpa_loom))]
mod close;
#[cfg(not(dpa_loom))]
pub mod cmdq;
#[cfg(not(dpa_loom))]
mod coherency;
#[cfg(not(dpa_loom))]
pub mod crash;
#[cfg(not(dpa_loom))]
mod device;
#[cfg(not(dpa_loom))]
pub mod diary;
#[cfg(not(dpa_loom))]
mod ending;
#[cfg(not(dpa_loom))]
mod errands;
#[cfg(not(dpa_loom))]
pub mod error_handler;
#[cfg(not(dpa_loom))]
mod event;
#[cfg(not(dpa_loom))]
mod events;
#[cfg(dpa_loom)]
pub mod events;
#[cfg(not(dpa_loom))]
mod fairness;
#[cfg(not(dpa_loom))]
pub mod fault;
#[cfg(not(dpa_loom))]
mod fiber;
mod foreign;
#[cfg(not(dpa_loom))]
mod globals;
#[cfg(not(dpa_loom))]
pub mod handler;
#[cfg(not(dpa_loom))]
mod handles;
#[cfg(not(dpa_loom))]
pub mod heap;
#[cfg(not(dpa_loom))]
mod keeper;
#[cfg(not(dpa_loom))]
pub mod lanes;
pub mod layout;
#[cfg(not(dpa_loom))]
pub mod message;
#[cfg(not(dpa_loom))]
pub mod mishaps;
#[cfg(not(dpa_loom))]
pub mod network;
#[cfg(not(dpa_loom))]
pub mod nic;
#[cfg(not(dpa_loom))]
mod parking;
#[cfg(not(dpa_loom))]
pub mod partition;
#[cfg(not(dpa_loom))]
pub mod placed;
#[cfg(not(dpa_loom))]
mod pool;
#[cfg(not(dpa_loom))]
mod port;
mod prefetch;
#[cfg(not(dpa_loom))]
mod process;
#[cfg(not(dpa_loom))]
mod quota;
#[cfg(not(dpa_loom))]
mod recent;
#[cfg(not(dpa_loom))]
pub mod seeded;
#[cfg(not(dpa_loom))]
mod shared;
#[cfg(not(dpa_loom))]
mod slices;
#[cfg(not(dpa_loom))]
mod stack;
#[cfg(not(dpa_loom))]
mod submit;
#[cfg(not(dpa_loom))]
mod taking;
#[cfg(not(dpa_loom))]
mod tally;
#[cfg(not(dpa_loom))]
pub mod threads;
#[cfg(not(dpa_loom))]
pub mod trace;
#[cfg(not(dpa_loom))]
mod trap;
#[cfg(not(dpa_loom))]
mod turns;
#[cfg(not(dpa_loom))]
mod unit;
#[cfg(not(dpa_loom))]
mod urge;
#[cfg(not(dpa_loom))]
pub mod wakers;
#[cfg(not(dpa_loom))]
pub mod windows;
#[cfg(not(dpa_loom))]
mod worker;

#[cfg(dpa_loom)]
#[path = "nic/bell.rs"]
pub mod bell;
#[cfg(dpa_loom)]
#[path = "unit_model.rs"]
pub mod unit;

#[cfg(not(dpa_loom))]
pub use {
    clock::{Clock, TimerKey},
    close::{CloseReport, Snapshot},
    config::{ConfigError, DeviceConfig},
    device::{Device, OpenError},
    event::{EventLimit, EventRef, EventUseError, HostWait},
    fault::Fault,
    process::{Process, ProcessSpec},
    quota::QuotaExceeded,
    stack::StackError,
    submit::{Spec, SubmitError},
};
