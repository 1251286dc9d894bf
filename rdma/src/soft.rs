//! The soft provider: a [`Nic`] and its socket, driven by whoever calls.
//!
//! One call of [`SoftNic::progress`] does what there is to do: datagrams in, timers, requests and behind them
//! replies out, completions to the [`Host`]. It sends and copies 512 KiB of requests at most, and sends 512 KiB of replies: what
//! one peer reads in one piece, up to a gibibyte, is not to keep the others' packets in the socket, and copies within the NIC
//! do not keep answers from peers. If something is left, [`SoftNic::poll_timeout`] is due.
//! The calling thread is the one that carries a packet from the socket to memory and to the event behind it. Queue pairs of
//! this same NIC talk to each other without the socket.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::ServiceLevel;
use crate::nic::{Nic, Polled};
use crate::provider::{SET_PRIORITY, SystemError};
use crate::psn::Qpn;
use crate::queue_pair::{Cause, Io};
use crate::transmit::{Allowance, Transmit};
use crate::udp::{BindError, Options, Socket, SocketCounters};
use crate::virtual_link::{Datagram, VirtualLink};
use crate::work::Completion;

/// The most that one UDP send can carry.
const MAX_SEND: usize = 65_507;

/// Batches of datagrams that are taken in, at most, before a timer that is due is believed: what the socket can hold, and not what
/// comes without end.
const MOST_BATCHES: usize = 256;

/// Bytes that one call sends and copies, at most, and a packet or a piece of work more: of requests, and of replies again.
const MOST_BYTES: usize = 512 << 10;

/// What stands above the NIC.
pub trait Host {
    /// Lends memory, regions and the receives of one queue pair (none: no receive will be taken).
    fn io(&mut self, receives_of: Option<Qpn>) -> Io<'_>;

    /// Something of a queue pair is over.
    fn completed(&mut self, number: Qpn, completion: Completion);

    /// A queue pair has gone to ERR.
    fn failed(&mut self, number: Qpn, cause: Cause);

    /// A queue pair that refused work for lack of room has some again. Nothing is to be done by who posts no more than there
    /// is room for.
    fn has_room(&mut self, number: Qpn) {
        let _ = number;
    }
}

/// A NIC and the socket under it.
#[derive(Debug)]
pub struct SoftNic {
    nic: Nic,
    link: Link,
    /// Sends towards peers that no socket leads to.
    unreachable: u64,
    /// The last call has left something to be sent.
    has_more: bool,
}

/// What is under the NIC.
#[derive(Debug)]
enum Link {
    /// The network.
    Udp(Box<Socket>),
    /// Nothing: its queue pairs reach each other only.
    Inside(Vec<u8>),
    /// Whoever calls carries what it sends.
    Virtual(Box<VirtualLink>),
}

impl Link {
    fn buffer(&mut self) -> &mut [u8] {
        match self {
            Self::Udp(socket) => socket.buffer(),
            Self::Inside(buffer) => buffer,
            Self::Virtual(link) => &mut link.buffer,
        }
    }

    fn max_segments(&self) -> usize {
        match self {
            Self::Udp(socket) => socket.max_segments(),
            Self::Inside(_) | Self::Virtual(_) => 1,
        }
    }
}

impl SoftNic {
    /// A NIC at this address of the machine, on a socket of its own.
    ///
    /// # Errors
    ///
    /// [`BindError`]: the port is taken, the address is not one of this machine's.
    pub fn bind(address: IpAddr, options: &Options) -> Result<Self, BindError> {
        let socket = Socket::bind(address, options)?;
        Ok(Self {
            nic: Nic::new(socket.local()),
            link: Link::Udp(Box::new(socket)),
            unreachable: 0,
            has_more: false,
        })
    }

    /// A NIC without a network.
    pub fn inside(address: SocketAddr) -> Self {
        Self {
            nic: Nic::new(address),
            link: Link::Inside(vec![0; MAX_SEND]),
            unreachable: 0,
            has_more: false,
        }
    }

    /// A NIC whose datagrams whoever calls carries: [`SoftNic::take_sent`], [`SoftNic::deliver`].
    pub fn carried(address: SocketAddr) -> Self {
        Self {
            nic: Nic::new(address),
            link: Link::Virtual(Box::new(VirtualLink::new())),
            unreachable: 0,
            has_more: false,
        }
    }

    /// What it has sent since this was called last, if it is [`SoftNic::carried`].
    pub fn take_sent(&mut self) -> VecDeque<Datagram> {
        match &mut self.link {
            Link::Virtual(link) => link.take_sent(),
            Link::Udp(_) | Link::Inside(_) => VecDeque::new(),
        }
    }

    /// A datagram has come, to be taken in by the next [`SoftNic::progress`]. Has no effect on a NIC that is not
    /// [`SoftNic::carried`].
    pub fn deliver(&mut self, datagram: Datagram) {
        if let Link::Virtual(link) = &mut self.link {
            link.deliver(datagram);
        }
    }

    /// Whether packets can leave with this priority.
    ///
    /// # Errors
    ///
    /// [`SystemError`]: the system does not let this program.
    pub fn allows(&self, level: ServiceLevel) -> Result<(), SystemError> {
        let Link::Udp(socket) = &self.link else {
            return Ok(());
        };
        if level == ServiceLevel::DEFAULT {
            return Ok(());
        }
        socket.allows(level).map_err(|error| SystemError {
            what: SET_PRIORITY,
            errno: error.raw_os_error().unwrap_or_default(),
        })
    }

    /// The NIC itself: to create, connect and post.
    pub fn nic(&mut self) -> &mut Nic {
        &mut self.nic
    }

    /// The NIC itself, to look at.
    pub const fn nic_ref(&self) -> &Nic {
        &self.nic
    }

    /// Its socket, if it is on a network.
    pub fn socket(&self) -> Option<&Socket> {
        match &self.link {
            Link::Udp(socket) => Some(socket),
            Link::Inside(_) | Link::Virtual(_) => None,
        }
    }

    /// What its socket has counted.
    pub fn socket_counters(&self) -> SocketCounters {
        self.socket().map(Socket::counters).unwrap_or_default()
    }

    /// Packets that led nowhere: there is no network, or no room on it.
    pub const fn unreachable(&self) -> u64 {
        match &self.link {
            Link::Virtual(link) => link.dropped(),
            Link::Udp(_) | Link::Inside(_) => self.unreachable,
        }
    }

    /// When [`SoftNic::progress`] wants to be called, if no datagram comes before: a time that has passed if it has left something
    /// to be sent.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.has_more {
            true => Some(Duration::ZERO),
            false => self.nic.poll_timeout(),
        }
    }

    /// Whether the last call has left something to be sent.
    pub const fn has_more(&self) -> bool {
        self.has_more
    }

    /// Does what there is to do, up to a mebibyte or so; whether there was anything. It never blocks.
    pub fn progress(&mut self, now: Duration, host: &mut dyn Host) -> bool {
        let received = self.take_in(now, host);
        // What a timer waits for may be here already, behind much else.
        for _ in 0..MOST_BATCHES {
            if !self.is_due(now) || !self.take_in(now, host) {
                break;
            }
        }
        if self.is_due(now) {
            self.nic.handle_timeout(now);
        }
        let sent = self.send_out(now, host);
        self.report(host) | received | sent
    }

    fn is_due(&self, now: Duration) -> bool {
        self.nic.poll_timeout().is_some_and(|at| at <= now)
    }

    /// Sends what there is to send, and reports; whether there was anything. For work that was just posted.
    pub fn send(&mut self, now: Duration, host: &mut dyn Host) -> bool {
        let sent = self.send_out(now, host);
        self.report(host) | sent
    }

    /// Reports what is over; whether there was anything. It sends nothing.
    pub fn report(&mut self, host: &mut dyn Host) -> bool {
        self.nic.reports().tell(host)
    }

    fn take_in(&mut self, now: Duration, host: &mut dyn Host) -> bool {
        let nic = &mut self.nic;
        let mut take = |from, datagram: &[u8]| {
            let mut io = host.io(Nic::destination(datagram));
            nic.receive(now, from, datagram, &mut io);
        };
        match &mut self.link {
            // One that failed is counted, and as one that found nothing: what does not come is lost, as on the wire.
            Link::Udp(socket) => socket.receive(take).is_ok_and(|count| count > 0),
            Link::Inside(_) => false,
            Link::Virtual(link) => {
                let mut any = false;
                while let Some(datagram) = link.take_arrived() {
                    any = true;
                    take(datagram.from, &datagram.bytes);
                }
                any
            }
        }
    }

    fn send_out(&mut self, now: Duration, host: &mut dyn Host) -> bool {
        let (mut sent, mut left) = (false, Allowance::each(MOST_BYTES));
        self.has_more = loop {
            let max_segments = self.link.max_segments();
            let mut io = host.io(None);
            let out = self.link.buffer();
            let polled = self
                .nic
                .poll_within(&mut left, now, &mut io, out, max_segments);
            match polled {
                Polled::Send(transmit) => {
                    sent = true;
                    self.dispatch(now, &transmit, host);
                }
                Polled::Spent => break true,
                Polled::Nothing => break false,
            }
        };
        if let Link::Udp(socket) = &mut self.link {
            socket.flush();
        }
        sent
    }

    fn dispatch(&mut self, now: Duration, transmit: &Transmit, host: &mut dyn Host) {
        if transmit.destination == self.nic.local() {
            self.loop_back(now, transmit, host);
            return;
        }
        match &mut self.link {
            Link::Udp(socket) => socket.push(transmit),
            Link::Inside(_) => self.unreachable += transmit.packets as u64,
            Link::Virtual(link) => link.push(self.nic.local(), transmit),
        }
    }

    /// Packets to this same NIC.
    fn loop_back(&mut self, now: Duration, transmit: &Transmit, host: &mut dyn Host) {
        let from = self.nic.local();
        let segment = transmit.segment.unwrap_or(transmit.len).max(1);
        for packet in self.link.buffer()[..transmit.len].chunks(segment) {
            let mut io = host.io(Nic::destination(packet));
            self.nic.receive(now, from, packet, &mut io);
        }
    }
}
