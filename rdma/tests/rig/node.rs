//! One end: a NIC, its memory and what it has completed.

use std::cell::{Cell, RefCell};

use rdma::memory::{Atomic, EventGone, EventUpdate, Memory};
use rdma::region::{Region, RegionKind, RegionSpec, RegionTable};
use rdma::work::{Completion, Receive, RemoteAddress, Segment};

use super::*;

const CANARY: u8 = 0xc5;
const BYTES: SpaceId = SpaceId(1);
const EVENT: SpaceId = SpaceId(2);

/// Memory with an unregistered margin, and one event.
#[derive(Debug)]
pub struct TestMemory {
    pub bytes: RefCell<Vec<u8>>,
    pub event: Cell<u64>,
    pub event_closed: Cell<bool>,
    pub event_updates: RefCell<Vec<EventUpdate>>,
}

impl TestMemory {
    pub fn new() -> Self {
        Self {
            bytes: RefCell::new(
                [vec![CANARY; GUARD], vec![0; REGION], vec![CANARY; GUARD]].concat(),
            ),
            event: Cell::new(0),
            event_closed: Cell::new(false),
            event_updates: RefCell::default(),
        }
    }

    fn word(&self, offset: u64) -> std::ops::Range<usize> {
        assert_eq!(offset % 8, 0);
        offset as usize..offset as usize + 8
    }
}

impl Memory for TestMemory {
    fn read(&self, from: Target, out: &mut [u8]) {
        assert_eq!(from.space, BYTES);
        assert!(out.len() <= rdma::memory::COPY_PIECE);
        let start = from.offset as usize;
        out.copy_from_slice(&self.bytes.borrow()[start..start + out.len()]);
    }

    fn write(&self, to: Target, data: &[u8]) {
        assert_eq!(to.space, BYTES);
        assert!(data.len() <= rdma::memory::COPY_PIECE);
        let start = to.offset as usize;
        self.bytes.borrow_mut()[start..start + data.len()].copy_from_slice(data);
    }

    fn atomic(&self, at: Target, operation: Atomic) -> u64 {
        assert_eq!(at.space, BYTES);
        let mut bytes = self.bytes.borrow_mut();
        let word = &mut bytes[self.word(at.offset)];
        let old = u64::from_ne_bytes((&*word).try_into().unwrap());
        word.copy_from_slice(&operation.applied_to(old).to_ne_bytes());
        old
    }

    fn event_update(&self, at: Target, update: EventUpdate) -> Result<u64, EventGone> {
        assert_eq!((at.space, at.offset), (EVENT, 0));
        if self.event_closed.get() {
            return Err(EventGone);
        }
        let old = self.event.get();
        self.event.set(match update {
            EventUpdate::Set(value) => value,
            EventUpdate::Atomic(operation) => operation.applied_to(old),
        });
        self.event_updates.borrow_mut().push(update);
        Ok(old)
    }
}
/// One end.
#[derive(Debug)]
pub struct Node {
    pub nic: Nic,
    pub number: Qpn,
    pub memory: TestMemory,
    pub regions: RegionTable,
    pub region: Region,
    pub event: Region,
    pub receives: VecDeque<Receive>,
    pub completions: Vec<Completion>,
}

impl Node {
    pub fn new(address: SocketAddr, config: Config, seed: u64) -> Self {
        let regions = RegionTable::new(16, seed);
        let region = regions.register(bytes_region(), seed as u32).unwrap();
        let event = RegionSpec {
            target: Target {
                space: EVENT,
                offset: 0,
            },
            len: 8,
            kind: RegionKind::Event,
            ..bytes_region()
        };
        let event = regions.register(event, seed as u32).unwrap();
        let mut nic = Nic::new(address);
        let number = nic.create(Duration::ZERO, config).unwrap();
        Self {
            nic,
            number,
            memory: TestMemory::new(),
            regions,
            region,
            event,
            receives: VecDeque::new(),
            completions: Vec::new(),
        }
    }

    pub fn call<R>(&mut self, call: impl FnOnce(&mut Nic, &mut Io<'_>) -> R) -> R {
        let mut io = Io {
            memory: &self.memory,
            regions: &self.regions,
            receives: &mut self.receives,
        };
        let result = call(&mut self.nic, &mut io);
        while let Some((_, completion)) = self.nic.poll_completion() {
            self.completions.push(completion);
        }
        result
    }

    pub fn post(&mut self, now: Duration, request: WorkRequest) {
        let number = self.number;
        self.call(|nic, _| nic.post(now, number, request))
            .expect("taken");
    }

    /// A segment of the own region.
    pub fn segment(&self, offset: usize, len: usize) -> Segment {
        let key = self.region.local_key();
        Segment {
            address: LOCAL_BASE + offset as u64,
            len: len as u32,
            key,
        }
    }

    /// A place in this node's region, for its peer.
    pub fn remote(&self, offset: usize) -> RemoteAddress {
        RemoteAddress {
            address: offset as u64,
            key: self.region.remote_key(),
        }
    }

    pub fn remote_event(&self) -> RemoteAddress {
        RemoteAddress {
            address: 0,
            key: self.event.remote_key(),
        }
    }

    pub fn fill(&self, offset: usize, data: &[u8]) {
        let start = GUARD + offset;
        self.memory.bytes.borrow_mut()[start..start + data.len()].copy_from_slice(data);
    }

    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        self.memory.bytes.borrow()[GUARD + offset..GUARD + offset + len].to_vec()
    }

    pub fn word(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.bytes(offset, 8).try_into().unwrap())
    }

    pub fn receive(&mut self, id: u64, offset: usize, len: usize) {
        let buffer = self.segment(offset, len);
        self.receives.push_back(Receive { id, buffer });
    }

    pub fn queue_pair(&self) -> &rdma::queue_pair::QueuePair {
        self.nic.queue_pair(self.number).unwrap()
    }

    pub fn counters(&self) -> rdma::counters::Counters {
        *self.queue_pair().counters()
    }

    /// Nothing outside the registered region has been touched.
    pub fn assert_guards(&self) {
        let bytes = self.memory.bytes.borrow();
        assert!(
            bytes[..GUARD].iter().all(|byte| *byte == CANARY),
            "written before the region"
        );
        assert!(
            bytes[GUARD + REGION..].iter().all(|byte| *byte == CANARY),
            "written behind the region"
        );
    }

    pub fn transmit(&mut self, now: Duration, max_segments: usize) -> Vec<Vec<u8>> {
        let mut out = vec![0; 65_507];
        let mut packets = Vec::new();
        while let Some(sent) =
            self.call(|nic, io| nic.poll_transmit(now, io, &mut out, max_segments))
        {
            let segment = sent.segment.unwrap_or(sent.len);
            assert_eq!(sent.len.div_ceil(segment), sent.packets);
            assert!(sent.packets <= max_segments);
            packets.extend(out[..sent.len].chunks(segment).map(<[u8]>::to_vec));
            assert!(packets.len() < 10_000, "sends without end");
        }
        packets
    }
}

fn bytes_region() -> RegionSpec {
    RegionSpec {
        domain: DOMAIN,
        target: Target {
            space: BYTES,
            offset: GUARD as u64,
        },
        len: REGION as u64,
        local_base: LOCAL_BASE,
        remote_base: 0,
        rights: Rights::all(),
        kind: RegionKind::Bytes,
    }
}

/// The region over a node's bytes, to register a second one like it.
pub fn region_like(rights: Rights) -> RegionSpec {
    RegionSpec {
        rights,
        ..bytes_region()
    }
}
