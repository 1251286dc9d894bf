//! Graphs of launches: each waits for a condition of one event and adds to another. Under the seeded driver what runs is what a
//! simple model says, and all of it.
//!
//! The first byte is the seed of the schedule; then three bytes a launch: the event and value it waits for, the event it adds to
//! and how much, and how many threads it has.
#![no_main]

use doca_dpa::{Dpa, Error, Location, Sim, SyncEvent};
use libfuzzer_sys::fuzz_target;
use tests::{CountArgs, count};

const EVENTS: usize = 4;
const LAUNCHES: usize = 24;

#[derive(Clone, Copy)]
struct Node {
    waits_on: usize,
    until: u64,
    adds_to: usize,
    n: u64,
    threads: u32,
}

impl Node {
    fn new(bytes: &[u8]) -> Self {
        let [wait, add, threads] = [bytes[0], bytes[1], bytes[2]];
        Self {
            waits_on: usize::from(wait) % EVENTS,
            until: u64::from(wait >> 2) % 16,
            adds_to: usize::from(add) % EVENTS,
            n: u64::from(add >> 2) % 4,
            threads: 1 + u32::from(threads) % 5,
        }
    }
}

/// What the events are in the end, and who runs.
fn model(nodes: &[Node]) -> ([u64; EVENTS], Vec<bool>) {
    let mut values = [1; EVENTS];
    let mut ran = vec![false; nodes.len()];
    while let Some(next) =
        (0..nodes.len()).find(|&n| !ran[n] && values[nodes[n].waits_on] >= nodes[n].until)
    {
        ran[next] = true;
        values[nodes[next].adds_to] += nodes[next].n;
    }
    (values, ran)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((seed, rest)) = bytes.split_first() else {
        return;
    };
    let nodes: Vec<Node> = rest.chunks_exact(3).take(LAUNCHES).map(Node::new).collect();
    let run = Sim::new(u64::from(*seed)).run(async |dpa| graph(&dpa, &nodes).await);
    run.expect("it ends").value.expect("no error");
});

async fn graph(dpa: &Dpa, nodes: &[Node]) -> Result<(), Error> {
    let both = || Location::Host | Location::Device;
    let events = (0..EVENTS)
        .map(|_| {
            SyncEvent::builder(dpa)
                .publisher(both())
                .subscriber(both())
                .create()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let total = dpa.zeroed::<u64>(1).await?;
    let (values, ran) = model(nodes);
    let mut launches = Vec::new();
    for node in nodes {
        let launch = dpa.launch(count).args(CountArgs { total: &total });
        let launch = launch
            .threads(node.threads)
            .wait_for(events[node.waits_on].ge(node.until));
        launches.push(launch.then_add(&events[node.adds_to], node.n).submit()?);
    }
    events.iter().try_for_each(|event| event.add(1).map(drop))?;
    let mut threads = 0;
    let mut left = Vec::new();
    for ((launch, node), ran) in launches.into_iter().zip(nodes).zip(&ran) {
        if *ran {
            launch.await?;
            threads += u64::from(node.threads);
        } else {
            left.push(launch);
        }
    }
    assert_eq!(total.copy_out().await?, [threads]);
    let now: Vec<u64> = events.iter().map(SyncEvent::get).collect();
    assert_eq!(now, values);
    assert!(
        left.iter()
            .all(|launch| !launch.is_over() && launch.cancel())
    );
    Ok(())
}
