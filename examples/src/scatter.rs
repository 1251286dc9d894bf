//! One node of `all-to-all`: what all tell each other, and the rounds.

use std::time::Duration;

use doca_dpa::rdma::{
    BufferArray, Cause, Connection, EventExport, MemoryMap, RemoteMemoryMap, RemoteSyncEvent,
    Rights,
};
use doca_dpa::{DeviceBuffer, Error, Location, SyncEvent};
use examples_kernels::{AllToAllArgs, PeerWire, all_to_all};
use thiserror::Error as ThisError;

use crate::exchange::{ExchangeError, Group};
use crate::node::Node;

/// Why it was broken off.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ScatterError {
    /// The device or the network.
    #[error(transparent)]
    Dpa(#[from] Error),
    /// The exchange beside it.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// A node could not be started.
    #[error("a node could not be started: {0}")]
    Start(std::io::Error),
    /// Another node ended in error, and has said why.
    #[error("the node of rank {rank} has failed")]
    Node {
        /// Which.
        rank: usize,
    },
    /// A node does not answer any more.
    #[error("round {round}: the node of rank {rank} was lost: {cause}")]
    Gone {
        /// Which round.
        round: u64,
        /// Which node.
        rank: usize,
        /// Why.
        cause: Cause,
    },
    /// A node told something that does not fit.
    #[error("the node of rank {rank} sent {len} bytes as its {what}")]
    Malformed {
        /// Which node.
        rank: usize,
        /// What it was to be.
        what: &'static str,
        /// Its bytes.
        len: usize,
    },
    /// Blocks could not be posted, or their signals never came.
    #[error("round {round}: {failed} blocks were lost")]
    Lost {
        /// Which round.
        round: u64,
        /// How many.
        failed: u64,
    },
    /// A block is not what was sent.
    #[error("round {round}: the block of the node of rank {rank} is not what it sent")]
    Corrupt {
        /// Which round.
        round: u64,
        /// Whose block.
        rank: usize,
    },
}

/// One node, connected to all others.
#[derive(Debug)]
pub struct Member {
    node: Node,
    group: Group,
    bytes: usize,
    outbox: DeviceBuffer<u8>,
    inbox: DeviceBuffer<u8>,
    blocks: BufferArray,
    peers: DeviceBuffer<PeerWire>,
    failed: DeviceBuffer<u64>,
    arrived: SyncEvent,
    threads: u32,
    _open: (MemoryMap, EventExport),
    /// To the others, in order of rank.
    connections: Vec<Connection>,
}

/// The byte at `index` of the block from one node to another.
fn byte(round: u64, from: usize, to: usize, index: usize) -> u8 {
    (round as usize * 31 + from * 7 + to * 13 + index) as u8
}

impl ScatterError {
    /// Whether it is only that another node has ended or is lost, which the node of rank 0 finds out as well.
    #[must_use]
    pub fn is_of_another(&self) -> bool {
        match self {
            Self::Gone { .. } => true,
            Self::Exchange(ExchangeError::Rank { source, .. }) => {
                matches!(**source, ExchangeError::Closed { .. })
            }
            _ => false,
        }
    }
}

impl Member {
    /// Connects a node, which has room for that, to all others; blocks have so many bytes.
    ///
    /// # Errors
    /// A node is gone; the device has no memory, or the node no room.
    pub async fn meet(mut group: Group, node: Node, bytes: usize) -> Result<Self, ScatterError> {
        let others = (group.size() - 1) as u32;
        let (dpa, rdma) = (&node.dpa, &node.rdma);
        let all = bytes * group.size();
        let outbox = dpa.zeroed::<u8>(all).await.map_err(Error::from)?;
        let inbox = dpa.zeroed::<u8>(all).await.map_err(Error::from)?;
        let failed = dpa.zeroed::<u64>(1).await.map_err(Error::from)?;
        let arrived = SyncEvent::builder(dpa)
            .publisher(Location::Remote)
            .publisher(Location::Host)
            .subscriber(Location::Device)
            .create()?;
        let sent = rdma.map(&outbox, Rights::empty()).map_err(Error::from)?;
        let blocks =
            BufferArray::new(&sent, bytes as u32, group.size() as u32, 0).map_err(Error::from)?;
        let open = rdma
            .map(&inbox, Rights::REMOTE_WRITE)
            .map_err(Error::from)?;
        let export = rdma.export_event(&arrived).map_err(Error::from)?;
        let connections = connect_to_all(&mut group, &node).await?;
        let memories = group.all_gather("memory map", &open.export()).await?;
        let events = group.all_gather("event", &export.export()).await?;
        let peers = wires(&group, &memories, &events)?;
        let peers = dpa.copy_in(&peers).await.map_err(Error::from)?;
        group.barrier("last connection").await?;
        Ok(Self {
            bytes,
            outbox,
            inbox,
            blocks,
            peers,
            failed,
            arrived,
            threads: others.min(8),
            _open: (open, export),
            connections,
            node,
            group,
        })
    }

    /// All write to all; how long the slowest took.
    ///
    /// # Errors
    /// A block is lost, or not what was sent; a node is gone.
    pub async fn round(&mut self, round: u64) -> Result<Duration, ScatterError> {
        let (rank, size) = (self.group.rank(), self.group.size());
        let block = |to| (0..self.bytes).map(move |index| byte(round, rank, to, index));
        let filled: Vec<u8> = (0..size).flat_map(block).collect();
        self.outbox.write(0, &filled).await.map_err(Error::from)?;
        self.group.barrier("filled blocks").await?;
        let begin = self.node.dpa.now();
        tokio::select! {
            ended = self.launch() => ended?,
            // The kernel would wait for the signal of that node without end: others may still publish the event.
            (rank, cause) = self.first_to_fail() => return Err(ScatterError::Gone { round, rank, cause }),
        }
        let took = self.node.dpa.now() - begin;
        self.check(round).await?;
        let times = self
            .group
            .all_gather("time", &(took.as_nanos() as u64).to_le_bytes())
            .await?;
        // Reset for the next round, which begins when all have.
        self.arrived.set(0).map_err(Error::from)?;
        slowest(&times)
    }

    /// The rank of the first node that is lost, and why.
    async fn first_to_fail(&self) -> (usize, Cause) {
        let failures = self.connections.iter().map(|to| Box::pin(to.failed()));
        let (cause, index, _) = futures::future::select_all(failures).await;
        (index + usize::from(index >= self.group.rank()), cause)
    }

    async fn launch(&self) -> Result<(), Error> {
        let rank = self.group.rank() as u32;
        self.node
            .dpa
            .launch(all_to_all)
            .args(AllToAllArgs {
                rdma: &self.node.rdma,
                peers: &self.peers,
                blocks: &self.blocks,
                me: rank,
                arrived: &self.arrived,
                failed: &self.failed,
            })
            .threads(self.threads)
            .submit()?
            .await?;
        Ok(())
    }

    async fn check(&self, round: u64) -> Result<(), ScatterError> {
        let failed = self.failed.copy_out().await.map_err(Error::from)?[0];
        if failed > 0 {
            return Err(ScatterError::Lost { round, failed });
        }
        let me = self.group.rank();
        let inbox = self.inbox.copy_out().await.map_err(Error::from)?;
        for (rank, block) in inbox
            .chunks(self.bytes)
            .enumerate()
            .filter(|(rank, _)| *rank != me)
        {
            let same = |(index, got): (usize, &u8)| *got == byte(round, rank, me, index);
            if !block.iter().enumerate().all(same) {
                return Err(ScatterError::Corrupt { round, rank });
            }
        }
        Ok(())
    }
}

/// A connection to each other node, in order of rank.
async fn connect_to_all(group: &mut Group, node: &Node) -> Result<Vec<Connection>, ScatterError> {
    let (me, size) = (group.rank(), group.size());
    let mut connections = Vec::new();
    let mut blobs = Vec::new();
    for rank in 0..size {
        let connection = match rank == me {
            true => None,
            false => Some(node.rdma.export().map_err(Error::from)?),
        };
        let blob = connection
            .as_ref()
            .map(Connection::blob)
            .unwrap_or_default();
        blobs.push(group.all_gather("connection", &blob).await?);
        connections.push(connection);
    }
    for (rank, connection) in connections.iter().enumerate() {
        if let Some(connection) = connection {
            // What the node of this rank made for us.
            connection.connect(&blobs[me][rank]).map_err(Error::from)?;
        }
    }
    Ok(connections.into_iter().flatten().collect())
}

fn wires(
    group: &Group,
    memories: &[Vec<u8>],
    events: &[Vec<u8>],
) -> Result<Vec<PeerWire>, ScatterError> {
    let me = group.rank();
    let others = (0..group.size()).filter(|rank| *rank != me);
    others
        .enumerate()
        .map(|(connection, rank)| {
            let memory = RemoteMemoryMap::import(&memories[rank]).map_err(Error::from)?;
            let event = RemoteSyncEvent::import(&events[rank]).map_err(Error::from)?;
            Ok(PeerWire {
                memory: memory.handle(),
                event: event.handle(),
                connection: connection as u32,
                rank: rank as u32,
            })
        })
        .collect()
}

fn slowest(times: &[Vec<u8>]) -> Result<Duration, ScatterError> {
    let mut most = 0;
    for (rank, time) in times.iter().enumerate() {
        let len = time.len();
        let malformed = ScatterError::Malformed {
            rank,
            what: "time",
            len,
        };
        let time: [u8; 8] = time.as_slice().try_into().map_err(|_| malformed)?;
        most = most.max(u64::from_le_bytes(time));
    }
    Ok(Duration::from_nanos(most))
}
