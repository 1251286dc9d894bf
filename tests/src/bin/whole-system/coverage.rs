//! What the runs have come to: rules that were seen to hold, and mishaps that struck.

use std::collections::BTreeMap;
use std::time::Duration;

use doca_dpa::testing::{MishapCounters, NetworkCounters, NetworkSpec};

/// The promises.
const SEMANTICS: &str = include_str!("../../../../docs/semantics.md");

/// Rules that no simulation can come to, and what sees to them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("1.10", "a cost: `dpa-bench events`"),
    ("2.7", "the compiler checks it: tests/tests/refusals.rs"),
    (
        "2.9",
        "CPU time, which virtual time is not: tests/tests/launches.rs, tests/tests/slices.rs",
    ),
];

const MILLISECONDS: &str = "packets take up to milliseconds";

/// Mishaps that must have struck, and what else must have been there.
const MISHAPS: [&str; 20] = [
    "a packet is lost",
    "a packet comes twice",
    "a packet is overtaken",
    "a packet is damaged",
    "a packet is late",
    MILLISECONDS,
    "a link fails for a time",
    "a node vanishes for a time",
    "a node returns",
    "a peer vanishes",
    "a peer returns",
    "a kernel panics at a device call",
    "an allocation is refused",
    "the queue is full",
    "a queue of sends is full",
    "a queue of receives is full",
    "a completion is late",
    "a NIC stands still",
    "time jumps",
    "a node has a device of its own",
];

/// How often each has been seen.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    rules: BTreeMap<&'static str, u64>,
    mishaps: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// A rule was seen to hold.
    pub fn rule(&mut self, rule: &'static str) {
        *self.rules.entry(rule).or_default() += 1;
    }

    /// A mishap struck so many times.
    pub fn mishap(&mut self, mishap: &'static str, times: u64) {
        *self.mishaps.entry(mishap).or_default() += times;
    }

    /// What a run's counters say.
    pub fn count(&mut self, mishaps: &MishapCounters, network: &NetworkCounters) {
        let [
            lost,
            twice,
            overtaken,
            damaged,
            late,
            _,
            link,
            away,
            back,
            _,
            _,
            panics,
            refused,
            full,
            sends,
            receives,
            completion,
            stall,
            jump,
            _,
        ] = MISHAPS;
        for (mishap, times) in [
            (lost, network.lost),
            (twice, network.duplicated),
            (overtaken, network.reordered),
            (damaged, network.corrupted),
            (late, network.delayed),
            (link, network.outages),
            (away, network.vanished),
            (back, network.returned),
            (panics, mishaps.kernel_panic.struck),
            (refused, mishaps.allocation.struck),
            (full, mishaps.queue_full.struck),
            (sends, mishaps.send_full.struck),
            (receives, mishaps.receive_full.struck),
            (completion, mishaps.completion_late.struck),
            (stall, mishaps.nic_stall.struck),
            (jump, mishaps.clock_jump.struck),
        ] {
            self.mishap(mishap, times);
        }
    }

    /// What a run's network says: packets that travelled as long as that.
    pub fn latency(&mut self, network: &NetworkSpec, counters: &NetworkCounters) {
        if network.most_latency >= Duration::from_millis(1) {
            self.mishap(MILLISECONDS, counters.delivered);
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        for (rule, times) in &other.rules {
            *self.rules.entry(rule).or_default() += times;
        }
        for (mishap, times) in &other.mishaps {
            self.mishap(mishap, *times);
        }
    }

    /// Prints the table; what was never seen although it should have been.
    pub fn table(&self) -> Vec<String> {
        let mut missing = Vec::new();
        println!("\n{:<36} {:>12}", "rule or mishap", "times");
        for rule in rules() {
            let name = format!("R {rule}");
            let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == rule);
            match (self.rules.get(rule.as_str()), elsewhere) {
                (Some(times), _) => println!("{name:<36} {times:>12}"),
                (None, Some((_, why))) => println!("{name:<36} {:>12}  {why}", "-"),
                (None, None) => missing.push(name),
            }
        }
        for mishap in MISHAPS {
            match self.mishaps.get(mishap).copied().unwrap_or(0) {
                0 => missing.push(mishap.to_owned()),
                times => println!("{mishap:<36} {times:>12}"),
            }
        }
        missing
    }
}

/// The numbers of all rules in the text; sections without numbers inside count as one.
fn rules() -> Vec<String> {
    let numbered = SEMANTICS.lines().filter_map(|line| {
        let rest = line.strip_prefix("- **R ")?;
        Some(rest.split_once("**")?.0.to_owned())
    });
    let mut rules: Vec<String> = numbered.collect();
    rules.extend(["3".to_owned(), "7".to_owned()]);
    rules
}
