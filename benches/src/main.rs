//! Speed and memory beside our peers, measured in the same run.
//!
//! Ours and the peer take turns in slices of a few milliseconds; a row gives the medians and their ratio. Memory rows
//! are measured in a process of their own.

#![forbid(unsafe_code)]

mod chain;
mod events;
mod flexio;
mod handlers;
mod kv;
mod memory;
mod rdma;
mod row;
mod slices;
mod trips;
mod wide;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::row::Row;
use crate::slices::Plan;

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Sync events alone.
    Events,
    /// Launches on the device model.
    Launch,
    /// RDMA between two processes.
    Rdma,
    /// The low layer: what kernels do with device memory and queues.
    Flexio,
}

/// Measures us beside our peers.
#[derive(Debug, Parser)]
struct Options {
    /// Which rows.
    suite: Suite,
    /// One JSON object per row.
    #[arg(long)]
    json: bool,
    /// Only the row of this name.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How long to measure each row, about: 0.01 to 3600 seconds.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds,
          allow_negative_numbers = true)]
    seconds: f64,
    /// Of `rdma`: other libraries' test programs beside it, if they are installed (ucx_perftest).
    #[arg(long)]
    peers: bool,
    /// Ours alone, once: for counting instructions.
    #[arg(long)]
    no_peer: bool,
    /// Measures one memory row in this process.
    #[arg(long, hide = true, value_name = "NAME")]
    child: Option<String>,
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.01..=3600.0).contains(seconds));
    seconds.ok_or("allowed are 0.01 to 3600 seconds")
}

type Measure = fn(&Plan) -> Row;

const EVENTS: [(&str, Measure); 3] = [
    ("event-add", events::add),
    ("event-add-waiter", events::add_waiter),
    ("event-wake", events::wake),
];

const LAUNCH: [(&str, Measure); 9] = [
    ("chain", chain::one_event),
    ("chain-events", chain::event_per_link),
    ("independent", chain::independent),
    ("independent-args", chain::independent_args),
    ("round-trip", trips::launch_each),
    ("round-trip-resident", trips::resident),
    ("round-trip-await", trips::awaited),
    ("wide-launch", wide::launch),
    ("wide-barrier", wide::barrier),
];

const RDMA: [(&str, Measure); 6] = [
    ("ping-pong", rdma::ping_pong),
    ("fetch-add", rdma::fetch_add),
    ("bandwidth", rdma::bandwidth),
    ("loopback", rdma::loopback),
    ("copy", rdma::copy),
    ("many-qps", rdma::many_queue_pairs),
];

const FLEXIO: [(&str, Measure); 7] = [
    ("handler", handlers::handler),
    ("handler-remote", handlers::handler_remote),
    ("rpc", handlers::rpc),
    ("cmdq", handlers::command_queue),
    ("hash-find", flexio::hash_find),
    ("window", handlers::window),
    ("kv-server", kv::server),
];

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(name) = &options.child {
        return match options.suite {
            Suite::Rdma => rdma::child::run(name),
            _ => memory::child(name),
        };
    }
    if options.peers && options.suite != Suite::Rdma {
        eprintln!("dpa-bench: --peers is for the suite rdma");
        return ExitCode::from(2);
    }
    let plan = Plan {
        time: Duration::from_secs_f64(options.seconds),
        peer: !options.no_peer,
    };
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| name == only);
    let (rows, memory): (&[_], &[_]) = match options.suite {
        Suite::Events => (&EVENTS, &[]),
        Suite::Launch => (&LAUNCH, &memory::ROWS),
        Suite::Rdma => (&RDMA, &[]),
        Suite::Flexio => (&FLEXIO, &[]),
    };
    let names = rows
        .iter()
        .map(|(name, _)| *name)
        .chain(memory.iter().copied());
    if !names.clone().any(wanted) {
        eprintln!(
            "dpa-bench: no row of that name; there are: {}",
            names.collect::<Vec<_>>().join(", ")
        );
        return ExitCode::from(2);
    }
    if !options.json {
        row::print_head();
    }
    let mut measured = Vec::new();
    for (_, measure) in rows.iter().filter(|(name, _)| wanted(name)) {
        let row = measure(&plan);
        row.print(options.json);
        measured.push(row);
    }
    if options.peers {
        let peers = rdma::peers::rows(&measured);
        peers.iter().for_each(|row| row.print(options.json));
    }
    for name in memory.iter().filter(|name| wanted(name)) {
        memory::in_child(name)
            .into_iter()
            .for_each(|row| row.print(options.json));
    }
    ExitCode::SUCCESS
}
