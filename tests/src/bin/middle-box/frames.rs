//! Ethernet frames of an interface, and the RoCE packets in them.

use std::io::{ErrorKind, Read, Result, Write};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// All protocols, as the kernel numbers them.
const ALL: u16 = libc::ETH_P_ALL as u16;
const IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
const ROCE: u16 = 4791;
const ETHERNET: usize = 14;

/// The frames of one interface.
pub struct Frames(Socket);

impl Frames {
    /// Of the interface of this name.
    pub fn open(interface: &str) -> Result<Self> {
        let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
        let index: i32 = index
            .trim()
            .parse()
            .map_err(|_| std::io::Error::from(ErrorKind::InvalidData))?;
        let protocol = Protocol::from(i32::from(ALL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.bind(&all_frames_of(index)?)?;
        socket.set_recv_buffer_size(4 << 20)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// The next frame that came in, if one did; its bytes.
    pub fn receive(&self, frame: &mut [u8]) -> Result<Option<usize>> {
        loop {
            match (&self.0).read(frame) {
                // What this program sends is shown to it, too, but not by the socket that sent it.
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a frame; what finds no room is lost, as in a network.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        match (&self.0).write(frame) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The address that a packet socket binds to for all that one interface carries.
#[expect(unsafe_code, reason = "no safe way to write a link-layer address")]
fn all_frames_of(index: i32) -> Result<SockAddr> {
    // SAFETY: the storage is zeroed and large enough for any address; its family and the written length are those of a
    // link-layer address.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as u16;
            (*link).sll_protocol = ALL.to_be();
            (*link).sll_ifindex = index;
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}

/// A RoCE packet in an IPv4 frame: its UDP datagram.
pub struct Roce<'f>(&'f mut [u8]);

impl<'f> Roce<'f> {
    /// The packet in this frame, if it is one.
    pub fn find(frame: &'f mut [u8]) -> Option<Self> {
        let is_udp = frame.get(12..14)? == IPV4 && *frame.get(ETHERNET + 9)? == UDP;
        let header = usize::from(frame.get(ETHERNET)? & 0xf) * 4;
        let datagram = frame.get_mut(ETHERNET + header..)?;
        let port = u16::from_be_bytes(datagram.get(2..4)?.try_into().ok()?);
        (is_udp && port == ROCE && datagram.len() > 8).then_some(Self(datagram))
    }

    /// Takes the UDP checksum away: for IPv4 it may be missing.
    pub fn forget_checksum(self) {
        self.0[6..8].fill(0);
    }

    /// Gives it a UDP checksum that fits one packet in 65,535, and so hardly ever this one.
    pub fn break_checksum(self) {
        self.0[6..8].copy_from_slice(&[0, 1]);
    }

    /// Flips one bit of the packet.
    pub fn flip(self, bit: u64) {
        let packet = &mut self.0[8..];
        let bit = bit as usize % (packet.len() * 8);
        packet[bit / 8] ^= 1 << (bit % 8);
    }
}
