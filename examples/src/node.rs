//! A node of the RDMA examples: a device with a NIC at an address of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use doca_dpa::rdma::{BindError, NicError, Rdma, RdmaOpenError};
use doca_dpa::{Dpa, Error};

/// The first address of loopback that a node takes, if it is told none.
const FIRST: u8 = 2;
/// The last one that it tries: enough for several programs of as many nodes as there may be.
const LAST: u8 = 254;
/// After so much silence a node asks whether its peer is still there.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// A device with a NIC.
#[derive(Debug)]
pub struct Node {
    /// The device.
    pub dpa: Dpa,
    /// Its RDMA context.
    pub rdma: Rdma,
}

/// How a node finds its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first of 127.0.0.2, 127.0.0.3, .. that no other node has.
    Loopback,
    /// This address.
    At(IpAddr),
}

impl Place {
    /// Where a node belongs that reaches its peer from `local`: at this address, or if it is on loopback, where every
    /// node needs one of its own, at a free one.
    pub fn reached_from(local: IpAddr) -> Self {
        if local.is_loopback() {
            Self::Loopback
        } else {
            Self::At(local)
        }
    }

    /// What `open` makes of this place.
    ///
    /// # Errors
    /// No address is free; as `open`.
    pub fn take<T>(
        self,
        open: impl Fn(IpAddr) -> Result<T, RdmaOpenError>,
    ) -> Result<T, RdmaOpenError> {
        match self {
            Self::At(address) => open(address),
            Self::Loopback => on_loopback(open),
        }
    }
}

impl Node {
    /// A node with room for so many connections.
    ///
    /// One worker polls for a while before it sleeps: a kernel that waits for a packet has it at once.
    ///
    /// # Errors
    /// No address is free, or the given one is not; the system gives no memory or threads.
    pub fn open(place: Place, connections: u32) -> Result<Self, Error> {
        let dpa = Dpa::builder()
            .workers(1)
            .spin(Duration::from_millis(5))
            .open()?;
        let rdma = place.take(|address| open_at(&dpa, address, connections))?;
        Ok(Self { dpa, rdma })
    }
}

fn open_at(dpa: &Dpa, address: IpAddr, connections: u32) -> Result<Rdma, RdmaOpenError> {
    dpa.rdma()
        .address(address)
        .connections(connections)
        .receive_queue(0)
        .keep_alive(KEEP_ALIVE)
        .open()
}

/// What `open` makes of the first address of loopback that no other node has.
///
/// # Errors
/// No address is free; as `open`.
fn on_loopback<T>(open: impl Fn(IpAddr) -> Result<T, RdmaOpenError>) -> Result<T, RdmaOpenError> {
    let mut last = FIRST;
    loop {
        match open(Ipv4Addr::new(127, 0, 0, last).into()) {
            Err(RdmaOpenError::Nic(NicError::Bind(BindError::PortTaken { .. }))) if last < LAST => {
                last += 1;
            }
            other => return other,
        }
    }
}
