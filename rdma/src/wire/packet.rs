//! Whole packets: the view over received bytes, the value made of it, and the way back to bytes.

use thiserror::Error;

use super::aeth::Aeth;
use super::bth::{Bth, BthView, field as bth};
use super::headers::{AtomicAckEth, AtomicEth, Ieth, ImmDt, Reth, field};
use super::icrc::{Path, icrc};
use super::opcode::Opcode;
use super::{ICRC_LEN, MAX_PACKET, MIN_PACKET};

/// The bytes of a packet, from BTH to ICRC. Nothing but the length has been checked: all of it may lie.
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    bytes: &'a [u8],
}

impl<'a> PacketView<'a> {
    /// A view of a UDP payload, or `None` if no packet has this length.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let fits =
            (MIN_PACKET..=MAX_PACKET).contains(&bytes.len()) && bytes.len().is_multiple_of(4);
        fits.then_some(Self { bytes })
    }

    /// The base transport header.
    ///
    /// # Panics
    ///
    /// Never: [`PacketView::new`] has checked the length.
    pub fn bth(self) -> BthView<'a> {
        BthView::new(self.bytes).expect("the length was checked")
    }

    /// All bytes, the ICRC included.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// What the sender says the ICRC is.
    pub fn icrc(self) -> u32 {
        let tail = self.bytes.last_chunk().expect("the length was checked");
        u32::from_le_bytes(*tail)
    }

    /// The bytes the ICRC covers (before it masks some of them).
    pub(super) fn covered(self) -> &'a [u8] {
        &self.bytes[..self.bytes.len() - ICRC_LEN]
    }
}

/// Why bytes are not a packet of this transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MalformedPacket {
    /// The opcode is another transport's, or reserved.
    #[error("opcode {code:#04x} is not one of the reliable connected transport")]
    Opcode {
        /// The code in the packet.
        code: u8,
    },
    /// Headers or padding do not fit into the packet.
    #[error("opcode {opcode:?} needs {needed} bytes, the packet has {len}")]
    Length {
        /// What the packet claims to be.
        opcode: Opcode,
        /// Bytes its headers and padding take, with the ICRC.
        needed: usize,
        /// Bytes there are.
        len: usize,
    },
    /// A payload where the opcode allows none.
    #[error("opcode {opcode:?} carries a payload of {len} bytes")]
    Payload {
        /// What the packet claims to be.
        opcode: Opcode,
        /// Bytes of payload and padding.
        len: usize,
    },
}

/// A place in a message of one or more packets: what only the first carries, and what only the last does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<H, T> {
    /// The first of several.
    First(H),
    /// Neither first nor last.
    Middle,
    /// The last of several.
    Last(T),
    /// A message of one packet.
    Only(H, T),
}

/// A place in the response to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPart {
    /// The first of several.
    First(Aeth),
    /// Neither first nor last: the one without an acknowledge header.
    Middle,
    /// The last of several.
    Last(Aeth),
    /// A response of one packet.
    Only(Aeth),
}

/// What the last packet of a send carries beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendTail {
    /// Nothing.
    Plain,
    /// Immediate data.
    Immediate(ImmDt),
    /// A remote key to take back.
    Invalidate(Ieth),
}

/// What a packet is, with its extended headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Body {
    Send(Part<(), SendTail>),
    Write(Part<Reth, Option<ImmDt>>),
    ReadRequest(Reth),
    ReadResponse(ReadPart),
    Acknowledge(Aeth),
    AtomicAcknowledge(Aeth, AtomicAckEth),
    CompareSwap(AtomicEth),
    FetchAdd(AtomicEth),
    Cnp,
}

/// All headers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The base transport header.
    pub bth: Bth,
    /// The rest.
    pub body: Body,
}

/// A packet: headers and payload belong together. Its ICRC is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The headers.
    pub header: Header,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

impl Body {
    /// The opcode of such a packet.
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::Send(part) => send_opcode(part),
            Self::Write(part) => write_opcode(part),
            Self::ReadRequest(_) => Opcode::ReadRequest,
            Self::ReadResponse(ReadPart::First(_)) => Opcode::ReadResponseFirst,
            Self::ReadResponse(ReadPart::Middle) => Opcode::ReadResponseMiddle,
            Self::ReadResponse(ReadPart::Last(_)) => Opcode::ReadResponseLast,
            Self::ReadResponse(ReadPart::Only(_)) => Opcode::ReadResponseOnly,
            Self::Acknowledge(_) => Opcode::Acknowledge,
            Self::AtomicAcknowledge(..) => Opcode::AtomicAcknowledge,
            Self::CompareSwap(_) => Opcode::CompareSwap,
            Self::FetchAdd(_) => Opcode::FetchAdd,
            Self::Cnp => Opcode::Cnp,
        }
    }

    /// The body of a packet with this opcode; `bytes` are its extended headers.
    fn parse(opcode: Opcode, bytes: &[u8]) -> Self {
        let reth = || Reth::parse(bytes);
        let aeth = || Aeth::parse(bytes);
        let imm = || ImmDt::parse(bytes);
        let ieth = || Ieth::parse(bytes);
        match opcode {
            Opcode::SendFirst => Self::Send(Part::First(())),
            Opcode::SendMiddle => Self::Send(Part::Middle),
            Opcode::SendLast => Self::Send(Part::Last(SendTail::Plain)),
            Opcode::SendLastImmediate => Self::Send(Part::Last(SendTail::Immediate(imm()))),
            Opcode::SendLastInvalidate => Self::Send(Part::Last(SendTail::Invalidate(ieth()))),
            Opcode::SendOnly => Self::Send(Part::Only((), SendTail::Plain)),
            Opcode::SendOnlyImmediate => Self::Send(Part::Only((), SendTail::Immediate(imm()))),
            Opcode::SendOnlyInvalidate => Self::Send(Part::Only((), SendTail::Invalidate(ieth()))),
            Opcode::WriteFirst => Self::Write(Part::First(reth())),
            Opcode::WriteMiddle => Self::Write(Part::Middle),
            Opcode::WriteLast => Self::Write(Part::Last(None)),
            Opcode::WriteLastImmediate => Self::Write(Part::Last(Some(imm()))),
            Opcode::WriteOnly => Self::Write(Part::Only(reth(), None)),
            Opcode::WriteOnlyImmediate => {
                let imm = ImmDt::parse(&bytes[field::RETH..]);
                Self::Write(Part::Only(reth(), Some(imm)))
            }
            Opcode::ReadRequest => Self::ReadRequest(reth()),
            Opcode::ReadResponseFirst => Self::ReadResponse(ReadPart::First(aeth())),
            Opcode::ReadResponseMiddle => Self::ReadResponse(ReadPart::Middle),
            Opcode::ReadResponseLast => Self::ReadResponse(ReadPart::Last(aeth())),
            Opcode::ReadResponseOnly => Self::ReadResponse(ReadPart::Only(aeth())),
            Opcode::Acknowledge => Self::Acknowledge(aeth()),
            Opcode::AtomicAcknowledge => {
                Self::AtomicAcknowledge(aeth(), AtomicAckEth::parse(&bytes[field::AETH..]))
            }
            Opcode::CompareSwap => Self::CompareSwap(AtomicEth::parse(bytes)),
            Opcode::FetchAdd => Self::FetchAdd(AtomicEth::parse(bytes)),
            Opcode::Cnp => Self::Cnp,
        }
    }

    /// Writes the extended headers; `out` is at least as long as they are.
    fn emit(&self, out: &mut [u8]) {
        match self {
            Self::Send(Part::Last(tail) | Part::Only((), tail)) => tail.emit(out),
            Self::Write(Part::First(reth)) => reth.emit(out),
            Self::Write(Part::Last(Some(imm))) => imm.emit(out),
            Self::Write(Part::Only(reth, imm)) => {
                reth.emit(out);
                imm.iter().for_each(|imm| imm.emit(&mut out[field::RETH..]));
            }
            Self::ReadRequest(reth) => reth.emit(out),
            Self::ReadResponse(
                ReadPart::First(aeth) | ReadPart::Last(aeth) | ReadPart::Only(aeth),
            ) => aeth.emit(out),
            Self::Acknowledge(aeth) => aeth.emit(out),
            Self::AtomicAcknowledge(aeth, original) => {
                aeth.emit(out);
                original.emit(&mut out[field::AETH..]);
            }
            Self::CompareSwap(atomic) | Self::FetchAdd(atomic) => atomic.emit(out),
            Self::Cnp => out[..field::CNP_RESERVED].fill(0),
            _ => {}
        }
    }
}

const fn send_opcode(part: &Part<(), SendTail>) -> Opcode {
    match part {
        Part::First(()) => Opcode::SendFirst,
        Part::Middle => Opcode::SendMiddle,
        Part::Last(SendTail::Plain) => Opcode::SendLast,
        Part::Last(SendTail::Immediate(_)) => Opcode::SendLastImmediate,
        Part::Last(SendTail::Invalidate(_)) => Opcode::SendLastInvalidate,
        Part::Only((), SendTail::Plain) => Opcode::SendOnly,
        Part::Only((), SendTail::Immediate(_)) => Opcode::SendOnlyImmediate,
        Part::Only((), SendTail::Invalidate(_)) => Opcode::SendOnlyInvalidate,
    }
}

const fn write_opcode(part: &Part<Reth, Option<ImmDt>>) -> Opcode {
    match part {
        Part::First(_) => Opcode::WriteFirst,
        Part::Middle => Opcode::WriteMiddle,
        Part::Last(None) => Opcode::WriteLast,
        Part::Last(Some(_)) => Opcode::WriteLastImmediate,
        Part::Only(_, None) => Opcode::WriteOnly,
        Part::Only(_, Some(_)) => Opcode::WriteOnlyImmediate,
    }
}

impl SendTail {
    fn emit(self, out: &mut [u8]) {
        match self {
            Self::Plain => {}
            Self::Immediate(imm) => imm.emit(out),
            Self::Invalidate(key) => key.emit(out),
        }
    }
}

impl Header {
    /// Bytes of the headers: where the payload begins.
    pub const fn len(&self) -> usize {
        bth::LEN + self.body.opcode().extended_len()
    }

    /// Never: there is always a base header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Bytes of the whole packet with a payload of `payload` bytes: headers, payload, padding and ICRC.
    pub const fn packet_len(&self, payload: usize) -> usize {
        self.len() + payload.next_multiple_of(4) + ICRC_LEN
    }

    /// Writes the headers and the zeros of the padding for a payload of `payload` bytes, which the caller
    /// then puts at [`Header::len`]. [`seal`] completes the packet.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than [`Header::packet_len`].
    pub fn emit(&self, payload: usize, out: &mut [u8]) {
        let pad = payload.next_multiple_of(4) - payload;
        self.bth.emit(self.body.opcode(), pad, out);
        self.body.emit(&mut out[bth::LEN..]);
        let end = self.len() + payload;
        out[end..end + pad].fill(0);
    }
}

/// Completes a packet whose headers and payload stand in `packet`: writes the ICRC into its last four bytes.
///
/// `identification` is the IP identification the packet will carry: its index in a segmented send, else 0.
///
/// # Panics
///
/// If `packet` is shorter than the shortest packet.
pub fn seal(path: &Path, identification: u16, packet: &mut [u8]) {
    let end = packet.len() - ICRC_LEN;
    let icrc = icrc(path, identification, &packet[..end]);
    packet[end..].copy_from_slice(&icrc.to_le_bytes());
}

impl Packet<'_> {
    /// Bytes of the whole packet.
    pub const fn len(&self) -> usize {
        self.header.packet_len(self.payload.len())
    }

    /// Never: there is always a header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the whole packet with its ICRC to the front of `out`; says how many bytes.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than [`Packet::len`].
    pub fn emit(&self, path: &Path, identification: u16, out: &mut [u8]) -> usize {
        let out = &mut out[..self.len()];
        let start = self.header.len();
        self.header.emit(self.payload.len(), out);
        out[start..start + self.payload.len()].copy_from_slice(self.payload);
        seal(path, identification, out);
        out.len()
    }
}

impl<'a> TryFrom<PacketView<'a>> for Packet<'a> {
    type Error = MalformedPacket;

    fn try_from(view: PacketView<'a>) -> Result<Self, MalformedPacket> {
        let code = view.bth().opcode();
        let opcode = Opcode::from_code(code).ok_or(MalformedPacket::Opcode { code })?;
        let start = bth::LEN + opcode.extended_len();
        let pad = view.bth().pad_count();
        let len = view.bytes.len();
        let needed = start + pad + ICRC_LEN;
        let end = (len >= needed).then(|| len - pad - ICRC_LEN);
        let end = end.ok_or(MalformedPacket::Length {
            opcode,
            needed,
            len,
        })?;
        if end > start && !opcode.has_payload() {
            return Err(MalformedPacket::Payload {
                opcode,
                len: end - start,
            });
        }
        let bth = view.bth().to_value();
        let body = Body::parse(opcode, &view.bytes[bth::LEN..start]);
        Ok(Self {
            header: Header { bth, body },
            payload: &view.bytes[start..end],
        })
    }
}
