//! Two nodes.

#[path = "../addresses/mod.rs"]
mod addresses;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use doca_dpa::rdma::{Connection, Rdma};
use doca_dpa::{Dpa, Error, Location, SyncEvent};

/// Addresses of this machine for the nodes, in turn, separated by commas: for devices behind verbs.
const VARIABLE: &str = "DPA_TEST_ADDRESSES";

/// An address of loopback that no other node of this program has, or the next of [`VARIABLE`].
pub fn fresh_address() -> IpAddr {
    match std::env::var(VARIABLE) {
        Ok(all) => next_of(&all),
        Err(_) => loopback(),
    }
}

fn next_of(all: &str) -> IpAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let all: Vec<&str> = all.split(',').collect();
    let address = all[NEXT.fetch_add(1, Ordering::Relaxed) % all.len()];
    address.parse().expect("an address")
}

fn loopback() -> IpAddr {
    static LAST: AtomicU8 = AtomicU8::new(10);
    addresses::of_this_program(LAST.fetch_add(1, Ordering::Relaxed)).into()
}

/// What a pair is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub host_receives: bool,
    pub completion_entries: u32,
    pub timeout: Duration,
    pub keep_alive: Option<Duration>,
}

pub fn settings() -> Settings {
    Settings {
        host_receives: false,
        completion_entries: 256,
        timeout: Duration::from_millis(67),
        keep_alive: None,
    }
}

/// How often each of two peers adds to the same word: 10,000 additions in all.
pub const ADDITIONS: u32 = 5000;

/// A node: a device with a NIC, and one connection.
pub struct Node {
    pub connection: Connection,
    pub rdma: Rdma,
    pub dpa: Dpa,
}

fn node(settings: &Settings) -> Result<Node, Error> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa
        .rdma()
        .address(fresh_address())
        .completion_entries(settings.completion_entries)
        .timeout(settings.timeout);
    let rdma = match settings.keep_alive {
        Some(interval) => rdma.keep_alive(interval),
        None => rdma,
    };
    let rdma = match settings.host_receives {
        true => rdma.receive_queue(0),
        false => rdma,
    }
    .open()?;
    let connection = rdma.export()?;
    Ok(Node {
        connection,
        rdma,
        dpa,
    })
}

/// A node whose connection is not connected.
pub fn lone(settings: &Settings) -> Result<Node, Error> {
    node(settings)
}

/// Two nodes, connected.
pub async fn pair(settings: Settings) -> Result<(Node, Node), Error> {
    let (a, b) = (node(&settings)?, node(&settings)?);
    a.connection.connect(&b.connection.blob())?;
    b.connection.connect(&a.connection.blob())?;
    Ok((a, b))
}

/// An event that a remote node updates.
pub fn remote_to(dpa: &Dpa, subscriber: Location) -> Result<SyncEvent, Error> {
    SyncEvent::builder(dpa)
        .publisher(Location::Remote)
        .subscriber(subscriber)
        .create()
}
