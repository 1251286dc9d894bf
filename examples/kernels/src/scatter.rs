//! Every node writes to every other: [`all_to_all`](struct@all_to_all).

use doca_dpa_dev::prelude::*;

/// What one node knows of a peer.
#[derive(Clone, Copy, Debug, Pod)]
pub struct PeerWire {
    /// Its inbox: one block for each node.
    pub memory: RemoteMemory,
    /// Its event.
    pub event: RemoteEvent,
    /// The connection to it; the own node has none.
    pub connection: u32,
    /// Its rank.
    pub rank: u32,
}

/// Each thread serves some of the peers: it writes this node's block for the peer into the peer's inbox, and signals. Then
/// all wait until every peer has signalled.
///
/// Block `i` of `blocks` goes to the node of rank `i`, and lands as its block `me`. `failed` counts what went wrong.
#[dpa_kernel]
pub fn all_to_all(
    thread: &Thread,
    rdma: Rdma,
    peers: DevSlice<PeerWire>,
    blocks: BufArray,
    me: u32,
    arrived: DevEvent,
    failed: AtomicSlice<u64>,
) {
    let quiet = PostFlags::OPTIMIZE_REPORTS;
    for index in thread.strided(peers.len()) {
        let peer = peers.read(index);
        let connection = rdma.connection(peer.connection);
        let block = blocks.at(peer.rank);
        let to = peer
            .memory
            .at(u64::from(me) * u64::from(block.len), block.len);
        let posted = connection
            .write(block, to, quiet)
            .and_then(|_| connection.signal_add(peer.event, 1, quiet | PostFlags::FLUSH));
        if posted.is_err() {
            failed.at(0).add(1);
        }
    }
    if arrived.wait(Condition::ge(peers.len() as u64)).is_err() {
        failed.at(0).add(1);
    }
}
