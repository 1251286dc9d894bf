//! A counter that a node in another process adds to until it is killed.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use doca_dpa::Dpa;
use doca_dpa::rdma::{HostBuffer, Rdma, RemoteMemoryMap, Rights};

use crate::limits::{Dice, Longest};
use crate::{Outcome, left};

/// Additions on their way at a time: so many may have come without the node having heard.
const AHEAD: u64 = 8;
/// A killed peer is noticed within this time.
const NOTICED: Duration = Duration::from_secs(3);

/// An address that no other soak on this machine has, as the process's number is in it: at the home of the counter, or at
/// the node's.
fn address(process: u32, home: bool) -> IpAddr {
    let [_, _, high, low] = process.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, if home { 101 } else { 102 }, high, low))
}

fn open(dpa: &Dpa, address: IpAddr) -> Outcome<Rdma> {
    let rdma = dpa
        .rdma()
        .address(address)
        .timeout(Duration::from_millis(16));
    Ok(rdma.keep_alive(Duration::from_millis(100)).open()?)
}

/// Starts nodes and kills them until it is time; what was done.
pub async fn run(until: Instant, seed: u64) -> Outcome<String> {
    let mut dice = Dice(seed ^ 0xca11);
    let mut longest = Longest::default();
    let dpa = Dpa::builder().workers(1).no_crash_report().open()?;
    let (mut kills, mut done) = (0u64, 0u64);
    while kills == 0 || Instant::now() < until {
        done += one(&dpa, &mut dice, &mut longest).await?;
        kills += 1;
        left::nothing(&dpa, 1).await?;
    }
    left::closed(&longest.within("closing", dpa.close()).await??)?;
    if done == 0 {
        return Err(format!("of {kills} nodes none added anything").into());
    }
    let millis = longest.millis();
    Ok(format!(
        "node: {kills} nodes were killed, {done} acknowledged additions are all there, the longest wait took {millis} ms"
    ))
}

/// One node: how many additions it had heard of when it was killed.
async fn one(dpa: &Dpa, dice: &mut Dice, longest: &mut Longest) -> Outcome<u64> {
    let rdma = open(dpa, address(std::process::id(), true))?;
    let connection = rdma.export()?;
    let map = rdma.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
    let mut child = start()?;
    let mut input = child.stdin.take().ok_or("a pipe")?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("a pipe")?);
    let theirs = line(&mut lines)?;
    connection.connect(&bytes(&theirs)?)?;
    writeln!(
        input,
        "{}\n{}",
        hex(&connection.blob()),
        hex(&map.map().export())
    )?;
    tokio::time::sleep(Duration::from_millis(50 + dice.below(400))).await;
    child.kill()?;
    child.wait()?;
    // What it had said is in the pipe.
    let mut heard = 0;
    while let Ok(number) = line(&mut lines) {
        heard = number.parse::<u64>().unwrap_or(heard);
    }
    let noticed = Instant::now();
    longest
        .within("noticing a killed peer", connection.failed())
        .await?;
    if noticed.elapsed() > NOTICED {
        return Err(format!("a killed peer was noticed after {:?}", noticed.elapsed()).into());
    }
    let word = map.buffer().to_vec();
    let there = u64::from_ne_bytes(word.try_into().map_err(|_| "a word has eight bytes")?);
    if there < heard || there > heard + AHEAD {
        return Err(format!("{heard} additions were acknowledged, {there} are there").into());
    }
    Ok(heard)
}

fn start() -> Outcome<Child> {
    // Also if its file has been replaced meanwhile, as by a build.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("--node")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Ok(command.spawn()?)
}

/// What a node does until it is killed, or its parent is gone.
pub async fn child() -> Outcome {
    let dpa = Dpa::builder().workers(1).no_crash_report().open()?;
    let rdma = open(&dpa, address(std::process::id(), false))?;
    let connection = rdma.export()?;
    println!("{}", hex(&connection.blob()));
    let mut lines = std::io::stdin().lock();
    connection.connect(&bytes(&line(&mut lines)?)?)?;
    let counter = RemoteMemoryMap::import(&bytes(&line(&mut lines)?)?)?;
    let mut out = std::io::stdout().lock();
    let mut heard = 0u64;
    loop {
        let adding: Result<Vec<_>, _> = (0..AHEAD)
            .map(|_| connection.fetch_add(&counter, 0, 1))
            .collect();
        for added in adding? {
            added.await?;
            heard += 1;
            writeln!(out, "{heard}")?;
            out.flush()?;
        }
    }
}

fn line(lines: &mut impl BufRead) -> Outcome<String> {
    let mut line = String::new();
    match lines.read_line(&mut line)? {
        0 => Err("the other side has nothing more to say".into()),
        _ => Ok(line.trim().to_owned()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Outcome<Vec<u8>> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| {
            let pair = hex.get(at..at + 2).ok_or("an even number of digits")?;
            Ok(u8::from_str_radix(pair, 16)?)
        })
        .collect()
}
