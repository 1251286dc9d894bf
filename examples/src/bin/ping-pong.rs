//! Two nodes throw a ball to and fro by RDMA, from kernel to kernel.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use clap::{Parser, Subcommand};
use examples::child::this_program;
use examples::exchange::{Exchange, Listener, Session};
use examples::node::{Node, Place};
use examples::patience::patiently;
use examples::program;
use examples::rally::{Figures, RallyError, Side, legs};
use examples::say;
use tokio::process::Child;

/// How long the listening side waits for the other.
const PATIENCE: Duration = Duration::from_secs(600);

/// Throws a ball to and fro between two nodes: a write into the peer's memory and a signal that it is there, from kernel
/// to kernel. Every ball is checked word by word.
///
/// Without a command both nodes are started on this machine, as two processes.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Rounds with the smallest ball: 10 to 10000000. Larger ones have fewer. The same on both sides.
    #[arg(long, global = true, default_value_t = 10_000,
          allow_negative_numbers = true, value_parser = RangedI64ValueParser::<u64>::new().range(10..=10_000_000))]
    rounds: u64,
    /// The address that the RDMA packets of this node go to. Without it: the one that reaches the other side; on loopback
    /// the first of 127.0.0.2, 127.0.0.3, .. that is free.
    #[arg(long, global = true)]
    rdma: Option<IpAddr>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Debug, Subcommand)]
enum Role {
    /// Waits at ADDRESS:PORT (TCP) for the other node, and serves.
    Listen {
        /// As in 192.168.1.10:7471; 0.0.0.0:7471 for all addresses of this machine.
        address: String,
    },
    /// Goes to the node that listens at ADDRESS:PORT (TCP).
    Connect {
        /// As in 192.168.1.10:7471.
        address: String,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("ping-pong", async {
        program::end("ping-pong", run(&options).await)
    })
}

async fn run(options: &Options) -> Result<(), RallyError> {
    let session = Session::new("ping-pong");
    // What is wrong with an address that is given is said before anybody is waited for.
    let there = options.rdma.map(|at| node(Place::At(at))).transpose()?;
    match &options.role {
        None => both(options, there, session).await,
        Some(Role::Listen { address }) => {
            let mut listener = Listener::bind(address, session).await?;
            say!("waiting at {} for the other node", listener.local_addr()?);
            let exchange = listener.accept(PATIENCE).await?;
            serve(options, there, exchange).await
        }
        Some(Role::Connect { address }) => {
            let connecting = Exchange::connect(address, session, Duration::from_secs(10));
            let what = format!("a node at {address}");
            let exchange = patiently(&what, connecting).await?;
            answer(options, there, exchange).await
        }
    }
}

/// This process is one node, a child the other.
async fn both(options: &Options, there: Option<Node>, session: Session) -> Result<(), RallyError> {
    let mut listener = Listener::bind("127.0.0.1:0", session).await?;
    let mut child = start(&listener.local_addr()?.to_string(), options.rounds)?;
    let exchange = tokio::select! {
        exchange = listener.accept(Duration::from_secs(10)) => exchange?,
        // It has said why on the standard error that it shares with this process.
        _ = child.wait() => return Err(RallyError::OtherNode),
    };
    serve(options, there, exchange).await?;
    match child.wait().await {
        Ok(status) if status.success() => Ok(()),
        _ => Err(RallyError::OtherNode),
    }
}

fn start(address: &str, rounds: u64) -> Result<Child, RallyError> {
    this_program()
        .map_err(RallyError::Start)?
        .args(["--rounds", &rounds.to_string(), "connect", address])
        .spawn()
        .map_err(RallyError::Start)
}

fn node(place: Place) -> Result<Node, RallyError> {
    let node = Node::open(place, 1)?;
    say!("RDMA: {}", node.rdma.provider());
    Ok(node)
}

/// The node that there is already, or one where the exchange reaches this machine.
fn or_reached(there: Option<Node>, exchange: &Exchange) -> Result<Node, RallyError> {
    let reached = Place::reached_from(exchange.local_addr().ip());
    there.map_or_else(|| node(reached), Ok)
}

async fn serve(
    options: &Options,
    there: Option<Node>,
    exchange: Exchange,
) -> Result<(), RallyError> {
    let node = or_reached(there, &exchange)?;
    let mut side = Side::meet(node, exchange, true, options.rounds).await?;
    let [ours, theirs] = side.addresses();
    say!("{ours} <-> {theirs}, RoCE v2; a round is a write and a signal each way");
    say!("   bytes  rounds   half a round, us: p50      p90      p99      max    write, MB/s");
    for leg in legs(options.rounds) {
        say!("{}", row(&side.play(leg).await?));
    }
    say!("verified");
    Ok(())
}

async fn answer(
    options: &Options,
    there: Option<Node>,
    exchange: Exchange,
) -> Result<(), RallyError> {
    let node = or_reached(there, &exchange)?;
    let mut side = Side::meet(node, exchange, false, options.rounds).await?;
    for leg in legs(options.rounds) {
        side.play(leg).await?;
    }
    say!("verified");
    Ok(())
}

fn row(figures: &Figures) -> String {
    let us = |share| figures.percentile(share).as_nanos() as f64 / 1000.0;
    format!(
        "{:>8} {:>7} {:>26.1} {:>8.1} {:>8.1} {:>8.1} {:>14.1}",
        figures.leg.bytes,
        figures.leg.rounds,
        us(0.5),
        us(0.9),
        us(0.99),
        us(1.0),
        figures.bytes_per_second as f64 / 1e6,
    )
}
