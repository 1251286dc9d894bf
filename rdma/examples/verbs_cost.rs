//! What a work request costs over verbs, in instructions of this crate: `cargo xtask verbs cost` runs it under callgrind,
//! beside `verbs_bare`.
//!
//! ```sh
//! verbs_cost 10.77.0.1
//! ```
//!
//! Two queue pairs of one device write to each other: eight bytes of registered memory, and eight bytes of the request
//! itself, as a write and a signal are. Only posting and taking completions is counted (`counted_post`, `counted_take`).
//! Completions are there when they are taken, so nothing is polled in vain.
#![expect(unsafe_code, reason = "a promise about memory")]

use std::net::IpAddr;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdma::config::{Config, Peer};
use rdma::memory::{Atomic, EventGone, EventUpdate, Memory, SpaceId, Target};
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::{Cause, Io};
use rdma::region::{Domain, RegionKind, RegionSpec, RegionTable, Rights};
use rdma::soft::Host;
use rdma::verbs::{Pinned, VerbsNic};
use rdma::wire::Path;
use rdma::work::{
    Completion, Data, Flags, Inline, NoReceives, Operation, RemoteAddress, Segment, WorkRequest,
};

const ROUNDS: u64 = 1000;
const DOMAIN: Domain = Domain(1);

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A page that stays for good.
struct Page(NonNull<u8>);

// SAFETY: only its address is ever used.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}
// SAFETY: it is never freed, and nothing in this program refers to it.
unsafe impl Pinned for Page {
    fn pinned(&self) -> (NonNull<u8>, usize) {
        (self.0, 4096)
    }
}

/// No memory is touched but by the device.
struct Nowhere;

impl Memory for Nowhere {
    fn read(&self, _from: Target, _out: &mut [u8]) {}
    fn write(&self, _to: Target, _data: &[u8]) {}
    fn atomic(&self, _at: Target, _operation: Atomic) -> u64 {
        0
    }
    fn event_update(&self, _at: Target, _update: EventUpdate) -> Result<u64, EventGone> {
        Err(EventGone)
    }
}

struct Counter {
    regions: RegionTable,
    receives: NoReceives,
    done: u64,
}

impl Host for Counter {
    fn io(&mut self, _receives_of: Option<Qpn>) -> Io<'_> {
        Io {
            memory: &Nowhere,
            regions: &self.regions,
            receives: &mut self.receives,
        }
    }

    fn completed(&mut self, _number: Qpn, completion: Completion) {
        match completion {
            Completion::Work(done) if done.outcome.is_ok() => self.done += 1,
            other => panic!("{other:?}"),
        }
    }

    fn failed(&mut self, _number: Qpn, cause: Cause) {
        panic!("{cause}");
    }
}

fn main() -> Outcome {
    let address = std::env::args().nth(1).ok_or("verbs_cost ADDRESS")?;
    let address: IpAddr = address.parse()?;
    let mut nic = VerbsNic::open(None, address)?;
    let mut host = Counter {
        regions: RegionTable::new(16, 7),
        receives: NoReceives,
        done: 0,
    };
    let requests = requests(&mut nic, &host.regions)?;
    let from = connected(&mut nic, address)?;
    for round in 1..=ROUNDS {
        let now = Duration::from_micros(round);
        counted_post(&mut nic, now, from, &requests)?;
        // Both are there after that.
        std::thread::sleep(Duration::from_millis(1));
        counted_take(&mut nic, now, &mut host);
        while host.done < 2 * round {
            nic.progress(now, &mut host);
        }
    }
    println!("provider: {} work requests", host.done);
    Ok(())
}

#[inline(never)]
fn counted_post(
    nic: &mut VerbsNic,
    now: Duration,
    from: Qpn,
    requests: &[WorkRequest; 2],
) -> Outcome {
    for request in requests {
        nic.post(now, from, request)?;
    }
    Ok(())
}

#[inline(never)]
fn counted_take(nic: &mut VerbsNic, now: Duration, host: &mut Counter) {
    nic.progress(now, host);
}

/// A write of registered bytes, and one of bytes of its own.
fn requests(nic: &mut VerbsNic, regions: &RegionTable) -> Outcome<[WorkRequest; 2]> {
    let page = Box::leak(Box::new([0u64; 1024]));
    let base = NonNull::from(page).cast::<u8>();
    let space = SpaceId(0);
    let spec = RegionSpec {
        domain: DOMAIN,
        target: Target { space, offset: 0 },
        len: 4096,
        local_base: 0,
        remote_base: 0,
        rights: Rights::REMOTE_WRITE,
        kind: RegionKind::Bytes,
    };
    let region = regions.register(spec, 3)?;
    let told = nic.register(region, &spec, Arc::new(Page(base)), (0, 4096))?;
    let to = RemoteAddress {
        address: told.base + 64,
        key: told.key,
    };
    let local = Segment {
        address: 0,
        len: 8,
        key: region.local_key(),
    };
    let inline = Inline::new(&[5; 8]).ok_or("too long")?;
    let write = |data| WorkRequest {
        id: 1,
        operation: Operation::Write {
            data,
            to,
            immediate: None,
        },
        flags: Flags::SIGNALED,
    };
    Ok([write(Data::Local(local)), write(Data::Inline(inline))])
}

/// Two queue pairs, connected to each other; the one that asks.
fn connected(nic: &mut VerbsNic, address: IpAddr) -> Outcome<Qpn> {
    let config = |number| Config::new(Qpn::from_random(number), Psn::new(0), DOMAIN);
    let numbers = [nic.create(config(1), None)?, nic.create(config(2), None)?];
    let at = (address, 4791).into();
    for (own, other) in [(0, 1), (1, 0)] {
        let peer = Peer {
            path: Path::new(at, at).ok_or("one address")?,
            number: numbers[other],
            first_psn: Psn::new(0),
            mtu: PathMtu::B1024,
            budget: 64,
            responder_resources: 16,
            max_identification: u16::MAX,
            lid: 0,
            max_segments: 1,
        };
        nic.connect(numbers[own], &peer)?;
        nic.activate(Duration::ZERO, numbers[own])?;
    }
    Ok(numbers[0])
}
