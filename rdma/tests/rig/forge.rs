//! Packets made by hand, as A or a stranger might send them to B.

use rdma::psn::Psn;
use rdma::queue_pair::{Cause, State};
use rdma::region::Rights;
use rdma::wire::{
    Aeth, Body, Bth, Header, NakCode, Packet, PacketView, Part, Path, Reth, Syndrome, seal,
};
use rdma::work::RemoteAddress;

use super::*;

/// What B would get from A: a packet with this body at `ahead` of the number B expects.
pub struct Forge {
    pub path: Path,
    pub number: u32,
    pub expected: Psn,
}

impl Forge {
    pub fn new(pair: &Pair) -> Self {
        Self {
            path: Path::new(pair.a.nic.local(), pair.b.nic.local()).unwrap(),
            number: pair.b.number.value(),
            expected: pair.a.queue_pair().config().first_psn,
        }
    }

    pub fn packet(&self, ahead: u32, body: Body, payload: &[u8]) -> Vec<u8> {
        let bth = Bth {
            ack_request: true,
            ..Bth::new(self.number, self.expected.plus(ahead))
        };
        let packet = Packet {
            header: Header { bth, body },
            payload,
        };
        let mut out = vec![0; packet.len()];
        packet.emit(&self.path, 0, &mut out);
        out
    }

    /// A good write of eight bytes, then changed and sealed again.
    pub fn changed(&self, pair: &Pair, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut packet = self.packet(0, write_only(pair, 8), b"abcdefgh");
        change(&mut packet);
        seal(&self.path, 0, &mut packet);
        packet
    }
}

pub fn reth(to: RemoteAddress, len: usize) -> Reth {
    Reth {
        virtual_address: to.address,
        r_key: to.key.0,
        dma_length: len as u32,
    }
}

pub fn write_only(pair: &Pair, len: usize) -> Body {
    Body::Write(Part::Only(reth(pair.b.remote(0), len), None))
}

/// Gives B one packet and everything time brings; what B answered.
pub fn deliver(pair: &mut Pair, packet: Vec<u8>) -> Vec<Body> {
    let before = pair.trace.len();
    pair.inject(Side::A, packet);
    pair.run();
    let answers = pair.trace[before..]
        .iter()
        .filter(|sent| sent.from == Side::B);
    answers
        .map(|sent| {
            Packet::try_from(PacketView::new(&sent.bytes).unwrap())
                .unwrap()
                .header
                .body
        })
        .collect()
}

pub fn nak(code: NakCode) -> Vec<Body> {
    vec![Body::Acknowledge(Aeth {
        syndrome: Syndrome::Nak(code),
        msn: 0,
    })]
}

/// B refuses the packet with this code, goes to ERR, and its memory is as before.
pub fn assert_refused(name: &str, code: NakCode, make: impl FnOnce(&mut Pair) -> (Body, Vec<u8>)) {
    let mut pair = Pair::new();
    let (body, payload) = make(&mut pair);
    let before = pair.b.bytes(0, REGION);
    let packet = Forge::new(&pair).packet(0, body, &payload);
    assert_eq!(deliver(&mut pair, packet), nak(code), "{name}");
    assert!(
        matches!(pair.b.queue_pair().state(), State::Error(Cause::Peer(_))),
        "{name}"
    );
    assert_eq!(pair.b.bytes(0, REGION), before, "{name}");
    assert_eq!(pair.b.memory.event_updates.borrow().len(), 0, "{name}");
    pair.b.assert_guards();
}

/// Registers a second region with these rights over B's memory.
pub fn with_rights(pair: &mut Pair, rights: Rights) -> RemoteAddress {
    let region = pair.b.regions.register(region_like(rights), 9).unwrap();
    RemoteAddress {
        address: 0,
        key: region.remote_key(),
    }
}
