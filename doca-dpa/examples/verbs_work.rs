//! What work of a kernel over verbs costs, and what waiting for a peer's signal does.
//!
//! ```sh
//! DPA_RDMA=verbs verbs_work work 10.77.0.1 1000           # a kernel writes and signals to its own node
//! DPA_RDMA=verbs verbs_work wait 10.77.0.1 10.77.0.2      # the host waits for signals of the second that come after a pause
//! ```
//!
//! `cargo xtask verbs cost` runs the first under callgrind, beside `verbs_bare` of the crate `rdma`, and the second.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use doca_dpa::rdma::{
    Connection, EventExport, MemoryMap, Rdma, RemoteMemoryMap, RemoteSyncEvent, Rights,
};
use doca_dpa::{DeviceBuffer, Dpa, Location, SyncEvent};
use kernels::{WriteAndSignalArgs, write_and_signal};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

mod kernels {
    use doca_dpa_dev::prelude::*;

    /// So many rounds of a write of eight bytes and a signal to this same node, each awaited.
    #[dpa_kernel]
    pub fn write_and_signal(
        thread: &Thread,
        rdma: Rdma,
        done: Completions,
        sent: LocalMemory,
        to: RemoteMemory,
        signal: RemoteEvent,
        times: u64,
    ) {
        let peer = rdma.connection(0);
        for round in 1..=times {
            let wrote = peer.write(sent.at(0, 8), to.at(0, 8), PostFlags::NONE);
            let signaled = peer.signal_set(signal, round, PostFlags::FLUSH);
            for posted in [wrote, signaled] {
                let over = posted.map(|_| done.wait());
                if !over.is_ok_and(|over| over.is_ok_and(|done| done.result().is_ok())) {
                    thread.error(1);
                }
            }
        }
    }
}

/// A node that is connected to itself.
struct Node {
    _pair: [Connection; 2],
    map: MemoryMap,
    to: RemoteMemoryMap,
    event: SyncEvent,
    signal: RemoteSyncEvent,
    _export: EventExport,
    _memory: DeviceBuffer<u64>,
    rdma: Rdma,
    dpa: Dpa,
}

impl Node {
    fn new(address: IpAddr) -> Outcome<Self> {
        let dpa = Dpa::builder().workers(1).open()?;
        let rdma = dpa.rdma().address(address).connections(3).open()?;
        println!("RDMA: {}", rdma.provider());
        let (one, other) = (rdma.export()?, rdma.export()?);
        one.connect(&other.blob())?;
        other.connect(&one.blob())?;
        let memory = dpa.zeroed_blocking::<u64>(8)?;
        let map = rdma.map(&memory, Rights::REMOTE_WRITE)?;
        let event = SyncEvent::builder(&dpa)
            .publisher(Location::Remote)
            .subscriber(Location::Host)
            .create()?;
        let export = rdma.export_event(&event)?;
        Ok(Self {
            to: RemoteMemoryMap::import(&map.export())?,
            signal: RemoteSyncEvent::import(&export.export())?,
            _pair: [one, other],
            map,
            event,
            _export: export,
            _memory: memory,
            rdma,
            dpa,
        })
    }

    fn work(&self, times: u64) -> Outcome {
        let args = WriteAndSignalArgs {
            rdma: &self.rdma,
            done: self.rdma.completions(),
            sent: &self.map,
            to: self.to,
            signal: self.signal,
            times,
        };
        let times_taken = self
            .dpa
            .launch(write_and_signal)
            .args(args)
            .submit()?
            .wait()?;
        if self.event.get() != times {
            return Err("the last signal is not there".into());
        }
        let taken = times_taken.end - times_taken.start;
        let each = taken.as_nanos() as u64 / (2 * times.max(1));
        println!("ours: {} work requests, {each} ns each", 2 * times);
        Ok(())
    }
}

/// Waits for signals that come after a pause: how long after they were posted the wait is over, and which share of a
/// processor the NIC's own thread takes meanwhile.
fn wait(here: IpAddr, there: IpAddr) -> Outcome {
    let (node, peer) = (Node::new(here)?, Node::new(there)?);
    let (to_node, to_peer) = (peer.rdma.export()?, node.rdma.export()?);
    to_node.connect(&to_peer.blob())?;
    to_peer.connect(&to_node.blob())?;
    println!(
        "nobody waits: {}",
        share_of(|| std::thread::sleep(Duration::from_secs(2)))?
    );
    let mut last = 0;
    for (pause, times) in [(0, 1000), (1, 200), (10, 50), (100, 20)] {
        let pause = Duration::from_millis(pause);
        let mut late = Vec::new();
        let share = share_of(|| {
            for _ in 0..times {
                last += 1;
                late.push(one_wait(&node, &to_node, last, pause));
            }
        })?;
        let mut late = late
            .into_iter()
            .collect::<Result<Vec<Duration>, String>>()?;
        late.sort();
        let (median, worst) = (late[late.len() / 2], late[late.len() * 99 / 100]);
        println!("signals after {pause:?}: median {median:?}, p99 {worst:?}; {share}");
    }
    Ok(())
}

/// One signal, after a pause in which its receiver waits already.
fn one_wait(
    node: &Node,
    to_node: &Connection,
    value: u64,
    pause: Duration,
) -> Result<Duration, String> {
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let outcome = node.event.ge(value).blocking();
            outcome.map(|_| Instant::now()).map_err(|e| e.to_string())
        });
        std::thread::sleep(pause);
        let posted = Instant::now();
        let signaled = to_node.signal_set(&node.signal, value);
        let done = signaled.map(futures::executor::block_on);
        let over = waits.join().map_err(|_| "the wait panicked")?;
        match done {
            Ok(Ok(_)) => Ok(over?.saturating_duration_since(posted)),
            _ => Err("the signal was not sent".into()),
        }
    })
}

/// The share of a processor that the NICs' threads take while this is done.
fn share_of(work: impl FnOnce()) -> Result<String, std::io::Error> {
    let (begun, before) = (Instant::now(), taken_by_nics()?);
    work();
    let (wall, taken) = (begun.elapsed(), taken_by_nics()? - before);
    let share = 100.0 * taken.as_secs_f64() / wall.as_secs_f64();
    Ok(format!("{share:.1} % of a processor"))
}

/// What the NICs' own threads have run.
fn taken_by_nics() -> Result<Duration, std::io::Error> {
    let mut all = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let read = |name: &str| std::fs::read_to_string(task.join(name));
        // Other threads may end meanwhile.
        let (Ok(name), Ok(figures)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        if name.trim() == "dpa-nic" {
            let nanos = figures.split(' ').next().and_then(|text| text.parse().ok());
            all += Duration::from_nanos(nanos.unwrap_or(0));
        }
    }
    Ok(all)
}

fn main() -> Outcome {
    const USE: &str = "verbs_work work ADDRESS TIMES, or verbs_work wait ADDRESS ADDRESS";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, address, last] = arguments.as_slice() else {
        return Err(USE.into());
    };
    match what.as_str() {
        "work" => Node::new(address.parse()?)?.work(last.parse()?),
        "wait" => wait(address.parse()?, last.parse()?),
        _ => Err(USE.into()),
    }
}
