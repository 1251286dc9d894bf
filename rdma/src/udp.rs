//! The socket under a soft NIC: unconnected UDP at one concrete address, many datagrams with one system call.
//!
//! What the ICRC needs of it (Annex A17 of the InfiniBand architecture computes it over parts of the IP header): the
//! source address is the bound one; datagrams leave with "don't fragment" and identification 0, those of a segmented
//! send with 0, 1, 2, ..; forged reports of smaller path MTUs are ignored. Errors that ICMP reports about one peer never
//! fail a send to another.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, Type};
use thiserror::Error;

use crate::config::ServiceLevel;
use crate::transmit::Transmit;

mod receive;
mod send;
#[expect(unsafe_code, reason = "recvmmsg and sendmmsg have no safe wrapper")]
mod sys;

use receive::ReceiveBatch;
use send::SendBatch;

/// The port of RoCE v2.
pub const ROCE_PORT: u16 = 4791;

/// How a socket is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The port: [`ROCE_PORT`] for peers that know no other. 0: one that is free.
    pub port: u16,
    /// Bytes of receive buffer that are asked for. The kernel may grant less.
    pub receive_buffer: usize,
    /// Whether several packets leave with one segmented send, and arrive joined, where the kernel can do it.
    pub segmentation: bool,
    /// The interface of a link-local IPv6 address, as its number.
    pub scope_id: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: ROCE_PORT,
            receive_buffer: 4 << 20,
            segmentation: true,
            scope_id: 0,
        }
    }
}

/// Why a socket could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address stands for all or for several.
    #[error(
        "{address} is not one concrete address: the checksum of RoCE covers it, so name the one that peers send to"
    )]
    NotConcrete {
        /// The address asked for.
        address: IpAddr,
    },
    /// It holds for one link only, and does not say for which.
    #[error("{address} is link-local: give one that peers reach without naming an interface")]
    LinkLocal {
        /// The address asked for.
        address: IpAddr,
    },
    /// It is not an address of this machine.
    #[error("{address} is not an address of this machine (`ip address` lists them)")]
    NotLocal {
        /// The address asked for.
        address: IpAddr,
    },
    /// Somebody else has the port.
    #[error(
        "UDP port {port} of {address} is taken. If another node runs at this address, use another one (127.0.0.3, say). \
         If the kernel's rdma_rxe driver holds the port (`rdma link` lists it), take it out (`rmmod rdma_rxe`) or run \
         in a network namespace of your own (`ip netns`)"
    )]
    PortTaken {
        /// The address asked for.
        address: IpAddr,
        /// The port asked for.
        port: u16,
    },
    /// The system refuses for another reason.
    #[error("a UDP socket at {address}, port {port}, could not be opened: {source}")]
    Io {
        /// The address asked for.
        address: IpAddr,
        /// The port asked for.
        port: u16,
        /// What it said.
        source: io::Error,
    },
}

/// What a socket has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// Datagrams received, those joined by the kernel counted one by one.
    pub received: u64,
    /// Packets sent, those of segmented sends counted one by one.
    pub sent: u64,
    /// System calls that received something.
    pub receive_calls: u64,
    /// System calls that sent something.
    pub send_calls: u64,
    /// Packets that the kernel refused to send: lost, as on the wire.
    pub lost: u64,
    /// The error number with which it refused the last of them: `EMSGSIZE`, the path MTU is too large for a link on the way;
    /// `EPERM`, a packet filter; `ENETUNREACH`, no route; and so on.
    pub last_refusal: Option<i32>,
    /// Datagrams longer than any packet.
    pub truncated: u64,
    /// System calls to receive that failed: the socket is broken, or the system out of memory.
    pub failed_receives: u64,
}

/// A UDP socket at one address.
#[derive(Debug)]
pub struct Socket {
    socket: socket2::Socket,
    local: SocketAddr,
    receive_buffer: usize,
    joins: bool,
    incoming: ReceiveBatch,
    outgoing: SendBatch,
    counters: SocketCounters,
}

impl Socket {
    /// Opens a socket at this address; an IPv4 address that is mapped into IPv6 is that IPv4 address.
    ///
    /// # Errors
    ///
    /// [`BindError`]: it is no concrete address, not one of this machine's, or the port is taken.
    pub fn bind(address: IpAddr, options: &Options) -> Result<Self, BindError> {
        let address = address.to_canonical();
        if address.is_unspecified() || address.is_multicast() {
            return Err(BindError::NotConcrete { address });
        }
        if matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
            return Err(BindError::LinkLocal { address });
        }
        let port = options.port;
        Self::open(address, options).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::PortTaken { address, port },
            io::ErrorKind::AddrNotAvailable => BindError::NotLocal { address },
            _ => BindError::Io {
                address,
                port,
                source,
            },
        })
    }

    fn open(address: IpAddr, options: &Options) -> io::Result<Self> {
        let wanted = match address {
            IpAddr::V4(_) => SocketAddr::new(address, options.port),
            IpAddr::V6(v6) => {
                std::net::SocketAddrV6::new(v6, options.port, 0, options.scope_id).into()
            }
        };
        let socket = socket2::Socket::new(
            Domain::for_address(wanted),
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )?;
        sys::never_fragment(&socket, address)?;
        let joins = options.segmentation && sys::join_segments(&socket);
        // Refused buffers are no error: the budget told to peers is what was granted.
        let _ = socket.set_recv_buffer_size(options.receive_buffer);
        let _ = socket.set_send_buffer_size(options.receive_buffer);
        socket.bind(&SockAddr::from(wanted))?;
        let local = socket
            .local_addr()?
            .as_socket()
            .ok_or(io::ErrorKind::Unsupported)?;
        let segments = options.segmentation && sys::can_segment(&socket);
        Ok(Self {
            receive_buffer: socket.recv_buffer_size()?,
            joins,
            local,
            incoming: ReceiveBatch::new()?,
            outgoing: SendBatch::new(local, segments),
            counters: SocketCounters::default(),
            socket,
        })
    }

    /// Its address and port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Bytes of receive buffer that the kernel granted, its own overhead counted.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// How many packets of equal size one send may carry: 1 where the kernel cannot segment, or refused to of late.
    pub fn max_segments(&self) -> usize {
        self.outgoing.max_segments()
    }

    /// Whether segmented sends to it arrive joined, so that peers should use them.
    pub fn joins(&self) -> bool {
        self.joins
    }

    /// Whether the system lets this socket send with this priority.
    ///
    /// # Errors
    ///
    /// It does not: priorities above 6 take `CAP_NET_ADMIN`.
    pub fn allows(&self, level: ServiceLevel) -> io::Result<()> {
        let before = self.socket.priority()?;
        send::set_priority(self.socket.as_fd(), level)?;
        self.socket.set_priority(before)
    }

    /// What it has counted.
    pub fn counters(&self) -> SocketCounters {
        self.counters
    }

    /// Receives what is there, up to one batch, and gives each datagram to `each` with its sender; how many there were.
    /// It never blocks.
    ///
    /// # Errors
    ///
    /// The socket is broken. What a peer or a router does is no error.
    pub fn receive(&mut self, mut each: impl FnMut(SocketAddr, &[u8])) -> io::Result<usize> {
        let filled = match self.incoming.fill(self.socket.as_fd()) {
            Ok(filled) => filled,
            Err(error) if is_passing(&error) => return Ok(0),
            Err(error) => {
                self.counters.failed_receives += 1;
                return Err(error);
            }
        };
        self.counters.receive_calls += u64::from(filled > 0);
        let mut count = 0;
        for slot in 0..filled {
            let Some(arrival) = self.incoming.arrival(slot) else {
                self.counters.truncated += 1;
                continue;
            };
            for datagram in arrival.bytes.chunks(arrival.segment) {
                count += 1;
                each(arrival.from, datagram);
            }
        }
        self.counters.received += count as u64;
        Ok(count)
    }

    /// Where the next send is to be written.
    pub fn buffer(&mut self) -> &mut [u8] {
        self.outgoing.buffer()
    }

    /// Takes what was written to [`Socket::buffer`] for sending; sends if the batch is full.
    pub fn push(&mut self, transmit: &Transmit) {
        if self.outgoing.push(transmit) {
            self.flush();
        }
    }

    /// Sends what was pushed. What the kernel refuses is lost, as on the wire.
    pub fn flush(&mut self) {
        self.outgoing.flush(self.socket.as_fd(), &mut self.counters);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Nothing is there, or somebody else's trouble.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn socket(address: &str) -> Socket {
        let options = Options {
            port: 0,
            ..Options::default()
        };
        Socket::bind(address.parse().expect("an address"), &options).expect("a socket")
    }

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_is_that_address() {
        let local = socket("::ffff:127.0.0.1").local();
        assert_eq!(local.ip(), Ipv4Addr::LOCALHOST);
    }

    fn send(socket: &mut Socket, to: SocketAddr, bytes: &[u8], segment: Option<usize>) {
        socket.buffer()[..bytes.len()].copy_from_slice(bytes);
        socket.push(&Transmit {
            destination: to,
            len: bytes.len(),
            segment,
            packets: segment.map_or(1, |segment| bytes.len().div_ceil(segment)),
            service_level: ServiceLevel::DEFAULT,
        });
    }

    /// Receives so many datagrams, or as many as come within ten seconds.
    fn collect(socket: &mut Socket, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while all.len() < count && std::time::Instant::now() < end {
            socket
                .receive(|from, bytes| all.push((from, bytes.to_vec())))
                .expect("a working socket");
        }
        all
    }

    #[test]
    fn datagrams_come_with_their_sender() {
        for address in ["127.0.0.1", "::1"] {
            if std::net::UdpSocket::bind((address, 0)).is_err() {
                println!("skipped: {address} cannot be bound here");
                continue;
            }
            let (mut a, mut b) = (socket(address), socket(address));
            send(&mut a, b.local(), b"hello", None);
            a.flush();
            assert_eq!(collect(&mut b, 1), [(a.local(), b"hello".to_vec())]);
            assert_eq!(b.counters().received, 1);
        }
    }

    #[test]
    fn sends_leave_with_their_priority() {
        let (mut a, b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        for number in [3, 3, 5, 0, 6] {
            let level = ServiceLevel::new(number).expect("below 16");
            a.allows(level).expect("below 7");
            a.push(&Transmit {
                destination: b.local(),
                len: 4,
                segment: None,
                packets: 1,
                service_level: level,
            });
        }
        a.flush();
        assert_eq!(a.socket.priority().expect("an open socket"), 6);
        let counters = a.counters();
        assert_eq!(
            (counters.sent, counters.send_calls),
            (5, 4),
            "3 and 3 together"
        );
    }

    #[test]
    fn a_segmented_send_arrives_as_its_packets() {
        let (mut a, mut b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        if a.max_segments() == 1 {
            println!("skipped: this kernel segments no UDP sends");
            return;
        }
        let bytes: Vec<u8> = (0..250u8).collect();
        send(&mut a, b.local(), &bytes, Some(100));
        a.flush();
        let parts: Vec<Vec<u8>> = collect(&mut b, 3)
            .into_iter()
            .map(|(_, part)| part)
            .collect();
        let lens: Vec<usize> = parts.iter().map(Vec::len).collect();
        assert_eq!((lens, parts.concat()), (vec![100, 100, 50], bytes));
        assert_eq!(a.counters().sent, 3);
    }

    #[test]
    fn a_burst_of_several_batches_arrives_in_order() {
        let (mut a, mut b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        for index in 0..100u8 {
            send(&mut a, b.local(), &[index; 40], None);
        }
        a.flush();
        let got = collect(&mut b, 100);
        assert!(
            got.iter()
                .zip(0..)
                .all(|((_, bytes), index)| bytes == &[index; 40])
        );
        assert_eq!(got.len(), 100);
    }

    #[test]
    fn nothing_there_is_no_error_and_no_wait() {
        assert_eq!(socket("127.0.0.1").receive(|_, _| ()).expect("works"), 0);
    }

    #[test]
    fn a_send_to_nobody_fails_no_other_send() {
        let (mut a, mut b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        let gone = socket("127.0.0.1").local();
        for _ in 0..3 {
            send(&mut a, gone, b"anybody?", None);
            a.flush();
            send(&mut a, b.local(), b"still here", None);
            a.flush();
            assert_eq!(a.receive(|_, _| ()).expect("works"), 0);
        }
        assert_eq!(collect(&mut b, 3).len(), 3);
    }

    #[test]
    fn what_the_kernel_refuses_is_counted_with_its_reason() {
        let (mut a, mut b) = (socket("127.0.0.1"), socket("127.0.0.1"));
        assert_eq!(a.counters().last_refusal, None);
        // Who is bound to loopback reaches nobody outside of it.
        let outside = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 4791);
        send(&mut a, outside, b"refused", None);
        send(&mut a, b.local(), b"sent", None);
        a.flush();
        assert_eq!(collect(&mut b, 1).len(), 1);
        let counters = a.counters();
        assert_eq!((counters.lost, counters.sent), (1, 1));
        let errno = counters.last_refusal.expect("a reason");
        assert!(
            [libc::EINVAL, libc::ENETUNREACH].contains(&errno),
            "{errno}"
        );
    }

    #[test]
    fn impossible_addresses_are_said_to_be_so() {
        let bind = |address: &str, port| {
            let options = Options {
                port,
                ..Options::default()
            };
            Socket::bind(address.parse().expect("an address"), &options)
        };
        assert!(matches!(
            bind("0.0.0.0", 0),
            Err(BindError::NotConcrete { .. })
        ));
        assert!(matches!(
            bind("fe80::1", 0),
            Err(BindError::LinkLocal { .. })
        ));
        assert!(matches!(
            bind("192.0.2.1", 0),
            Err(BindError::NotLocal { .. })
        ));
        let taken = socket("127.0.0.1");
        let error = bind("127.0.0.1", taken.local().port()).expect_err("taken");
        assert!(matches!(error, BindError::PortTaken { .. }));
        assert!(error.to_string().contains("rdma_rxe"), "{error}");
    }
}
