//! The virtual network of a simulation: it carries packets between the NICs of its devices, late and badly if it is told to.
//!
//! All NICs of all devices of a simulation are on it, at whatever addresses they were opened. Each packet's fate is drawn from the
//! seed when it is sent: whether it is lost, doubled, damaged, overtaken, and how long it travels in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdma::Datagram;
use rdma::wire::Summary;

use crate::device::Device;
use crate::mishaps::some_of;
use crate::nic::DeviceNic;
use crate::seeded::{Choices, Simulation};

/// How likely something is: so many times in a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chance(u32);

const MILLION: u32 = 1_000_000;

impl Chance {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// Always.
    pub const ALWAYS: Self = Self(MILLION);

    /// So many times in a million; more than a million is always.
    pub const fn per_million(n: u32) -> Self {
        Self(if n < MILLION { n } else { MILLION })
    }

    /// So many times in a hundred; more than a hundred is always.
    pub const fn percent(n: u32) -> Self {
        Self::per_million(if n < 100 { n * 10_000 } else { MILLION })
    }

    /// How many times in a million.
    pub const fn in_a_million(self) -> u32 {
        self.0
    }

    /// Whether it happens now.
    pub(crate) fn strikes(self, choices: &Choices) -> bool {
        self.0 > 0 && choices.below(MILLION.into()) < self.0.into()
    }
}

/// What a virtual network does to packets. By default it carries each once, in order, within a few microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// A packet is lost.
    pub loss: Chance,
    /// A packet comes twice.
    pub duplicate: Chance,
    /// A packet may be overtaken by later ones, and overtake earlier ones.
    pub reorder: Chance,
    /// A bit of a packet is flipped.
    pub corrupt: Chance,
    /// At a packet an outage begins: it, and what else is sent between the two nodes in either direction for a time, is
    /// lost.
    pub outage: Chance,
    /// The longest that an outage lasts.
    pub longest_outage: Duration,
    /// At a packet one of its two nodes vanishes: what any other sends to it, and what it sends, is lost for a time. Then it is back, as
    /// it was.
    pub vanish: Chance,
    /// The longest that a node is away.
    pub longest_absence: Duration,
    /// A packet is late. Those behind it on its way are not faster.
    pub delay: Chance,
    /// How late a packet is at most.
    pub longest_delay: Duration,
    /// The least time a packet travels.
    pub least_latency: Duration,
    /// The most time a packet travels, if it is not reordered.
    pub most_latency: Duration,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            loss: Chance::NEVER,
            duplicate: Chance::NEVER,
            reorder: Chance::NEVER,
            corrupt: Chance::NEVER,
            outage: Chance::NEVER,
            longest_outage: Duration::from_millis(10),
            vanish: Chance::NEVER,
            longest_absence: Duration::from_millis(10),
            delay: Chance::NEVER,
            longest_delay: Duration::from_millis(1),
            least_latency: Duration::from_micros(1),
            most_latency: Duration::from_micros(3),
        }
    }
}

/// Packets in flight, at most; more are lost, as at a switch whose buffers are full.
const MOST_FLYING: usize = 1 << 16;

/// A packet that is reordered travels up to so many times as long.
const LATE: u64 = 8;

/// What a network has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Packets sent.
    pub sent: u64,
    /// Packets delivered, doubles included.
    pub delivered: u64,
    /// Packets lost, those included for which 65,536 others left no room.
    pub lost: u64,
    /// Packets doubled.
    pub duplicated: u64,
    /// Packets that later ones might overtake.
    pub reordered: u64,
    /// Packets with a flipped bit.
    pub corrupted: u64,
    /// Packets that were late.
    pub delayed: u64,
    /// Packets that a cut, an outage or an absence stopped.
    pub cut: u64,
    /// Outages that began by themselves.
    pub outages: u64,
    /// Nodes that vanished by themselves.
    pub vanished: u64,
    /// Nodes that were back when the next packet was sent, by whomever.
    pub returned: u64,
    /// Packets to addresses without a NIC.
    pub unreachable: u64,
}

/// The network of one simulation.
#[derive(Debug, Default)]
pub struct Network {
    state: Mutex<State>,
    /// Where there are NICs. A lock of its own: NICs are opened and closed under others.
    taken: Mutex<BTreeSet<SocketAddr>>,
}

#[derive(Debug, Default)]
struct State {
    spec: NetworkSpec,
    /// By the time at which they arrive, and a number that makes each of its own.
    flying: BTreeMap<(u64, u64), Datagram>,
    next: u64,
    /// When the last packet in order between two nodes arrives, while it flies.
    last: BTreeMap<(SocketAddr, SocketAddr), u64>,
    cuts: Vec<(IpAddr, IpAddr)>,
    /// Outages by themselves, and when they end.
    outages: BTreeMap<(IpAddr, IpAddr), u64>,
    /// Nodes that are away, and until when.
    absent: BTreeMap<IpAddr, u64>,
    counters: NetworkCounters,
}

fn pair(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    if a <= b { (a, b) } else { (b, a) }
}

impl Network {
    /// From now on it does this to packets.
    pub fn set(&self, spec: NetworkSpec) {
        self.state.lock().spec = spec;
    }

    /// What it does to packets.
    pub fn spec(&self) -> NetworkSpec {
        self.state.lock().spec
    }

    /// No packet passes between these two any more, in either direction.
    pub fn cut(&self, a: IpAddr, b: IpAddr) {
        let mut state = self.state.lock();
        if !state.cuts.contains(&pair(a, b)) {
            state.cuts.push(pair(a, b));
        }
    }

    /// Packets pass between these two again.
    pub fn mend(&self, a: IpAddr, b: IpAddr) {
        self.state.lock().cuts.retain(|cut| *cut != pair(a, b));
    }

    /// What it has done.
    pub fn counters(&self) -> NetworkCounters {
        self.state.lock().counters
    }

    /// Takes up what the NICs of these devices have sent, and delivers what has arrived; whether anything was delivered.
    pub(crate) fn carry<'a, D>(&self, devices: impl Fn() -> D, simulation: &Simulation) -> bool
    where
        D: Iterator<Item = &'a Device>,
    {
        let now = simulation.now();
        let mut state = self.state.lock();
        // What flies arrives also when the last NIC is gone.
        if state.flying.is_empty() && devices().all(|device| device.nics.is_empty()) {
            return false;
        }
        let mut take = |nic: &Arc<DeviceNic>| {
            for datagram in nic.take_sent() {
                let described = simulation.keeps_diary().then(|| described(&datagram));
                let fate = state.send(datagram, &simulation.choices, now);
                let note = || format!("{}: {fate}", described.unwrap_or_default());
                simulation.note_network(None, note);
            }
        };
        devices().for_each(|device| device.nics.each(&mut take));
        let mut any = false;
        while let Some(datagram) = state.arrived(now) {
            any = true;
            let described = simulation.keeps_diary().then(|| described(&datagram));
            let found = devices().find_map(|device| device.nics.at(datagram.to));
            let counters = &mut state.counters;
            let (counter, how) = match found {
                Some(nic) => {
                    nic.deliver(datagram);
                    (&mut counters.delivered, "arrives")
                }
                None => (&mut counters.unreachable, "finds no NIC"),
            };
            *counter += 1;
            let note = || format!("{} {how}", described.unwrap_or_default());
            simulation.note_network(None, note);
        }
        any
    }

    /// A NIC is opened at this address; false if there is one on another device.
    pub(crate) fn take_address(&self, address: SocketAddr) -> bool {
        self.taken.lock().insert(address)
    }

    /// The NIC at this address is closed.
    pub(crate) fn free_address(&self, address: SocketAddr) {
        self.taken.lock().remove(&address);
    }

    /// When the next packet arrives.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        let state = self.state.lock();
        state.flying.first_key_value().map(|((at, _), _)| *at)
    }
}

fn described(datagram: &Datagram) -> String {
    let Datagram { from, to, bytes } = datagram;
    format!("{from} -> {to} {}", Summary(bytes))
}

/// Nanoseconds of device time.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

impl State {
    /// Draws what becomes of a packet; in words.
    fn send(&mut self, mut datagram: Datagram, choices: &Choices, now: u64) -> &'static str {
        self.counters.sent += 1;
        let ends = pair(datagram.from.ip(), datagram.to.ip());
        if self.is_cut(ends, choices, now) {
            self.counters.cut += 1;
            return "the link is cut";
        }
        if self.spec.loss.strikes(choices) {
            self.counters.lost += 1;
            return "lost";
        }
        let mut fate = "sent";
        if self.spec.duplicate.strikes(choices) {
            self.counters.duplicated += 1;
            fate = "sent twice";
            let _ = self.fly(datagram.clone(), choices, now);
        }
        if self.spec.corrupt.strikes(choices) && !datagram.bytes.is_empty() {
            self.counters.corrupted += 1;
            fate = "sent with a flipped bit";
            let bit = choices.below(datagram.bytes.len() as u64 * 8);
            datagram.bytes[bit as usize / 8] ^= 1 << (bit % 8);
        }
        match self.fly(datagram, choices, now) {
            Some(true) => "sent, may be overtaken",
            Some(false) => fate,
            None => "lost, there is no room",
        }
    }

    /// Whether nothing passes between these two. A packet may be the one at which an outage or an absence begins.
    fn is_cut(&mut self, ends: (IpAddr, IpAddr), choices: &Choices, now: u64) -> bool {
        self.outages.retain(|_, ends_at| *ends_at > now);
        if self.cuts.contains(&ends) || self.outages.contains_key(&ends) {
            return true;
        }
        if self.is_away(ends, choices, now) {
            return true;
        }
        let begins = self.spec.outage.strikes(choices);
        if begins {
            self.counters.outages += 1;
            let lasts = choices.below(nanos(self.spec.longest_outage).max(1));
            self.outages.insert(ends, now.saturating_add(lasts));
        }
        begins
    }

    /// Whether one of these two is away.
    fn is_away(&mut self, (one, other): (IpAddr, IpAddr), choices: &Choices, now: u64) -> bool {
        let before = self.absent.len();
        self.absent.retain(|_, until| *until > now);
        self.counters.returned += (before - self.absent.len()) as u64;
        if [one, other].iter().any(|end| self.absent.contains_key(end)) {
            return true;
        }
        let vanishes = self.spec.vanish.strikes(choices);
        if vanishes {
            self.counters.vanished += 1;
            let who = [one, other][choices.below(2) as usize];
            let lasts = choices.below(nanos(self.spec.longest_absence).max(1));
            self.absent.insert(who, now.saturating_add(lasts));
        }
        vanishes
    }

    /// Sends it on its way; whether later ones may overtake it. `None`: there is no room.
    fn fly(&mut self, datagram: Datagram, choices: &Choices, now: u64) -> Option<bool> {
        if self.flying.len() >= MOST_FLYING {
            self.counters.lost += 1;
            return None;
        }
        let least = nanos(self.spec.least_latency);
        let spread = nanos(self.spec.most_latency)
            .saturating_sub(least)
            .saturating_add(1);
        let ends = (datagram.from, datagram.to);
        let mut at = now
            .saturating_add(least)
            .saturating_add(choices.below(spread));
        if self.spec.delay.strikes(choices) {
            self.counters.delayed += 1;
            at = at.saturating_add(some_of(self.spec.longest_delay, choices));
        }
        let late = self.spec.reorder.strikes(choices);
        if late {
            self.counters.reordered += 1;
            let longer = choices.below(spread.saturating_mul(LATE));
            at = now.saturating_add(least).saturating_add(longer);
        } else {
            let last = self.last.entry(ends).or_default();
            at = at.max(*last);
            *last = at;
        }
        self.next += 1;
        self.flying.insert((at, self.next), datagram);
        Some(late)
    }

    fn arrived(&mut self, now: u64) -> Option<Datagram> {
        let first = self.flying.first_entry().filter(|e| e.key().0 <= now)?;
        let ((at, _), datagram) = first.remove_entry();
        let ends = (datagram.from, datagram.to);
        if self.last.get(&ends).is_some_and(|last| *last <= at) {
            self.last.remove(&ends);
        }
        Some(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_is_at_most_always() {
        assert_eq!(Chance::percent(5), Chance::per_million(50_000));
        assert_eq!(Chance::percent(u32::MAX), Chance::ALWAYS);
        assert_eq!(Chance::per_million(u32::MAX), Chance::ALWAYS);
    }

    #[test]
    fn a_cut_is_one_of_both_directions() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let network = Network::default();
        network.cut(a, b);
        network.cut(b, a);
        network.mend(b, a);
        assert!(network.state.lock().cuts.is_empty());
    }

    #[test]
    fn what_flies_is_bounded_and_nothing_of_what_has_arrived_is_left() {
        let choices = Choices::new(1, u64::MAX, None);
        let mut state = State::default();
        let datagram = |port| Datagram {
            from: ([10, 0, 0, 1], port).into(),
            to: ([10, 0, 0, 2], 4791).into(),
            bytes: vec![0],
        };
        for at in 0..MOST_FLYING + 5 {
            state.send(datagram(at as u16), &choices, 0);
        }
        assert_eq!(state.flying.len(), MOST_FLYING);
        assert_eq!(state.counters.lost, 5);
        let arrived = std::iter::from_fn(|| state.arrived(1 << 20)).count();
        assert_eq!(arrived, MOST_FLYING);
        assert!(state.last.is_empty());
    }
}
