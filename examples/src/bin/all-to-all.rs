//! N nodes, each of which writes to all others.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedI64ValueParser;
use doca_dpa::Error;
use examples::child::{is_child, this_program};
use examples::exchange::{Group, Listener, Session};
use examples::node::{Node, Place};
use examples::patience::patiently;
use examples::program;
use examples::say;
use examples::scatter::{Member, ScatterError, Terms};
use tokio::process::Child;

/// How long one node waits for the others.
const PATIENCE: Duration = Duration::from_secs(30);

/// N nodes, each a process with a device and a NIC of its own: each kernel writes a block to every other node and waits
/// for a block of every other. All blocks are checked.
///
/// Without --rank all nodes are started on this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// How many nodes: 2 to 64.
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(2..=64))]
    nodes: u32,
    /// Bytes of each block: 8 to 16777216.
    #[arg(long, default_value_t = 65_536, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(8..=16_777_216))]
    bytes: u32,
    /// How often all write to all: 1 to 100000.
    #[arg(long, default_value_t = 10, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<u64>::new().range(1..=100_000))]
    rounds: u64,
    /// This node's rank, to start each node by hand (on several machines): 0 to N - 1.
    #[arg(long, requires = "address")]
    rank: Option<u32>,
    /// Where the node of rank 0 waits for the others (TCP), as in 192.168.1.10:7472.
    #[arg(long, requires = "rank")]
    address: Option<String>,
    /// The address that the RDMA packets of this node go to. Without it: the one that reaches the node of rank 0; on
    /// loopback the first of 127.0.0.2, 127.0.0.3, .. that is free.
    #[arg(long, requires = "rank")]
    rdma: Option<IpAddr>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("all-to-all", async {
        match run(&options).await {
            // The parent is rank 0, and says it.
            Err(error) if is_child() && error.is_known_to_all() => ExitCode::FAILURE,
            result => program::end("all-to-all", result),
        }
    })
}

fn session() -> Session {
    Session::new("all-to-all").with_timeout(PATIENCE)
}

async fn run(options: &Options) -> Result<(), ScatterError> {
    let size = options.nodes as usize;
    if let (Some(rank), Some(address)) = (options.rank, &options.address) {
        // What is wrong with an address that is given is said before anybody is waited for.
        let node = options.rdma.map(|at| node(options, Place::At(at)));
        let node = node.transpose()?;
        let group = join(rank as usize, size, address).await?;
        return play(options, node, group).await;
    }
    let mut listener = Listener::bind("127.0.0.1:0", session()).await?;
    let address = listener.local_addr()?.to_string();
    let mut children = Vec::new();
    for rank in 1..options.nodes {
        children.push(start(options, rank, &address)?);
    }
    let group = tokio::select! {
        group = Group::host(&mut listener, size) => group?,
        rank = first_to_end(&mut children) => return Err(ScatterError::Node { rank }),
    };
    play(options, None, group).await?;
    for (rank, child) in children.iter_mut().enumerate() {
        if !child.wait().await.is_ok_and(|status| status.success()) {
            return Err(ScatterError::Node { rank: rank + 1 });
        }
    }
    Ok(())
}

/// The group, in which this node was started by hand: the others may not be there yet.
async fn join(rank: usize, size: usize, address: &str) -> Result<Group, ScatterError> {
    if rank == 0 {
        let mut listener = Listener::bind(address, session()).await?;
        let (at, others) = (listener.local_addr()?, size - 1);
        say!("waiting at {at} for the other nodes ({others})");
        return Ok(Group::host(&mut listener, size).await?);
    }
    let joining = Group::join(rank, size, address, session());
    let what = format!("all nodes at {address}");
    Ok(patiently(&what, joining).await?)
}

/// The rank of the first child that ends.
async fn first_to_end(children: &mut [Child]) -> usize {
    let waits = children.iter_mut().map(|child| Box::pin(child.wait()));
    futures::future::select_all(waits).await.1 + 1
}

fn start(options: &Options, rank: u32, address: &str) -> Result<Child, ScatterError> {
    this_program()
        .map_err(ScatterError::Start)?
        .arg(options.nodes.to_string())
        .args(["--bytes", &options.bytes.to_string()])
        .args(["--rounds", &options.rounds.to_string()])
        .args(["--rank", &rank.to_string(), "--address", address])
        .spawn()
        .map_err(ScatterError::Start)
}

fn node(options: &Options, place: Place) -> Result<Node, Error> {
    Node::open(place, options.nodes - 1)
}

/// As the node that there is already, or as one where the group reaches this machine.
async fn play(options: &Options, there: Option<Node>, group: Group) -> Result<(), ScatterError> {
    let local = group.local_addr().map(|address| address.ip());
    let reached = local.map_or(Place::Loopback, Place::reached_from);
    let open = || there.map_or_else(|| node(options, reached), Ok);
    let rank = group.rank();
    let terms = Terms {
        bytes: options.bytes,
        rounds: options.rounds,
    };
    let mut member = Member::meet(group, terms, open).await?;
    let mut took = Duration::ZERO;
    for round in 0..options.rounds {
        took += member.round(round).await?;
    }
    if rank == 0 {
        report(options, took);
    }
    Ok(())
}

fn report(options: &Options, took: Duration) {
    let pairs = u64::from(options.nodes) * u64::from(options.nodes - 1);
    let bytes = pairs * u64::from(options.bytes) * options.rounds;
    let rate = bytes as f64 / took.as_secs_f64().max(1e-9) / 1e6;
    say!(
        "{} nodes, {} rounds: {pairs} blocks of {} bytes each round",
        options.nodes,
        options.rounds,
        options.bytes
    );
    say!(
        "{:.1} ms a round, {rate:.1} MB/s among all",
        took.as_secs_f64() * 1e3 / options.rounds as f64
    );
    say!("verified");
}
