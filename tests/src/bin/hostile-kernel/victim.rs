//! The process that works: launches whose results are checked, words of its own that only it may change, and writes through
//! the NIC that it shares with the attacker.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use doca_dpa::rdma::{Connection, HostBuffer, HostMap, Rdma, RemoteMemoryMap, Rights};
use doca_dpa::{DeviceBuffer, Dpa, SyncEvent};
use futures::executor::block_on;
use tests::hostile::Prey;
use tests::{CountArgs, count};

use crate::Outcome;

/// Launches in a row before the last is waited for.
const BATCH: u64 = 500;
/// What stands in the memory that nobody else may write.
const OWN: u64 = 0x0123_4567_89ab_cdef;
/// Where its NIC is.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 41, 0, 1));

pub struct Victim {
    dpa: Dpa,
    total: DeviceBuffer<u64>,
    counted: u64,
    own: DeviceBuffer<u64>,
    event: SyncEvent,
    network: Network,
}

/// A NIC, which the attacker shares, with a connection to itself and a registered region that peers may write: a word that
/// nobody changes, and one that the victim writes through the NIC.
struct Network {
    rdma: Rdma,
    one: Connection,
    _other: Connection,
    host: HostMap,
    to: RemoteMemoryMap,
    written: u64,
}

impl Network {
    fn new(dpa: &Dpa) -> Outcome<Self> {
        let rdma = dpa.rdma().address(ADDRESS).port(0).connections(2).open()?;
        let (one, other) = (rdma.export()?, rdma.export()?);
        one.connect(&other.blob())?;
        other.connect(&one.blob())?;
        let region = [OWN.to_ne_bytes(), 0u64.to_ne_bytes()].concat();
        let host = rdma.map_host(HostBuffer::from_bytes(&region), Rights::all())?;
        let to = RemoteMemoryMap::import(&host.map().export())?;
        Ok(Self {
            rdma,
            one,
            _other: other,
            host,
            to,
            written: 0,
        })
    }

    /// Writes the next number, and looks that it and nothing else is there.
    fn write(&mut self) -> Outcome {
        self.written += 1;
        let number = HostBuffer::from_bytes(&self.written.to_ne_bytes());
        block_on(self.one.write(number, &self.to, 8)?)?;
        let is = self.host.buffer().to_vec();
        if is != [OWN.to_ne_bytes(), self.written.to_ne_bytes()].concat() {
            return Err(format!("the victim's host memory is {is:02x?}").into());
        }
        Ok(())
    }
}

impl Victim {
    pub fn new(dpa: &Dpa) -> Outcome<Self> {
        Ok(Self {
            dpa: dpa.clone(),
            total: dpa.zeroed_blocking(1)?,
            counted: 0,
            own: dpa.copy_in_blocking(&[OWN; 4096])?,
            event: SyncEvent::device_to_host(dpa)?,
            network: Network::new(dpa)?,
        })
    }

    /// What there is to attack.
    pub fn prey(&self) -> Prey {
        Prey {
            local: self.network.host.map().handle(),
            remote: self.network.to.handle(),
            address: self.own.addr().raw(),
            event: self.event.handle().0.to_bits(),
            pair: self.network.one.info().queue_pair.value(),
            reserved: 0,
        }
    }

    /// The address of its NIC.
    pub fn nic(&self) -> SocketAddr {
        self.network.rdma.address()
    }

    /// Works for so long; launches a second.
    pub fn work(&mut self, slice: Duration) -> Outcome<f64> {
        let begun = Instant::now();
        let mut launches = 0;
        while begun.elapsed() < slice {
            for _ in 1..BATCH {
                let args = CountArgs { total: &self.total };
                drop(self.dpa.launch(count).args(args).submit()?);
            }
            let args = CountArgs { total: &self.total };
            let last = self.dpa.launch(count).args(args);
            launches += BATCH;
            let goal = self.counted + launches;
            last.then_set(&self.event, goal).submit()?;
            self.network.write()?;
            self.event.ge(goal).blocking()?;
        }
        let took = begun.elapsed().as_secs_f64();
        self.dpa.wait_idle_blocking();
        self.verify(launches)?;
        Ok(launches as f64 / took)
    }

    fn verify(&mut self, launches: u64) -> Outcome {
        self.counted += launches;
        let counted = self.total.copy_out_blocking()?[0];
        if counted != self.counted {
            return Err(format!("{counted} launches were counted, {} made", self.counted).into());
        }
        if self.event.get() != self.counted {
            return Err(format!("the victim's event is {}", self.event.get()).into());
        }
        let own = self.own.copy_out_blocking()?;
        if own.iter().any(|word| *word != OWN) {
            return Err("the victim's device memory was written".into());
        }
        match self.dpa.last_error() {
            None => Ok(()),
            Some(fault) => Err(format!("the victim's process faulted: {fault}").into()),
        }
    }
}
