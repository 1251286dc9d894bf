//! The system calls that have no safe wrapper: `recvmmsg`, `sendmmsg`, and a few socket options. Linux.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_void, cmsghdr, iovec, mmsghdr, sockaddr_in, sockaddr_in6, sockaddr_storage};
use memmap2::MmapMut;
use socket2::SockAddr;

use crate::transmit::Transmit;

const UDP_SEGMENT: c_int = 103;
const UDP_GRO: c_int = 104;
const UDP_NO_CHECK6_RX: c_int = 102;
/// Room for one control message with an `int`.
const CONTROL: usize = 32;

fn set(socket: &impl AsRawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the option value is an `int` that lives during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast::<c_void>(),
            len,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends with "don't fragment", whatever the path is said to take; IPv6 datagrams without a checksum are taken, too.
pub(super) fn never_fragment(socket: &impl AsRawFd, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => set(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        ),
        IpAddr::V6(_) => {
            set(
                socket,
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_PROBE,
            )?;
            set(socket, libc::IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
        }
    }
}

/// Asks for joined datagrams; whether the kernel can.
pub(super) fn join_segments(socket: &impl AsRawFd) -> bool {
    set(socket, libc::IPPROTO_UDP, UDP_GRO, 1).is_ok()
}

/// Whether the kernel can segment sends.
pub(super) fn can_segment(socket: &impl AsRawFd) -> bool {
    set(socket, libc::IPPROTO_UDP, UDP_SEGMENT, 0).is_ok()
}

/// Whether a refused segmented send means that there is no segmentation on this way.
pub(super) fn means_no_segmentation(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EOPNOTSUPP))
}

/// Whether it may mean that, for one destination or for all; or that the address is not there for a moment.
pub(super) fn may_mean_no_segmentation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// An aligned buffer for control messages.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Slots for incoming datagrams. The headers point into the other fields, none of which moves with the value or
/// is resized.
pub(super) struct Incoming {
    headers: Box<[mmsghdr]>,
    names: Box<[sockaddr_storage]>,
    _vectors: Box<[iovec]>,
    _controls: Box<[Control]>,
    /// Mapped, not allocated: most of it is never touched, and all of it goes back to the system with the socket. An allocator
    /// keeps what is freed, and touches all of it when it gives it out again as zeros.
    bytes: MmapMut,
    slot: usize,
    /// How many headers the last call has changed.
    used: usize,
}

// SAFETY: the pointers in the headers lead into memory that the value alone owns, on the heap and mapped.
unsafe impl Send for Incoming {}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("slots", &self.headers.len())
            .field("used", &self.used)
            .finish()
    }
}

impl Incoming {
    /// So many slots of so many bytes.
    pub(super) fn new(slots: usize, slot: usize) -> io::Result<Self> {
        let mut bytes = MmapMut::map_anon(slots * slot)?;
        // SAFETY: these are plain C structs, for which all zeros is a valid value.
        let (blank_name, blank_header) =
            unsafe { (zeroed::<sockaddr_storage>(), zeroed::<mmsghdr>()) };
        let mut names = vec![blank_name; slots].into_boxed_slice();
        let mut controls = vec![Control([0; CONTROL]); slots].into_boxed_slice();
        let mut vectors: Box<[iovec]> = bytes
            .chunks_exact_mut(slot)
            .map(|chunk| iovec {
                iov_base: chunk.as_mut_ptr().cast(),
                iov_len: slot,
            })
            .collect();
        let mut headers = vec![blank_header; slots].into_boxed_slice();
        for (index, header) in headers.iter_mut().enumerate() {
            header.msg_hdr.msg_name = (&raw mut names[index]).cast();
            header.msg_hdr.msg_iov = &raw mut vectors[index];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut controls[index]).cast();
        }
        Ok(Self {
            used: slots,
            headers,
            names,
            _vectors: vectors,
            _controls: controls,
            bytes,
            slot,
        })
    }

    /// Receives what is there without blocking; how many slots were filled.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for header in &mut self.headers[..self.used] {
            header.msg_hdr.msg_namelen = size_of::<sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL;
            header.msg_hdr.msg_flags = 0;
        }
        self.used = 0;
        // SAFETY: each header points to a name, a control buffer and a vector of this value, with their true sizes,
        // and all of them outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        self.used = count as usize;
        Ok(self.used)
    }

    /// What a filled slot holds: the sender, the bytes, the size of each joined datagram. Nothing if the datagram was
    /// cut off or its sender is of another family.
    pub(super) fn slot(&self, index: usize) -> Option<(SocketAddr, &[u8], Option<usize>)> {
        let header = self.headers[..self.used].get(index)?;
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let from = address(&self.names[index])?;
        let start = index * self.slot;
        let bytes = &self.bytes[start..start + header.msg_len as usize];
        Some((from, bytes, joined(&header.msg_hdr)))
    }
}

/// The size of joined datagrams, if the kernel says that it has joined some.
fn joined(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has filled the control buffer as far as `msg_controllen` says; the macros stay within it.
    unsafe {
        let mut message: *const cmsghdr = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::IPPROTO_UDP && (*message).cmsg_type == UDP_GRO {
                let size = libc::CMSG_DATA(message).cast::<c_int>().read_unaligned();
                return usize::try_from(size).ok();
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

fn address(name: &sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a `sockaddr_in`, which it is large and aligned enough for.
            let name = unsafe { &*(&raw const *name).cast::<sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a `sockaddr_in6`.
            let name = unsafe { &*(&raw const *name).cast::<sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Headers for outgoing sends, filled in anew for each call.
pub(super) struct Outgoing {
    headers: Box<[mmsghdr]>,
    names: Vec<SockAddr>,
    vectors: Box<[iovec]>,
    controls: Box<[Control]>,
}

// SAFETY: the pointers in headers and vectors are set and used within one call only.
unsafe impl Send for Outgoing {}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("slots", &self.headers.len())
            .finish()
    }
}

impl Outgoing {
    /// For at most so many sends at a time.
    pub(super) fn new(slots: usize) -> Self {
        // SAFETY: these are plain C structs, for which all zeros is a valid value.
        let (header, vector) = unsafe { (zeroed::<mmsghdr>(), zeroed::<iovec>()) };
        Self {
            headers: vec![header; slots].into_boxed_slice(),
            names: Vec::with_capacity(slots),
            vectors: vec![vector; slots].into_boxed_slice(),
            controls: vec![Control([0; CONTROL]); slots].into_boxed_slice(),
        }
    }

    /// Sends the first of these, or more; how many. `slots` holds the bytes of each.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        transmits: &[Transmit],
        slots: &[Box<[u8]>],
    ) -> io::Result<usize> {
        let count = transmits.len().min(slots.len()).min(self.headers.len());
        self.names.clear();
        self.names.extend(
            transmits[..count]
                .iter()
                .map(|transmit| SockAddr::from(transmit.destination)),
        );
        for index in 0..count {
            self.prepare(index, &transmits[index], &slots[index]);
        }
        // SAFETY: the first `count` headers point to names, vectors and control messages of this value and to bytes of
        // `slots`, all with their true sizes, and all of them outlive the call.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as u32,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        match sent {
            0.. => Ok(sent as usize),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn prepare(&mut self, index: usize, transmit: &Transmit, bytes: &[u8]) {
        let bytes = &bytes[..transmit.len];
        self.vectors[index] = iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let name = &self.names[index];
        let header = &mut self.headers[index].msg_hdr;
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len();
        header.msg_iov = &raw mut self.vectors[index];
        header.msg_iovlen = 1;
        header.msg_flags = 0;
        header.msg_control = std::ptr::null_mut();
        header.msg_controllen = 0;
        if let Some(segment) = transmit.segment {
            header.msg_control = (&raw mut self.controls[index]).cast();
            header.msg_controllen = segment_control(header, segment as u16);
        }
    }
}

/// Writes the control message that asks for segmentation; its length.
fn segment_control(header: &mut libc::msghdr, segment: u16) -> usize {
    let space = size_of::<u16>() as u32;
    // SAFETY: the control buffer has `CONTROL` bytes, enough for one message with two bytes, and is aligned for it.
    unsafe {
        let len = libc::CMSG_SPACE(space) as usize;
        header.msg_controllen = len;
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::IPPROTO_UDP;
        (*message).cmsg_type = UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(space) as usize;
        libc::CMSG_DATA(message)
            .cast::<u16>()
            .write_unaligned(segment);
        len
    }
}
