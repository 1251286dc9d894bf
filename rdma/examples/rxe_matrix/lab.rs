//! Both ends and the wire between them: what the cases are written with.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rdma::config::Peer;
use rdma::counters::Counters;
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::region::{Region, RemoteKey};
use rdma::wire::{Path, UDP_PORT};
use rdma::work::{
    Completion, Data, Flags, Operation, Received, RemoteAddress, Segment, WorkDone, WorkRequest,
};

use crate::Failure;
use crate::node::{self, Node, REGION, TIMEOUT_CODE};
use crate::peer::{Control, Done, PeerMemory, SUCCESS, from_hex, to_hex};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the peer looks at its completion queue for one command.
const LOOK_MS: u32 = 2000;
/// Bytes of one `POKE`: the peer takes long for long lines.
const POKE: usize = 1024;
/// Packets on their way towards a peer that tells no budget.
const BUDGET: u32 = 32;

/// The addresses of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const fn ours(self) -> &'static str {
        match self {
            Self::V4 => "10.77.0.2",
            Self::V6 => "fd77::2",
        }
    }

    const fn theirs(self) -> &'static str {
        match self {
            Self::V4 => "10.77.0.1",
            Self::V6 => "fd77::1",
        }
    }

    /// As the verbs write an address.
    fn gid(self, address: &str) -> String {
        match self {
            Self::V4 => format!("::ffff:{address}"),
            Self::V6 => address.into(),
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address of this program")
    }
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    pub family: Family,
    pub mtu: PathMtu,
    /// Our queue pair.
    pub ours: Qpn,
    /// The kernel's: its place in the peer's list, and its number.
    pub index: usize,
    pub theirs: u32,
}

/// An end of ours with its regions: one for everything, one to be read only.
pub struct End {
    pub node: Node,
    pub region: Region,
    pub readable: Region,
}

/// Both ends.
pub struct Lab {
    v4: End,
    v6: End,
    control: Control,
    pub memory: PeerMemory,
    gids: String,
    /// Of all queue pairs that are gone: sent again, duplicates seen, gaps reported, gaps heard of, timeouts.
    pub total: [u64; 5],
    spoiled: bool,
}

impl Lab {
    /// From now on the network loses packets.
    pub fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// Whether the network loses packets.
    pub const fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    pub fn open(control: SocketAddr) -> Result<Self, Failure> {
        let end = |family: Family, name| -> Result<End, Failure> {
            let (node, region, readable) = Node::bind(Family::address(family.ours()), name)?;
            Ok(End {
                node,
                region,
                readable,
            })
        };
        let mut lab = Self {
            v4: end(Family::V4, 0x4000)?,
            v6: end(Family::V6, 0x6000)?,
            control: Control::connect(control)?,
            memory: PeerMemory {
                base: 0,
                key: 0,
                readable: 0,
            },
            gids: String::new(),
            total: [0; 5],
            spoiled: false,
        };
        let answer = lab.ask("MR")?;
        lab.memory = PeerMemory::parse(&answer).ok_or(Failure::Answer(answer))?;
        lab.gids = lab.ask("GIDS")?;
        Ok(lab)
    }

    pub fn end(&mut self, family: Family) -> &mut End {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    pub fn node(&mut self, wire: Wire) -> &mut Node {
        &mut self.end(wire.family).node
    }

    /// Connects a new queue pair of ours with a new one of the kernel's; both start with `psn`.
    pub fn connect(&mut self, family: Family, mtu: PathMtu, psn: u32) -> Result<Wire, Failure> {
        let first = Psn::new(psn);
        let ours = self.end(family).node.create(first, mtu)?;
        let (index, theirs) = self.peer_queue_pair(family, mtu, psn, ours)?;
        let socket = |text| SocketAddr::from((Family::address(text), UDP_PORT));
        let path = Path::new(socket(family.ours()), socket(family.theirs()));
        let peer = Peer {
            path: path.ok_or(Failure::Answer("two families".into()))?,
            number: Qpn::new(theirs).ok_or(Failure::Answer(theirs.to_string()))?,
            first_psn: first,
            mtu,
            budget: BUDGET,
            responder_resources: 16,
            lid: 0,
            max_identification: u16::MAX,
            max_segments: 1,
        };
        self.end(family).node.connect(ours, peer)?;
        Ok(Wire {
            family,
            mtu,
            ours,
            index,
            theirs,
        })
    }

    fn peer_queue_pair(
        &mut self,
        family: Family,
        mtu: PathMtu,
        psn: u32,
        ours: Qpn,
    ) -> Result<(usize, u32), Failure> {
        let gid = self.gid_index(family)?;
        let dgid = family.gid(family.ours());
        let (number, mtu) = (ours.value(), mtu as usize + 1);
        // Retries 7 of both kinds, RNR timer code 18 (5.12 ms), 16 reads and atomics.
        let answer = self.ask(&format!(
            "QP {gid} {dgid} {number} {psn} {psn} {mtu} {TIMEOUT_CODE} 7 7 18 16"
        ))?;
        let words: Vec<&str> = answer.split_whitespace().collect();
        match words[..] {
            [index, number, "rc", "0", "0", "0"] => index.parse().ok().zip(number.parse().ok()),
            _ => None,
        }
        .ok_or(Failure::Answer(answer))
    }

    fn gid_index(&self, family: Family) -> Result<usize, Failure> {
        let wanted = family.gid(family.theirs());
        let entries = self.gids.split_whitespace();
        let mut pairs = entries.filter_map(|entry| entry.split_once('='));
        let found = pairs.find(|(_, gid)| *gid == wanted);
        found
            .and_then(|(index, _)| index.parse().ok())
            .ok_or(Failure::Answer(format!("no GID {wanted} in {}", self.gids)))
    }

    /// Takes the connection down and says whether our end is as it should be.
    pub fn close(&mut self, wire: Wire) -> Result<(), Failure> {
        self.ask(&format!("DESTROY {}", wire.index))?;
        let node = self.node(wire);
        let counters = node.counters(wire.ours);
        node.destroy(wire.ours);
        let nic = node.nic_counters();
        let guards = node.guards_hold();
        self.count(&counters);
        same("bytes outside of the region untouched", &guards, &true)?;
        same("packets with a wrong ICRC", &nic.bad_icrc, &0)?;
        same("packets with an unknown opcode", &nic.bad_opcode, &0)
    }

    fn count(&mut self, counters: &Counters) {
        let values = [
            counters.resent,
            counters.duplicates,
            counters.sequence_naks_sent,
            counters.sequence_naks_received,
            counters.timeouts,
        ];
        for (total, value) in self.total.iter_mut().zip(values) {
            *total += value;
        }
    }

    /// Waits while both our ends work.
    pub fn until<T>(
        &mut self,
        what: impl Fn() -> String,
        mut ready: impl FnMut(&mut Self) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = ready(self)? {
                return Ok(value);
            }
            let busy = self.v4.node.progress() | self.v6.node.progress();
            if Instant::now() > end {
                return Err(Failure::Late(what()));
            }
            if !busy {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    /// One command to the peer, and its answer.
    pub fn ask(&mut self, command: &str) -> Result<String, Failure> {
        self.control.say(command);
        let name = || format!("answer to `{command:.60}`");
        self.until(name, |lab| Ok(lab.control.poll()?))
    }

    /// Several commands at once, each of which answers `expected`.
    fn ask_all(&mut self, commands: &[String], expected: &str) -> Result<(), Failure> {
        for command in commands {
            self.control.say(command);
        }
        for command in commands {
            let name = || format!("answer to `{command:.60}`");
            let answer = self.until(name, |lab| Ok(lab.control.poll()?))?;
            same(
                &format!("answer to `{command:.60}`"),
                &answer.as_str(),
                &expected,
            )?;
        }
        Ok(())
    }

    /// Bytes of the peer's memory.
    pub fn peek(&mut self, offset: usize, len: usize) -> Result<Vec<u8>, Failure> {
        let answer = self.ask(&format!("PEEK {offset} {len}"))?;
        from_hex(&answer).ok_or(Failure::Answer(answer))
    }

    /// Puts bytes into the peer's memory.
    pub fn poke(&mut self, offset: usize, data: &[u8]) -> Result<(), Failure> {
        let pieces = data.chunks(POKE).enumerate();
        let command = |(index, piece)| format!("POKE {} {}", offset + index * POKE, to_hex(piece));
        let commands: Vec<String> = pieces.map(command).collect();
        self.ask_all(&commands, "ok")
    }

    /// Gives the peer's queue pair a receive.
    pub fn peer_receives(&mut self, wire: Wire, offset: usize, len: usize) -> Result<(), Failure> {
        let command = format!("RECV {} {offset} {len}", wire.index);
        self.ask_all(&[command], "0")
    }

    /// Posts work at the peer: `what` is the operation, its place and bytes; `arguments` follow the remote place.
    pub fn peer_posts(
        &mut self,
        wire: Wire,
        what: &str,
        to: RemoteAddress,
        arguments: &str,
    ) -> Result<(), Failure> {
        let RemoteAddress { address, key } = to;
        let command = format!(
            "POST {} {what} {address:x} {:x} {arguments}",
            wire.index, key.0
        );
        self.ask_all(&[command], "0")
    }

    /// The next completions of the peer's queue pair, this many.
    pub fn peer_completions(&mut self, wire: Wire, count: usize) -> Result<Vec<Done>, Failure> {
        let mut done = Vec::new();
        let end = Instant::now() + PATIENCE;
        while done.len() < count && Instant::now() < end {
            let answer = self.ask(&format!("POLL {LOOK_MS}"))?;
            let all = Done::parse_all(&answer)?;
            done.extend(all.into_iter().filter(|d| d.queue_pair == wire.theirs));
        }
        match done.len() == count {
            true => Ok(done),
            false => Err(Failure::Late(format!(
                "{count} completions of the peer, {} came",
                done.len()
            ))),
        }
    }

    /// The next completion of the peer's queue pair, which is a success.
    pub fn peer_success(&mut self, wire: Wire) -> Result<Done, Failure> {
        let done = self.peer_completions(wire, 1)?[0];
        same("the peer's status", &done.status, &SUCCESS)?;
        Ok(done)
    }

    /// The state of the peer's queue pair.
    pub fn peer_state(&mut self, wire: Wire) -> Result<String, Failure> {
        let answer = self.ask(&format!("STATE {}", wire.index))?;
        Ok(answer.split_whitespace().next().unwrap_or("").into())
    }

    /// Posts signaled work of ours.
    pub fn post(&mut self, wire: Wire, operation: Operation) -> Result<(), Failure> {
        self.post_with(wire, operation, Flags::SIGNALED)
    }

    pub fn post_with(
        &mut self,
        wire: Wire,
        operation: Operation,
        flags: Flags,
    ) -> Result<(), Failure> {
        let request = WorkRequest {
            id: 7,
            operation,
            flags,
        };
        self.node(wire).post(wire.ours, request)
    }

    /// The next completion of ours.
    fn completion(&mut self, wire: Wire) -> Result<Completion, Failure> {
        let name = || format!("completion of queue pair {}", wire.ours.value());
        self.until(name, |lab| Ok(lab.node(wire).completion(wire.ours)))
    }

    /// The next completion of ours, which is one of work.
    pub fn done(&mut self, wire: Wire) -> Result<WorkDone, Failure> {
        match self.completion(wire)? {
            Completion::Work(done) => Ok(done),
            other => Err(Failure::Answer(format!("{other:?}"))),
        }
    }

    /// The next completion of ours, which is one of a receive.
    pub fn received(&mut self, wire: Wire) -> Result<Received, Failure> {
        match self.completion(wire)? {
            Completion::Received(received) => Ok(received),
            other => Err(Failure::Answer(format!("{other:?}"))),
        }
    }

    /// Posts work of ours and waits for its success.
    pub fn perform(&mut self, wire: Wire, operation: Operation) -> Result<WorkDone, Failure> {
        self.post(wire, operation)?;
        let done = self.done(wire)?;
        same("our outcome", &done.outcome, &Ok(()))?;
        Ok(done)
    }

    /// A place in the peer's memory.
    pub fn theirs(&self, offset: usize) -> RemoteAddress {
        RemoteAddress {
            address: self.memory.base + offset as u64,
            key: RemoteKey(self.memory.key),
        }
    }

    /// A piece of our memory for our work.
    pub fn segment(&mut self, wire: Wire, offset: usize, len: usize) -> Segment {
        node::segment(self.end(wire.family).region, offset, len)
    }

    /// A place in our memory for the peer.
    pub fn ours(&mut self, wire: Wire, offset: usize) -> RemoteAddress {
        node::place(self.end(wire.family).region, offset)
    }

    /// Fills our memory and says where.
    pub fn filled(&mut self, wire: Wire, offset: usize, data: &[u8]) -> Data {
        self.node(wire).fill(offset, data);
        Data::Local(self.segment(wire, offset, data.len()))
    }

    /// Clears our memory.
    pub fn clear(&mut self, wire: Wire) {
        self.node(wire).fill(0, &vec![0; REGION]);
    }
}

/// Bytes that differ everywhere, another row for each `salt`.
pub fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 7 + i / 251 + salt * 31) as u8)
        .collect()
}

/// Compares.
pub fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), Failure> {
    match found == expected {
        true => Ok(()),
        false => Err(Failure::Different {
            what: what.into(),
            found: format!("{found:?}"),
            expected: format!("{expected:?}"),
        }),
    }
}

/// Compares bytes, and names the first that differs.
pub fn same_bytes(what: &str, found: &[u8], expected: &[u8]) -> Result<(), Failure> {
    same(&format!("length of {what}"), &found.len(), &expected.len())?;
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    same(&format!("first wrong byte of {what}"), &differs, &None)
}
