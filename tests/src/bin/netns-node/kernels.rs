//! What the kernels of the two nodes do with each other: each writes blocks to the other and signals every one.

use doca_dpa::rdma::{
    BufferArray, Connection, EventExport, MemoryMap, Rdma, RemoteMemoryMap, RemoteSyncEvent, Rights,
};
use doca_dpa::{DeviceBuffer, Dpa, Location, SyncEvent};
use examples_kernels::{AllToAllArgs, PeerWire, all_to_all};
use tests::{WaitThenCountArgs, wait_then_count};

use crate::{Outcome, heard_bytes, hex, said};

/// Blocks that a kernel writes, one for each launch, each to a place of its own.
const BLOCKS: u32 = 40;
const BYTES: u32 = 3000;

/// What the kernels of a node work with.
pub struct Kernels {
    inbox: DeviceBuffer<u8>,
    blocks: BufferArray,
    failed: DeviceBuffer<u64>,
    woken: DeviceBuffer<u64>,
    arrived: SyncEvent,
    open: MemoryMap,
    export: EventExport,
    rdma: Rdma,
    dpa: Dpa,
}

/// What the peer's kernels work with.
pub struct PeerKernels {
    memory: RemoteMemoryMap,
    event: RemoteSyncEvent,
}

impl Kernels {
    pub async fn new(dpa: &Dpa, rdma: &Rdma) -> Outcome<Self> {
        let outbox = dpa.copy_in(&pattern()).await?;
        let inbox = dpa.zeroed::<u8>(pattern().len()).await?;
        let sent = rdma.map(&outbox, Rights::empty())?;
        let arrived = SyncEvent::builder(dpa)
            .publisher(Location::Remote)
            .subscriber(Location::Device)
            .create()?;
        Ok(Self {
            blocks: BufferArray::new(&sent, BYTES, BLOCKS, 0)?,
            open: rdma.map(&inbox, Rights::REMOTE_WRITE)?,
            export: rdma.export_event(&arrived)?,
            failed: dpa.zeroed(1).await?,
            woken: dpa.zeroed(1).await?,
            inbox,
            arrived,
            rdma: rdma.clone(),
            dpa: dpa.clone(),
        })
    }

    pub fn tell(&self) {
        said("kernel-memory", &hex(&self.open.export()));
        said("kernel-event", &hex(&self.export.export()));
    }

    /// All blocks, and the end of the wait for all of the peer's.
    pub async fn work(&self, connection: &Connection, peer: &PeerKernels) -> Outcome {
        let waiter = self.dpa.launch(wait_then_count).args(WaitThenCountArgs {
            event: &self.arrived,
            value: u64::from(BLOCKS),
            total: &self.woken,
        });
        let waiter = waiter.submit()?;
        for block in 0..BLOCKS {
            let wire = [PeerWire {
                memory: peer.memory.handle(),
                event: peer.event.handle(),
                connection: connection.id(),
                rank: block,
            }];
            let peers = self.dpa.copy_in(&wire).await?;
            let launch = self.dpa.launch(all_to_all).args(AllToAllArgs {
                rdma: &self.rdma,
                peers: &peers,
                blocks: &self.blocks,
                me: block,
                arrived: &self.arrived,
                failed: &self.failed,
            });
            launch.submit()?.await?;
        }
        waiter.await?;
        Ok(())
    }

    /// What the peer's kernels did here, once all of it is acknowledged.
    pub async fn judge(&self) -> Outcome {
        let counts = (
            self.arrived.get(),
            self.woken.copy_out().await?[0],
            self.failed.copy_out().await?[0],
        );
        if counts != (BLOCKS.into(), 1, 0) {
            return Err(format!("signals, ends of the wait and failures are {counts:?}").into());
        }
        match self.inbox.copy_out().await? == pattern() {
            true => Ok(()),
            false => Err("a block is not what the peer's kernel wrote".into()),
        }
    }
}

impl PeerKernels {
    pub fn heard() -> Outcome<Self> {
        Ok(Self {
            memory: RemoteMemoryMap::import(&heard_bytes("kernel-memory")?)?,
            event: RemoteSyncEvent::import(&heard_bytes("kernel-event")?)?,
        })
    }
}

/// All blocks, one behind the other: no two are equal.
fn pattern() -> Vec<u8> {
    let len = (BLOCKS * BYTES) as usize;
    (0..len).map(|at| (at * 13 + at / 251) as u8).collect()
}
