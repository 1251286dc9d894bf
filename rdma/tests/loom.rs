//! Models of races, checked by loom: `RUSTFLAGS="--cfg dpa_loom" cargo test -p rdma --test loom --release`.
//!
//! One race per model. Two preemptions per execution unless `LOOM_MAX_PREEMPTIONS` says otherwise. Mutants that each model must kill stand in `mutants.txt`.

#![cfg(dpa_loom)]

use dpa_abi::sync::loom::cell::UnsafeCell;
use dpa_abi::sync::loom::model::Builder;
use dpa_abi::sync::loom::sync::Arc;
use dpa_abi::sync::loom::thread::{self, JoinHandle};

use rdma::memory::{SpaceId, Target};
use rdma::region::{
    Domain, Intent, Range, Region, RegionKind, RegionSpec, RegionTable, RemoteKey, Rights,
};

const DOMAIN: Domain = Domain(1);
const WORD: Range = Range { address: 0, len: 8 };

/// A table with one slot, and the memory its region lies in: who touches it without having the right to, races.
struct World {
    table: RegionTable,
    memory: UnsafeCell<u64>,
}

/// With a region of a new world.
fn model(race: impl Fn(Arc<World>, Region) + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(move || {
        let world = World::new();
        let region = world.table.register(spec(1), 7).unwrap();
        race(world, region);
    });
}

fn spec(space: u64) -> RegionSpec {
    RegionSpec {
        domain: DOMAIN,
        target: Target {
            space: SpaceId(space),
            offset: 0,
        },
        len: 8,
        local_base: 0,
        remote_base: 0,
        rights: Rights::REMOTE_WRITE | Rights::REMOTE_INVALIDATE,
        kind: RegionKind::Bytes,
    }
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            table: RegionTable::new(1, 0),
            memory: UnsafeCell::new(0),
        })
    }

    /// What the NIC does with a packet that writes.
    fn remote_write(&self, key: RemoteKey) {
        if let Ok(access) = self.table.remote(DOMAIN, key, WORD, Intent::Write) {
            assert_eq!(
                access.target().space,
                SpaceId(1),
                "another region under an old key"
            );
            self.touch();
        }
    }

    fn touch(&self) {
        self.memory.with_mut(|_| ());
    }
}

/// A packet that writes, on its way beside the model's own thread.
fn writes(world: &Arc<World>, region: Region) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || world.remote_write(region.remote_key()))
}

/// Once `deregister` has returned, the owner may free the memory: no remote access is in progress or begins.
#[test]
fn deregister_vs_remote_access() {
    model(|world, region| {
        let nic = writes(&world, region);
        world.table.deregister(region).unwrap();
        world.touch();
        nic.join().unwrap();
    });
}

/// A key of a region that is gone never reaches the region that took its slot.
#[test]
fn register_again_vs_stale_key() {
    model(|world, old| {
        let nic = writes(&world, old);
        world.table.deregister(old).unwrap();
        let new = world.table.register(spec(2), 7).unwrap();
        world.touch();
        nic.join().unwrap();
        assert_ne!(old.remote_key(), new.remote_key());
    });
}

/// Of two that deregister the same region, exactly one did; both find it gone.
#[test]
fn deregister_vs_deregister() {
    model(|world, region| {
        let other = {
            let world = world.clone();
            thread::spawn(move || world.table.deregister(region).is_ok())
        };
        let ours = world.table.deregister(region).is_ok();
        assert!(ours ^ other.join().unwrap());
        assert!(
            world
                .table
                .remote(DOMAIN, region.remote_key(), WORD, Intent::Write)
                .is_err()
        );
    });
}

/// A process that dies takes its regions back while a peer writes: afterwards nobody does.
#[test]
fn fatal_process_vs_remote_write() {
    model(|world, region| {
        let nic = writes(&world, region);
        assert_eq!(world.table.deregister_domain(DOMAIN), 1);
        world.touch();
        nic.join().unwrap();
    });
}
