//! Two NICs that do everything once, and a record of what left them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rdma::config::{Config, Peer};
use rdma::memory::Atomic;
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::region::Rights;
use rdma::wire::{Body, Bth, Header, Opcode, Packet, Path, UDP_PORT};
use rdma::work::{Data, Operation, RemoteAddress, Tail};

use crate::capture::Frame;
use crate::rig::*;

/// Packets of a segmented send, at most.
const SEGMENTS: usize = 64;

/// Two nodes whose packets arrive at once and in order, but for those that a test loses.
struct Wire {
    now: Duration,
    nodes: [Node; 2],
    frames: Vec<Frame>,
    /// The next packet with this opcode is lost.
    lose: Option<Opcode>,
    next_id: u64,
}

/// Traffic in which every opcode of the reliable connected transport occurs, and a congestion notification.
pub fn all_opcodes(addresses: [IpAddr; 2]) -> Vec<Frame> {
    let mut wire = Wire::new(addresses);
    wire.sends();
    wire.writes();
    wire.reads_and_atomics();
    wire.refusals();
    wire.congestion_notification();
    wire.frames
}

impl Wire {
    fn new(addresses: [IpAddr; 2]) -> Self {
        let sockets = addresses.map(|address| SocketAddr::new(address, UDP_PORT));
        let node = |side: usize| {
            let number = Qpn::new(0xabc + side as u32).unwrap();
            let config = Config::new(number, Psn::new(0xff_fff0), DOMAIN);
            Node::new(sockets[side], config, 7 + side as u64)
        };
        let mut wire = Self {
            now: Duration::from_secs(1),
            nodes: [node(0), node(1)],
            frames: Vec::new(),
            lose: None,
            next_id: 0,
        };
        wire.connect(0);
        wire.connect(1);
        wire
    }

    fn connect(&mut self, side: usize) {
        let (own, other) = (self.nodes[side].nic.local(), &self.nodes[1 - side]);
        let peer = Peer {
            path: Path::new(own, other.nic.local()).unwrap(),
            number: other.number,
            first_psn: other.queue_pair().config().first_psn,
            mtu: PathMtu::B256,
            budget: 100,
            responder_resources: 16,
            max_segments: SEGMENTS,
            lid: 0,
            max_identification: 127,
        };
        let (now, node) = (self.now, &mut self.nodes[side]);
        node.nic.connect(node.number, peer).unwrap();
        node.nic.activate(now, node.number).unwrap();
    }

    /// Sends of one packet with every padding, of several, with and without what the last can carry.
    fn sends(&mut self) {
        let extra = region_like(Rights::all());
        for len in [0, 1, 2, 3, 4, 700] {
            let key = self.nodes[1].regions.register(extra, 9).unwrap();
            let invalidate = Tail::Invalidate(key.remote_key());
            for tail in [Tail::Plain, Tail::Immediate(0xcafe_0001), invalidate] {
                self.nodes[1].receive(1, 0, 1024);
                let data = Data::Local(self.nodes[0].segment(0, len));
                self.run(Operation::Send { data, tail });
            }
        }
    }

    /// Writes, also long ones, of which one loses a packet in the middle.
    fn writes(&mut self) {
        self.nodes[0].fill(0, &pattern(20_000, 3));
        for len in [0, 1, 5, 20_000] {
            for immediate in [None, Some(0xdead_beef)] {
                self.nodes[1].receive(1, 0, 0);
                let data = Data::Local(self.nodes[0].segment(0, len));
                let to = self.nodes[1].remote(30_000);
                self.run(Operation::Write {
                    data,
                    to,
                    immediate,
                });
            }
        }
        self.lose = Some(Opcode::WriteMiddle);
        let data = self.nodes[0].segment(0, 2000);
        self.run(write(data, self.nodes[1].remote(60_000)));
        assert_eq!(self.lose, None, "one was lost");
    }

    fn reads_and_atomics(&mut self) {
        for len in [3, 5000] {
            let into = self.nodes[0].segment(100_000, len);
            self.run(read(self.nodes[1].remote(30_000), into));
        }
        let at = self.nodes[1].remote(40_000);
        let swap = Atomic::CompareSwap {
            compare: 0x0123_4567_89ab_cdef,
            swap: 0xfedc_ba98_7654_3210,
        };
        for operation in [Atomic::Add(0x0123_4567_89ab_cdef), swap] {
            self.run(Operation::Atomic {
                at,
                operation,
                result: None,
            });
        }
    }

    /// "Receiver not ready", until there is a receive; then a key that nobody has.
    fn refusals(&mut self) {
        self.nodes[1].receives.clear();
        self.post(send(inline(b"early")));
        for _ in 0..4 {
            self.step();
        }
        self.nodes[1].receive(1, 0, 1024);
        self.finish();
        assert!(self.nodes[1].counters().rnr_naks_sent > 0);
        let nowhere = RemoteAddress {
            key: WRONG_REMOTE,
            ..self.nodes[1].remote(0)
        };
        self.run(write_inline(b"nowhere!", nowhere));
        assert_eq!(self.nodes[1].counters().fatal_naks_sent, 1);
    }

    /// As a switch on the way would make B send it; our NIC has no way to see such marks.
    fn congestion_notification(&mut self) {
        let (from, to) = (self.nodes[1].nic.local(), self.nodes[0].nic.local());
        let bth = Bth {
            backward_congestion: true,
            ..Bth::new(self.nodes[0].number.value(), Psn::new(0))
        };
        let header = Header {
            bth,
            body: Body::Cnp,
        };
        let packet = Packet {
            header,
            payload: &[],
        };
        let mut bytes = vec![0; packet.len()];
        packet.emit(&Path::new(from, to).unwrap(), 0, &mut bytes);
        let at = self.now;
        self.frames.push(Frame {
            at,
            from,
            to,
            segment: 0,
            packet: bytes,
        });
    }

    fn post(&mut self, operation: Operation) {
        self.next_id += 1;
        self.nodes[0].post(self.now, signaled(self.next_id, operation));
    }

    fn run(&mut self, operation: Operation) {
        self.post(operation);
        self.finish();
    }

    fn finish(&mut self) {
        for _ in 0..1000 {
            if self.nodes[0].queue_pair().outstanding() == 0 {
                return;
            }
            self.step();
        }
        panic!("never done");
    }

    /// Everything that is to be sent is sent and arrives; if nothing is, time passes.
    fn step(&mut self) {
        let sent = [0, 1].map(|side| self.transmit(side));
        if sent.iter().all(|count| *count == 0) {
            let wanted = self.nodes.iter().filter_map(|node| node.nic.poll_timeout());
            self.now = self
                .now
                .max(wanted.min().expect("nobody waits for anything"));
        }
        self.now += Duration::from_micros(10);
        let now = self.now;
        for node in &mut self.nodes {
            node.call(|nic, _| nic.handle_timeout(now));
        }
    }

    fn transmit(&mut self, side: usize) -> usize {
        let mut out = vec![0; 65_507];
        let (now, mut sent) = (self.now, 0);
        while let Some(batch) =
            self.nodes[side].call(|nic, io| nic.poll_transmit(now, io, &mut out, SEGMENTS))
        {
            let segment = batch.segment.unwrap_or(batch.len);
            for (index, packet) in out[..batch.len].chunks(segment).enumerate() {
                self.carry(side, index as u16, packet);
            }
            sent += batch.packets;
        }
        sent
    }

    /// One packet, to the file and to the other side.
    fn carry(&mut self, side: usize, segment: u16, packet: &[u8]) {
        let (from, to) = (
            self.nodes[side].nic.local(),
            self.nodes[1 - side].nic.local(),
        );
        self.frames.push(Frame {
            at: self.now,
            from,
            to,
            segment,
            packet: packet.to_vec(),
        });
        if self.lose.is_some_and(|opcode| opcode.code() == packet[0]) {
            self.lose = None;
            return;
        }
        let now = self.now;
        self.nodes[1 - side].call(|nic, io| nic.receive(now, from, packet, io));
    }
}
