//! A software RDMA NIC: regions, queue pairs and RoCE v2 as state machines, and the sockets under them.
//!
//! The core does no I/O and has no clock. [`nic::Nic`] owns queue pairs and is told what happens: packets, time,
//! work requests. It says what to do: packets to send, completions, when it wants to be called again. It
//! touches bytes only through [`memory::Memory`], at places that [`region::RegionTable`] has checked.
//!
//! ```text
//!  datagram --> Nic::receive --> QueuePair --> Responder --> Memory, receives      --> completions
//!                                         \--> Requester <-- Nic::post
//!  datagrams <-- Nic::poll_transmit <-----------'
//! ```
//!
//! [`soft::SoftNic`] puts a socket ([`udp`]) under it. With the feature `verbs`, `verbs::VerbsNic` does the same work on a
//! device of the machine; [`provider`] says which of the two a program asks for.

#![deny(unsafe_code)]

#[cfg(not(dpa_loom))]
pub mod codec;
#[cfg(not(dpa_loom))]
pub mod config;
#[cfg(not(dpa_loom))]
pub mod connection;
#[cfg(not(dpa_loom))]
pub mod counters;
#[cfg(not(dpa_loom))]
pub mod flow;
#[cfg(not(dpa_loom))]
mod loopback;
pub mod memory;
#[cfg(not(dpa_loom))]
pub mod mtu;
#[cfg(not(dpa_loom))]
pub mod nic;
#[cfg(not(dpa_loom))]
pub mod provider;
#[cfg(not(dpa_loom))]
pub mod psn;
#[cfg(not(dpa_loom))]
pub mod queue_pair;
pub mod region;
#[cfg(not(dpa_loom))]
mod reports;
#[cfg(not(dpa_loom))]
mod requester;
#[cfg(not(dpa_loom))]
mod responder;
#[cfg(not(dpa_loom))]
mod retired;
#[cfg(not(dpa_loom))]
pub mod soft;
#[cfg(not(dpa_loom))]
mod transmit;
#[cfg(not(dpa_loom))]
pub mod udp;
#[cfg(all(feature = "verbs", not(dpa_loom)))]
pub mod verbs;
#[cfg(not(dpa_loom))]
mod virtual_link;
#[cfg(not(dpa_loom))]
pub mod wire;
#[cfg(not(dpa_loom))]
pub mod work;

#[cfg(not(dpa_loom))]
pub use loopback::{Shape, copy_local, transpose_local};
#[cfg(not(dpa_loom))]
pub use transmit::{MAX_SEGMENTS, Transmit};
#[cfg(not(dpa_loom))]
pub use virtual_link::Datagram;
