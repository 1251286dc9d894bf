//! A box between two NICs, each of which takes it for its peer: it carries their packets, and keeps the newest to be sent again.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdma::connection::{ConnectionInfo, Features};
use rdma::psn::Psn;
use rdma::wire::{MAX_PACKET, Opcode, PacketView, Path, seal};

use crate::Outcome;

/// Requests that are kept of each direction, and as many answers: packets that come again are answered again.
const KEPT: usize = 1 << 10;
/// How long it may take until the box notices that it is over.
const LOOKS: Duration = Duration::from_millis(50);

/// The way to a NIC, from where it believes its peer to be.
pub struct Way {
    pub socket: UdpSocket,
    pub path: Path,
    nic: SocketAddr,
    requests: Mutex<VecDeque<Vec<u8>>>,
    answers: Mutex<VecDeque<Vec<u8>>>,
    /// The number of the newest request that went this way.
    newest: AtomicU32,
}

impl Way {
    fn new(last: u8, nic: SocketAddr) -> Outcome<Self> {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, 112 + last, high, low));
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_read_timeout(Some(LOOKS))?;
        Ok(Self {
            path: Path::new(socket.local_addr()?, nic).ok_or("addresses of two families")?,
            socket,
            nic,
            requests: Mutex::default(),
            answers: Mutex::default(),
            newest: AtomicU32::new(0),
        })
    }

    /// What its NIC is told of the other's connection.
    pub fn told(&self, other: &ConnectionInfo) -> Vec<u8> {
        let here = self.path.source();
        let told = ConnectionInfo {
            address: here.ip(),
            udp_port: here.port(),
            features: other.features - Features::SEGMENTS,
            ..other.clone()
        };
        told.to_blob()
    }

    /// The number of the newest request that went this way.
    pub fn newest(&self) -> Psn {
        Psn::new(self.newest.load(Ordering::Relaxed))
    }

    /// One of the packets that went this way; nothing if there was none yet.
    pub fn recorded(&self, random: u64, bytes: &mut Vec<u8>) {
        let kept = match random % 2 {
            0 => &self.requests,
            _ => &self.answers,
        };
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = (random / 2).checked_rem(kept.len() as u64);
        let packet = chosen.and_then(|at| kept.get(at as usize));
        bytes.clear();
        bytes.extend(packet.into_iter().flatten());
    }

    /// Sends a packet of the other NIC on to this one, as if it came from here.
    fn pass(&self, packet: &mut [u8]) {
        let Some(view) = PacketView::new(packet) else {
            return;
        };
        let request = Opcode::from_code(packet[0]).is_some_and(|opcode| !opcode.is_response());
        if request {
            let number = view.bth().psn().value();
            self.newest.store(number, Ordering::Relaxed);
        }
        seal(&self.path, 0, packet);
        // What the system refuses is lost, as on the wire.
        let _ = self.socket.send_to(packet, self.nic);
        let kept = if request {
            &self.requests
        } else {
            &self.answers
        };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(packet.to_vec());
    }

    /// Takes what its NIC sends, until it is over.
    fn carry(&self, towards: &Self, over: &AtomicBool) {
        let mut bytes = [0; MAX_PACKET];
        while !over.load(Ordering::Relaxed) {
            match self.socket.recv_from(&mut bytes) {
                Ok((len, from)) if from == self.nic => towards.pass(&mut bytes[..len]),
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        WouldBlock | TimedOut | Interrupted | ConnectionRefused
    )
}

/// Both ways, and who carries.
pub struct Relay {
    pub ways: [Arc<Way>; 2],
    over: Arc<AtomicBool>,
    carriers: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Between the NICs at these addresses.
    pub fn between(nics: [SocketAddr; 2]) -> Outcome<Self> {
        let ways = [Way::new(0, nics[0])?, Way::new(1, nics[1])?].map(Arc::new);
        let over = Arc::new(AtomicBool::new(false));
        let carriers = [(0, 1), (1, 0)].map(|(from, to)| {
            let (from, to) = (ways[from].clone(), ways[to].clone());
            let over = over.clone();
            std::thread::spawn(move || from.carry(&to, &over))
        });
        Ok(Self {
            ways,
            over,
            carriers: carriers.into(),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            // One that panicked has carried nothing, and the game has said so.
            let _ = carrier.join();
        }
    }
}
