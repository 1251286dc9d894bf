//! One node of `all-to-all`: what all tell each other, and the rounds.

use std::fmt;
use std::time::Duration;

use doca_dpa::error::MemoryError;
use doca_dpa::rdma::{
    BufferArray, Cause, Connection, EventExport, MemoryMap, RemoteMemoryMap, RemoteSyncEvent,
    Rights,
};
use doca_dpa::{DeviceBuffer, Error, Location, SyncEvent};
use examples_kernels::{AllToAllArgs, PeerWire, all_to_all};
use thiserror::Error as ThisError;

use crate::exchange::{ExchangeError, Group};
use crate::node::Node;

/// What all nodes must be given alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of each block.
    pub bytes: u32,
    /// How often all write to all.
    pub rounds: u64,
}

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
    /// A node was given something else.
    #[error("the node of rank {rank} was given {theirs}, this one {ours}: give all nodes the same")]
    Terms {
        /// Which.
        rank: usize,
        /// What this node was given.
        ours: Terms,
        /// What that node was given.
        theirs: Terms,
    },
    /// A node, this one or another, could not be made ready.
    #[error("the node of rank {rank} cannot take part: {why}")]
    Unready {
        /// Which.
        rank: usize,
        /// Why.
        why: String,
    },
    /// The device has no room for the blocks.
    #[error(
        "{nodes} blocks to send and as many to receive, of {bytes} bytes each, do not fit into the device's memory \
         (fewer nodes, or a smaller --bytes, would): {source}"
    )]
    Room {
        /// How many nodes.
        nodes: usize,
        /// Bytes of a block.
        bytes: u32,
        /// What the device says.
        source: Box<MemoryError>,
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
    stock: Stock,
    group: Group,
    bytes: usize,
    peers: DeviceBuffer<PeerWire>,
    threads: u32,
    /// To the others, in order of rank.
    connections: Vec<Connection>,
}

/// What a node has before it knows the others.
#[derive(Debug)]
struct Stock {
    node: Node,
    outbox: DeviceBuffer<u8>,
    inbox: DeviceBuffer<u8>,
    blocks: BufferArray,
    failed: DeviceBuffer<u64>,
    arrived: SyncEvent,
    open: MemoryMap,
    export: EventExport,
}

/// The byte at `index` of the block from one node to another.
fn byte(round: u64, from: usize, to: usize, index: usize) -> u8 {
    (round as usize * 31 + from * 7 + to * 13 + index) as u8
}

impl ScatterError {
    /// Whether the node of rank 0 finds it out as well: that a node has ended or is lost, or what one has told all.
    #[must_use]
    pub fn is_known_to_all(&self) -> bool {
        match self {
            Self::Gone { .. } | Self::Terms { .. } | Self::Unready { .. } => true,
            Self::Exchange(ExchangeError::Rank { source, .. }) => {
                matches!(**source, ExchangeError::Closed { .. })
            }
            _ => false,
        }
    }
}

impl Member {
    /// Agrees with all others on the terms, opens the node (with `open`), and connects it to theirs.
    ///
    /// # Errors
    /// A node is gone, was given other terms, or cannot be made ready: each of them hears that.
    pub async fn meet(
        mut group: Group,
        terms: Terms,
        open: impl FnOnce() -> Result<Node, Error>,
    ) -> Result<Self, ScatterError> {
        agree(&mut group, terms).await?;
        let stock = Stock::new(open, group.size(), terms.bytes).await;
        let stock = all_ready(&mut group, stock).await?;
        let connections = connect_to_all(&mut group, &stock.node).await?;
        let memories = group.all_gather("memory map", &stock.open.export()).await?;
        let events = group.all_gather("event", &stock.export.export()).await?;
        let peers = wires(&group, &memories, &events)?;
        let peers = stock.node.dpa.copy_in(&peers).await.map_err(Error::from)?;
        group.barrier("last connection").await?;
        let others = (group.size() - 1) as u32;
        Ok(Self {
            bytes: terms.bytes as usize,
            peers,
            threads: others.min(8),
            connections,
            stock,
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
        self.stock
            .outbox
            .write(0, &filled)
            .await
            .map_err(Error::from)?;
        self.group.barrier("filled blocks").await?;
        let begin = self.stock.node.dpa.now();
        tokio::select! {
            ended = self.launch() => ended?,
            // The kernel would wait for the signal of that node without end: others may still publish the event.
            (rank, cause) = self.first_to_fail() => return Err(ScatterError::Gone { round, rank, cause }),
        }
        let took = self.stock.node.dpa.now() - begin;
        self.check(round).await?;
        let times = self
            .group
            .all_gather("time", &(took.as_nanos() as u64).to_le_bytes())
            .await?;
        // Reset for the next round, which begins when all have.
        self.stock.arrived.set(0).map_err(Error::from)?;
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
        let stock = &self.stock;
        stock
            .node
            .dpa
            .launch(all_to_all)
            .args(AllToAllArgs {
                rdma: &stock.node.rdma,
                peers: &self.peers,
                blocks: &stock.blocks,
                me: rank,
                arrived: &stock.arrived,
                failed: &stock.failed,
            })
            .threads(self.threads)
            .submit()?
            .await?;
        Ok(())
    }

    async fn check(&self, round: u64) -> Result<(), ScatterError> {
        let failed = self.stock.failed.copy_out().await.map_err(Error::from)?[0];
        if failed > 0 {
            return Err(ScatterError::Lost { round, failed });
        }
        let me = self.group.rank();
        let inbox = self.stock.inbox.copy_out().await.map_err(Error::from)?;
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

impl Stock {
    /// Opens the node, and takes what it needs for so many blocks of so many bytes.
    async fn new(
        open: impl FnOnce() -> Result<Node, Error>,
        nodes: usize,
        bytes: u32,
    ) -> Result<Self, ScatterError> {
        let node = open()?;
        let (dpa, rdma) = (&node.dpa, &node.rdma);
        let blocks = async || {
            let room = dpa.zeroed::<u8>(bytes as usize * nodes).await;
            room.map_err(|source| ScatterError::Room {
                nodes,
                bytes,
                source: Box::new(source),
            })
        };
        let (outbox, inbox) = (blocks().await?, blocks().await?);
        let failed = dpa.zeroed::<u64>(1).await.map_err(Error::from)?;
        let arrived = SyncEvent::builder(dpa)
            .publisher(Location::Remote)
            .publisher(Location::Host)
            .subscriber(Location::Device)
            .create()?;
        let sent = rdma.map(&outbox, Rights::empty()).map_err(Error::from)?;
        let blocks = BufferArray::new(&sent, bytes, nodes as u32, 0).map_err(Error::from)?;
        let open = rdma
            .map(&inbox, Rights::REMOTE_WRITE)
            .map_err(Error::from)?;
        let export = rdma.export_event(&arrived).map_err(Error::from)?;
        Ok(Self {
            outbox,
            inbox,
            blocks,
            failed,
            arrived,
            open,
            export,
            node,
        })
    }
}

/// Everyone has been given the same.
async fn agree(group: &mut Group, ours: Terms) -> Result<(), ScatterError> {
    let all = group.all_gather("terms", &ours.encode()).await?;
    for (rank, theirs) in all.iter().enumerate() {
        let malformed = ScatterError::Malformed {
            rank,
            what: "terms",
            len: theirs.len(),
        };
        let theirs = Terms::decode(theirs).ok_or(malformed)?;
        if theirs != ours {
            return Err(ScatterError::Terms { rank, ours, theirs });
        }
    }
    Ok(())
}

/// What keeps a node from taking part is told to all: the others would find only that it is gone, and each would have to
/// say it.
async fn all_ready<T>(group: &mut Group, mine: Result<T, ScatterError>) -> Result<T, ScatterError> {
    let why = mine.as_ref().err().map(ToString::to_string);
    let told = group
        .all_gather("state", why.unwrap_or_default().as_bytes())
        .await?;
    match told.iter().position(|why| !why.is_empty()) {
        Some(rank) => Err(ScatterError::Unready {
            rank,
            why: String::from_utf8_lossy(&told[rank]).into_owned(),
        }),
        None => mine,
    }
}

impl Terms {
    /// As it travels: two numbers of 64 bits, little-endian.
    fn encode(self) -> [u8; 16] {
        (u128::from(self.rounds) << 64 | u128::from(self.bytes)).to_le_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let both = u128::from_le_bytes(bytes.try_into().ok()?);
        Some(Self {
            bytes: u32::try_from(both as u64).ok()?,
            rounds: (both >> 64) as u64,
        })
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--bytes {} --rounds {}", self.bytes, self.rounds)
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
