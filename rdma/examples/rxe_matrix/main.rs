//! Our NIC opposite the kernel's soft-RoCE driver: every operation, both ways, on a quiet network and on a bad one.
//!
//! `cargo xtask interop` runs it in a small virtual machine: our end in a network namespace at 10.77.0.2 and fd77::2
//! (UDP port 4791), the driver at the other end of a veth pair at 10.77.0.1 and fd77::1, a verbs program under text
//! control on top of it at TCP port 9999. It prints the table of `docs/interop.md`. Arguments: names of the cases to
//! try, all if there are none.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::Instant;

use thiserror::Error;

mod cases;
mod lab;
mod node;
mod peer;

use cases::{CASES, Case, Run};
use lab::Lab;

/// What the bad network does, at both ends of the wire.
const NETEM: &str = "netem loss 5% delay 1ms duplicate 1% reorder 5%";
const OUR_DEVICE: &str = "veth1";
const PEER_DEVICE: &str = "veth0";
const CONTROL: &str = "10.77.0.1:9999";

/// Why a case failed.
#[derive(Debug, Error)]
enum Failure {
    #[error("{what}: {found}, not {expected}")]
    Different {
        what: String,
        found: String,
        expected: String,
    },
    #[error("waited in vain for: {0}")]
    Late(String),
    #[error("unexpected: {0}")]
    Answer(String),
    #[error("`{0}` failed")]
    Command(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Bind(#[from] rdma::udp::BindError),
    #[error(transparent)]
    Register(#[from] rdma::region::RegisterError),
    #[error(transparent)]
    Number(#[from] rdma::nic::CreateError),
    #[error(transparent)]
    Transition(#[from] rdma::nic::TransitionError),
    #[error(transparent)]
    Post(#[from] rdma::nic::NicPostError),
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("rxe_matrix: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |case: &&Case| wanted.is_empty() || wanted.iter().any(|name| name == case.name);
    let cases: Vec<&Case> = CASES.iter().filter(chosen).collect();
    let control: SocketAddr = CONTROL.parse().expect("an address of this program");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!("kernel {}", release.trim());
    let mut lab = Lab::open(control)?;
    let quiet = pass("quiet", &cases, &mut lab);
    let quiet_total = std::mem::take(&mut lab.total);
    spoil(&mut lab)?;
    let bad = pass("netem", &cases, &mut lab);
    print_table(&cases, &quiet, &bad);
    print_totals("quiet", &quiet_total);
    print_totals("netem", &lab.total);
    Ok(quiet.iter().chain(&bad).flatten().all(|cell| cell.good()))
}

/// What became of one end of a case.
#[derive(Clone, Copy)]
enum Cell {
    Ok,
    Failed,
    Nothing,
}

impl Cell {
    const fn good(self) -> bool {
        !matches!(self, Self::Failed)
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::Nothing => "-",
        }
    }
}

/// Every case once: as requester, as responder.
fn pass(network: &str, cases: &[&Case], lab: &mut Lab) -> Vec<[Cell; 2]> {
    let mut cell = |case: &Case, role: &str, run: Option<Run>| {
        let start = Instant::now();
        let Some(result) = run.map(|run| run(lab)) else {
            return Cell::Nothing;
        };
        let took = start.elapsed().as_secs_f64();
        let name = case.name;
        match result {
            Ok(()) => {
                println!("{network}, {role}: {name}: ok ({took:.1} s)");
                Cell::Ok
            }
            Err(failure) => {
                println!("{network}, {role}: {name}: FAILED ({took:.1} s): {failure}");
                Cell::Failed
            }
        }
    };
    let mut row = |case: &Case| {
        let requester = cell(case, "requester", Some(case.requester));
        [requester, cell(case, "responder", case.responder)]
    };
    cases.iter().map(|case| row(case)).collect()
}

/// Makes the network a bad one, both ways.
fn spoil(lab: &mut Lab) -> Result<(), Failure> {
    let words = format!("qdisc add dev {OUR_DEVICE} root {NETEM}");
    let done = Command::new("tc").args(words.split(' ')).status()?;
    if !done.success() {
        return Err(Failure::Command(format!("tc {words}")));
    }
    lab.spoil();
    let theirs = format!("tc qdisc add dev {PEER_DEVICE} root {NETEM}");
    match lab.ask(&format!("SH {theirs} && echo done"))?.as_str() {
        "done|" => Ok(()),
        _ => Err(Failure::Command(theirs)),
    }
}

fn print_table(cases: &[&Case], quiet: &[[Cell; 2]], bad: &[[Cell; 2]]) {
    println!("| case | requester | responder | requester, netem | responder, netem |");
    println!("|---|---|---|---|---|");
    for ((case, quiet), bad) in cases.iter().zip(quiet).zip(bad) {
        let cells = quiet.iter().chain(bad).map(|cell| cell.text());
        let cells: Vec<&str> = cells.collect();
        println!("| {} | {} |", case.name, cells.join(" | "));
    }
}

fn print_totals(network: &str, [resent, duplicates, gaps, gaps_heard, timeouts]: &[u64; 5]) {
    println!(
        "total, {network}: our NIC sent {resent} packets again, saw {duplicates} duplicates, reported {gaps} gaps, \
         heard of {gaps_heard}, timed out {timeouts} times"
    );
}
