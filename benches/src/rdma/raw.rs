//! The peer: plain UDP sockets that poll, with the same batched system calls as ours.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rdma::udp::{Options, Socket};
use rdma::{MAX_SEGMENTS, Transmit};

/// Bytes of a small packet: what a write of eight bytes has, headers and checksum included.
const SMALL: usize = 40;
/// Bytes of each packet of a stream.
const PACKET: usize = 4096;
/// Bytes of a segmented send.
const SEND: usize = 15 * PACKET;
/// How long a server polls without hearing anything before it sleeps.
const AWAKE: Duration = Duration::from_millis(1);
/// A lost packet is given up after this long.
const LOST: Duration = Duration::from_millis(50);

fn socket(address: [u8; 4]) -> Socket {
    let options = Options {
        port: 0,
        ..Options::default()
    };
    Socket::bind(address.into(), &options).expect("a socket")
}

fn push(socket: &mut Socket, to: SocketAddr, len: usize, segment: Option<usize>, first: u8) {
    socket.buffer()[0] = first;
    socket.push(&Transmit {
        destination: to,
        len,
        segment,
        service_level: Default::default(),
        packets: segment.map_or(1, |segment| len.div_ceil(segment)),
    });
}

/// The side that answers. A small packet says in its first byte how many of its kind belong together; packets of a
/// stream begin with 0, and each [`SEND`] of them is answered by one packet.
pub(crate) fn serve(mut socket: Socket) -> ! {
    let mut last = Instant::now();
    let (mut small, mut streamed) = (0u8, 0usize);
    loop {
        let mut answer: Option<(SocketAddr, u8)> = None;
        let got = socket.receive(|from, bytes| {
            if bytes.len() > SMALL {
                streamed += bytes.len();
                if streamed >= SEND {
                    streamed -= SEND;
                    let before = answer.map_or(0, |(_, count)| count);
                    answer = Some((from, before + 1));
                }
            } else {
                small += 1;
                if small >= bytes[0] {
                    answer = Some((from, small));
                    small = 0;
                }
            }
        });
        match answer {
            Some((to, count)) => {
                for _ in 0..count {
                    push(&mut socket, to, SMALL, None, count);
                }
                socket.flush();
                last = Instant::now();
            }
            None if got.is_ok_and(|got| got > 0) => last = Instant::now(),
            None if last.elapsed() > AWAKE => sleep_on(&socket),
            None => {}
        }
    }
}

/// Sleeps until a packet comes.
fn sleep_on(socket: &Socket) {
    use rustix::event::{PollFd, PollFlags, poll};
    let fd = socket.as_fd();
    // An interrupted sleep is as good as a packet.
    let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], None);
}

/// A socket for [`serve`], and where it is.
pub(crate) fn server() -> (Socket, SocketAddr) {
    let socket = socket([127, 0, 0, 204]);
    let local = socket.local();
    (socket, local)
}

/// The side that asks.
pub(crate) struct Client {
    socket: Socket,
    server: Option<SocketAddr>,
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self {
            server: Some(server),
            ..Self::unconnected()
        }
    }

    pub(crate) fn unconnected() -> Self {
        Self {
            socket: socket([127, 0, 0, 205]),
            server: None,
        }
    }

    /// So many round trips of `packets` small packets each way, after some to wake the server.
    pub(crate) fn trips(&mut self, n: u64, packets: u8) -> Duration {
        (0..50).for_each(|_| self.trip(packets));
        let start = Instant::now();
        (0..n).for_each(|_| self.trip(packets));
        start.elapsed()
    }

    fn trip(&mut self, packets: u8) {
        let Some(server) = self.server else { return };
        for _ in 0..packets {
            push(&mut self.socket, server, SMALL, None, packets);
        }
        self.socket.flush();
        self.await_answers(packets.into());
    }

    fn await_answers(&mut self, wanted: usize) -> usize {
        let start = Instant::now();
        let mut got = 0;
        while got < wanted && start.elapsed() < LOST {
            got += self.socket.receive(|_, _| ()).unwrap_or(0);
        }
        got
    }

    /// Streams so many bytes in segmented sends, at most three on their way at a time; what is lost is sent again.
    pub(crate) fn stream(&mut self, bytes: u64) -> Duration {
        let Some(server) = self.server else {
            return Duration::ZERO;
        };
        let sends = bytes.div_ceil(SEND as u64) as usize;
        let segments = SEND.div_ceil(PACKET).min(MAX_SEGMENTS);
        debug_assert!(segments <= self.socket.max_segments() || self.socket.max_segments() == 1);
        let start = Instant::now();
        let (mut sent, mut answered) = (0, 0);
        while answered < sends {
            while sent < sends && sent - answered < 3 {
                push(&mut self.socket, server, SEND, Some(PACKET), 0);
                self.socket.flush();
                sent += 1;
            }
            match self.await_answers(1) {
                0 => sent = answered,
                got => answered += got,
            }
        }
        // For what was asked: the last send may carry more.
        start
            .elapsed()
            .mul_f64(bytes as f64 / (sends * SEND) as f64)
    }
}
