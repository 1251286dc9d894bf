//! The run of one seed: rounds of nodes that are opened, work together, and are closed in some order.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use doca_dpa::rdma::{Connection, Rdma, RetryLimit};
use doca_dpa::testing::{Chance, Diary, MishapCounters, Mishaps, NetworkSpec, When};
use doca_dpa::{Builder, Dpa, Error, Sim};
use futures::future::join_all;

use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::work;

/// Each run makes at least so many choices.
pub const CHOICES: u64 = 2000;
/// At most so many rounds.
const ROUNDS: u64 = 50;

pub type Outcome = Result<(), Error>;

/// A context with a NIC, connected to all others.
pub struct Node {
    pub dpa: Dpa,
    pub rdma: Rdma,
    /// To each node, by its place; `None` to itself.
    pub peers: Vec<Option<Connection>>,
}

/// The nodes of one round, and what goes with them.
pub struct World<'a> {
    pub dice: &'a Dice,
    pub nodes: Vec<Node>,
    coverage: &'a RefCell<Coverage>,
    /// How many tasks run beside each other.
    pub busy: Cell<usize>,
    /// Kernels may panic and memory may be refused: errors are no failures then.
    pub lenient: bool,
}

impl World<'_> {
    /// A rule was seen to hold.
    pub fn saw(&self, rule: &'static str) {
        self.coverage.borrow_mut().rule(rule);
    }

    /// A mishap struck.
    pub fn struck(&self, mishap: &'static str) {
        self.coverage.borrow_mut().mishap(mishap, 1);
    }

    /// What holds unless a kernel of the same process may have panicked, or memory may have been refused; whether it does.
    pub fn expect(&self, holds: bool, what: impl std::fmt::Debug) -> bool {
        assert!(holds || self.lenient, "{what:?}");
        holds
    }

    /// As [`World::expect`]; if it holds, this rule was seen to.
    pub fn expect_by(&self, rule: &'static str, holds: bool, what: impl std::fmt::Debug) {
        if self.expect(holds, what) {
            self.saw(rule);
        }
    }

    /// Two different nodes.
    pub fn two(&self) -> (usize, usize) {
        let all = self.nodes.len() as u64;
        let first = self.dice.below(all);
        let second = (first + 1 + self.dice.below(all - 1)) % all;
        (first as usize, second as usize)
    }

    /// Some node.
    pub fn any(&self) -> &Node {
        &self.nodes[self.dice.below(self.nodes.len() as u64) as usize]
    }

    /// The connection from one node to another.
    pub fn between(&self, from: usize, to: usize) -> &Connection {
        let connection = self.nodes[from].peers[to].as_ref();
        connection.expect("to another node")
    }
}

/// Runs a seed; what it has come to, and how many choices it made.
///
/// # Panics
/// If anything comes out wrong.
pub fn run(seed: u64, story: bool) -> (Coverage, u64) {
    let dice = Dice::new(seed);
    let lenient = dice.one_in(4);
    let diary = Arc::new(Diary::default());
    let sim = Sim::new(seed)
        .on(Dpa::builder().partition_eus(16).heap_bytes(1 << 20))
        .network(network(&dice))
        .mishaps(mishaps(&dice, lenient));
    let sim = if story { sim.diary(&diary) } else { sim };
    let coverage = RefCell::default();
    let _told = Told(story.then_some(diary));
    let ended = sim.run(async |dpa| rounds(&dpa, &dice, &coverage, lenient).await);
    let ended = ended.unwrap_or_else(|error| panic!("{error}"));
    (coverage.into_inner(), ended.choices)
}

/// Prints the story at the end, also of a run that failed.
struct Told(Option<Arc<Diary>>);

impl Drop for Told {
    fn drop(&mut self) {
        for note in self.0.iter().flat_map(|diary| diary.take()) {
            println!("{note}");
        }
    }
}

fn network(dice: &Dice) -> NetworkSpec {
    let percent = |one_in, most| match dice.one_in(one_in) {
        true => Chance::percent(1 + dice.below(most) as u32),
        false => Chance::NEVER,
    };
    let most_latency = match dice.one_in(6) {
        true => Duration::from_micros(3 + dice.below(3000)),
        false => NetworkSpec::default().most_latency,
    };
    NetworkSpec {
        loss: percent(2, 5),
        duplicate: percent(2, 5),
        reorder: percent(2, 20),
        corrupt: percent(3, 4),
        outage: percent(4, 1),
        longest_outage: Duration::from_millis(2),
        vanish: percent(4, 1),
        longest_absence: Duration::from_millis(2),
        delay: percent(4, 3),
        longest_delay: Duration::from_millis(3),
        most_latency,
        ..NetworkSpec::default()
    }
}

fn mishaps(dice: &Dice, lenient: bool) -> Mishaps {
    let rarely = |per_million| match dice.one_in(3) {
        true => When::By(Chance::per_million(per_million)),
        false => When::Never,
    };
    let mut mishaps = Mishaps {
        queue_full: rarely(100_000),
        send_full: rarely(20_000),
        receive_full: rarely(50_000),
        completion_late: rarely(10_000),
        longest_lateness: Duration::from_millis(2),
        nic_stall: rarely(2_000),
        clock_jump: rarely(500),
        longest_jump: Duration::from_millis(3),
        ..Mishaps::NONE
    };
    if lenient {
        mishaps.kernel_panic = rarely(2_000);
        mishaps.allocation = rarely(20_000);
    }
    mishaps
}

async fn rounds(dpa: &Dpa, dice: &Dice, coverage: &RefCell<Coverage>, lenient: bool) {
    for number in 0..ROUNDS {
        if let Err(error) = round(dpa, number as u8, dice, coverage, lenient).await {
            assert!(struck(dpa, lenient), "a round failed: {error}");
        }
        let made = dpa.device().choices().map_or(0, |(made, _)| made);
        if made >= CHOICES {
            break;
        }
    }
    let network = dpa.network().expect("a simulation");
    let fate = dpa.fate().expect("a simulation").counters();
    let mut coverage = coverage.borrow_mut();
    coverage.count(&fate, &network.counters());
    coverage.latency(&network.spec(), &network.counters());
}

/// Whether something has struck that may be the cause of an error.
fn struck(dpa: &Dpa, lenient: bool) -> bool {
    let fate = dpa.fate().map(|fate| fate.counters());
    let MishapCounters {
        kernel_panic,
        allocation,
        ..
    } = fate.unwrap_or_default();
    lenient && kernel_panic.struck + allocation.struck > 0
}

/// Opens nodes, has them work, and closes them.
async fn round(
    dpa: &Dpa,
    number: u8,
    dice: &Dice,
    coverage: &RefCell<Coverage>,
    lenient: bool,
) -> Outcome {
    let count = 2 + dice.below(2) as u8;
    let nodes: Result<Vec<Node>, Error> =
        (1..=count).map(|at| node(dpa, number, at, dice)).collect();
    let mut world = World {
        dice,
        nodes: nodes?,
        coverage,
        busy: Cell::new(0),
        lenient,
    };
    let devices = world.nodes.iter().filter(|node| !node.shares_device(dpa));
    (0..devices.count()).for_each(|_| world.struck("a node has a device of its own"));
    connect(&mut world.nodes)?;
    let tasks = 1 + dice.below(5);
    world.busy.set(tasks as usize);
    let chosen: Vec<&work::Task> = (0..tasks)
        .map(|_| &work::ALL[dice.below(work::ALL.len() as u64) as usize])
        .collect();
    let running = chosen.iter().map(|(_, start)| start(&world));
    for ((name, _), outcome) in chosen.iter().zip(join_all(running).await) {
        if let Err(error) = outcome {
            // What does not wait for room may be refused.
            let said = error.to_string();
            let full = ["the queue is full", "work requests are outstanding"];
            let refused = full.iter().any(|full| said.contains(full));
            assert!(refused || struck(dpa, lenient), "{name}: {error}");
        }
    }
    close(world, dpa).await;
    Ok(())
}

/// A link that fails for up to 2 ms again and again, as soon as packets pass, can lose more than eight attempts of 1 ms.
pub const PATIENCE: RetryLimit = RetryLimit::Times(40);

impl Node {
    /// Whether it is a context on the first device, and not on one of its own.
    fn shares_device(&self, first: &Dpa) -> bool {
        self.dpa.device().is(first.device())
    }
}

/// A context beside others on the first device, whose NICs it may share with some that still end, or on a device of its own. There
/// it has an address that no other device has had.
fn node(first: &Dpa, round: u8, last: u8, dice: &Dice) -> Result<Node, Error> {
    let (dpa, address) = match dice.one_in(2) {
        true => (first.open_beside()?, Ipv4Addr::new(10, 0, 0, last)),
        false => {
            let own = first.open_device(device(dice))?;
            (own, Ipv4Addr::new(10, 1, round, last))
        }
    };
    let address = IpAddr::V4(address);
    let rdma = dpa.rdma().address(address).connections(8);
    let rdma = rdma.timeout(Duration::from_millis(1)).retries(PATIENCE);
    let rdma = rdma.open()?;
    Ok(Node {
        dpa,
        rdma,
        peers: Vec::new(),
    })
}

/// Other figures than those of the first device; launches have up to 16 threads.
fn device(dice: &Dice) -> Builder {
    let units = 16 + dice.below(32) as u32;
    let builder = Dpa::builder().partition_eus(units).heap_bytes(1 << 20);
    match dice.one_in(2) {
        true => builder.deadlock_grace(Duration::from_millis(1 + dice.below(2000))),
        false => builder,
    }
}

/// Every node to every other.
fn connect(nodes: &mut [Node]) -> Outcome {
    for from in 0..nodes.len() {
        for to in 0..nodes.len() {
            let connection = (from != to).then(|| nodes[from].rdma.export());
            nodes[from].peers.push(connection.transpose()?);
        }
    }
    for from in 0..nodes.len() {
        for to in 0..nodes.len() {
            let (here, there) = (&nodes[from].peers[to], &nodes[to].peers[from]);
            if let (Some(here), Some(there)) = (here, there) {
                here.connect(&there.blob())?;
            }
        }
    }
    Ok(())
}

/// Closes or drops the nodes in some order; what is closed has nothing left of its work.
async fn close(world: World<'_>, dpa: &Dpa) {
    let World {
        dice,
        mut nodes,
        coverage,
        lenient,
        ..
    } = world;
    while !nodes.is_empty() {
        let node = nodes.swap_remove(dice.below(nodes.len() as u64) as usize);
        if dice.one_in(3) {
            continue;
        }
        let Node {
            dpa: own,
            rdma,
            peers,
        } = node;
        drop((rdma, peers));
        let fatal = own.last_error().is_some();
        let closed = own.close().await;
        let report = closed.unwrap_or_else(|error| panic!("nothing runs any more: {error}"));
        let left = (
            report.launches_dropped,
            report.threads_stopped,
            report.events,
        );
        assert!(
            fatal || struck(dpa, lenient) || left == (0, 0, 0),
            "{report:?}"
        );
        coverage.borrow_mut().rule("7");
    }
}

/// A task, started.
pub type Started<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;
