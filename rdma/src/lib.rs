//! A software RDMA NIC: regions, queue pairs and RoCE v2 as state machines, and the sockets under them

#![forbid(unsafe_code)]

pub mod mtu;
pub mod psn;
pub mod wire;
