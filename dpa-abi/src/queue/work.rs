//! Work-queue entries: 64 bytes, four segments of 16, modelled on those of mlx5 devices. All fields are big-endian.
//!
//! | bytes | segment | fields |
//! |---|---|---|
//! | 0..16 | control | opcode modifier (8 bits), entry number (16), opcode (8); queue pair (24), segments (8); phase (8), 0 (16), flags (8); immediate or invalidated key (32) |
//! | 16..32 | remote address | address (64), remote key (32), 0 (32) |
//! | 32..48 | data: pointer | length (32, top bit clear), local key (32), address (64) |
//! | 32..64 | data: inline | length (31) with the top bit set, then the bytes |
//! | 32..48 | atomic | swap or add (64), compare (64) |
//! | 48..64 | result of an atomic | as a data pointer; length 0: the result is dropped |
//!
//! A copy has its destination in the remote-address segment, with a local key. A wait has the handle of the event in
//! place of the remote address, the comparison (0 `gt`, 1 `ge`, 2 `eq`, 3 `ne`) in place of the remote key, and in the
//! atomic segment the operand and the mask. A transpose is a copy with the shape of the matrix in the atomic segment: bytes
//! of an element (8 bits), columns (8), rows (8), the lowest last.

use core::fmt;

use super::{EntryWords, pair, unpair};

/// Bytes that an entry can carry itself.
pub const MAX_INLINE: usize = 28;

/// The word that holds the phase, and is stored last.
pub const PHASE_WORD: usize = 1;
const PHASE_BIT: u64 = 1;
const INLINE: u32 = 1 << 31;

/// Bytes of registered memory that one entry can name, at most.
pub const MAX_LEN: u32 = INLINE - 1;

/// What an entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WorkOpcode {
    /// SEND with invalidate.
    SendInvalidate = 0x01,
    /// RDMA WRITE.
    Write = 0x08,
    /// RDMA WRITE with immediate.
    WriteImmediate = 0x09,
    /// SEND.
    Send = 0x0a,
    /// SEND with immediate.
    SendImmediate = 0x0b,
    /// RDMA READ.
    Read = 0x10,
    /// Waits until a condition of a sync event holds.
    #[doc(alias = "MLX5_OPCODE_WAIT")]
    Wait = 0x0f,
    /// Copies from one memory of this node to another.
    #[doc(alias = "MLX5_OPCODE_MMO")]
    Copy = 0x2f,
    /// Copies a matrix from one memory of this node to another, its rows becoming columns. A code of ours.
    Transpose = 0x2e,
    /// Compare and swap.
    CompareSwap = 0x11,
    /// Fetch and add.
    FetchAdd = 0x12,
}

impl WorkOpcode {
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x01 => Self::SendInvalidate,
            0x08 => Self::Write,
            0x09 => Self::WriteImmediate,
            0x0a => Self::Send,
            0x0b => Self::SendImmediate,
            0x10 => Self::Read,
            0x0f => Self::Wait,
            0x2e => Self::Transpose,
            0x2f => Self::Copy,
            0x11 => Self::CompareSwap,
            0x12 => Self::FetchAdd,
            _ => return None,
        })
    }

    const fn has_atomic_segment(self) -> bool {
        matches!(
            self,
            Self::CompareSwap | Self::FetchAdd | Self::Wait | Self::Transpose
        )
    }

    const fn segments(self) -> u32 {
        if self.has_atomic_segment() { 4 } else { 3 }
    }
}

/// How an entry is carried out. The bits of the control segment's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkFlags(pub u8);

impl WorkFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// The peer's completion is a solicited one.
    pub const SOLICITED: Self = Self(0x02);
    /// Success makes a completion.
    pub const SIGNALED: Self = Self(0x08);
    /// Begins only when all reads and atomics before are answered.
    pub const FENCE: Self = Self(0x80);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A place in a peer's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemotePlace {
    /// The address, as the region's remote base counts.
    pub address: u64,
    /// The remote key.
    pub key: u32,
}

/// Local bytes: what is sent, or where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkData {
    /// A range of a registered region.
    Local {
        /// The first byte.
        address: u64,
        /// Bytes, below 2^31.
        len: u32,
        /// The local key.
        key: u32,
    },
    /// Bytes of the entry itself.
    Inline {
        /// The bytes, of which `len` count.
        bytes: [u8; MAX_INLINE],
        /// How many, at most [`MAX_INLINE`].
        len: u8,
    },
}

impl WorkData {
    /// No bytes.
    pub const NONE: Self = Self::Local {
        address: 0,
        len: 0,
        key: 0,
    };

    /// A number as inline bytes, in the byte order of this machine.
    pub const fn word(value: u64) -> Self {
        let word = value.to_ne_bytes();
        let mut bytes = [0; MAX_INLINE];
        let mut i = 0;
        while i < word.len() {
            bytes[i] = word[i];
            i += 1;
        }
        Self::Inline { bytes, len: 8 }
    }
}

/// A work-queue entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkEntry {
    /// What to do.
    pub opcode: WorkOpcode,
    /// How.
    pub flags: WorkFlags,
    /// Immediate data, or the key to invalidate.
    pub immediate: u32,
    /// Where in the peer's memory.
    pub remote: RemotePlace,
    /// What is sent, or where the answer goes.
    pub data: WorkData,
    /// Swap or add, and compare, of an atomic.
    pub atomic: [u64; 2],
}

/// Why an entry is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadEntry {
    /// No such opcode.
    Opcode(u8),
    /// More inline bytes than an entry holds, or inline bytes where an address must be.
    Inline {
        /// Its length field.
        len: u32,
    },
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opcode(code) => write!(f, "no work has opcode {code:#04x}"),
            Self::Inline { len } => {
                write!(
                    f,
                    "{len} inline bytes are not possible here, at most {MAX_INLINE} are"
                )
            }
        }
    }
}

impl core::error::Error for BadEntry {}

impl WorkEntry {
    /// Work of this kind, without data.
    pub const fn new(opcode: WorkOpcode, flags: WorkFlags) -> Self {
        Self {
            opcode,
            flags,
            immediate: 0,
            remote: RemotePlace { address: 0, key: 0 },
            data: WorkData::NONE,
            atomic: [0; 2],
        }
    }

    /// As it lies in memory. `number` is its place in the order of the queue, `queue_pair` the number of its queue pair.
    pub fn encode(&self, number: u64, queue_pair: u32, phase: bool) -> EntryWords {
        let mut words = [0; 8];
        let index = (number as u32 & 0xffff) << 8;
        words[0] = pair(
            index | self.opcode as u32,
            queue_pair << 8 | self.opcode.segments(),
        );
        let phase = if phase { 1 << 24 } else { 0 };
        words[1] = pair(phase | u32::from(self.flags.0), self.immediate);
        words[2] = self.remote.address.swap_bytes();
        words[3] = pair(self.remote.key, 0);
        if self.opcode.has_atomic_segment() {
            words[4] = self.atomic[0].swap_bytes();
            words[5] = self.atomic[1].swap_bytes();
            encode_data(&self.data, &mut words[6..8]);
        } else {
            encode_data(&self.data, &mut words[4..8]);
        }
        words
    }

    /// Whether the entry with this phase word is of the round with this phase.
    pub const fn has_phase(phase_word: u64, phase: bool) -> bool {
        (phase_word & PHASE_BIT != 0) == phase
    }

    /// Reads an entry that may be anything.
    ///
    /// # Errors
    /// No such opcode, or impossible inline data.
    #[inline]
    pub fn decode(words: &EntryWords) -> Result<Self, BadEntry> {
        let (control, _) = unpair(words[0]);
        let code = control as u8;
        let opcode = WorkOpcode::from_code(code).ok_or(BadEntry::Opcode(code))?;
        let (flags, immediate) = unpair(words[1]);
        let (atomic, data) = if opcode.has_atomic_segment() {
            let operands = [words[4].swap_bytes(), words[5].swap_bytes()];
            (operands, decode_pointer([words[6], words[7]])?)
        } else if matches!(opcode, WorkOpcode::Read | WorkOpcode::Copy) {
            ([0; 2], decode_pointer([words[4], words[5]])?)
        } else {
            ([0; 2], decode_data(words)?)
        };
        Ok(Self {
            opcode,
            flags: WorkFlags(flags as u8),
            immediate,
            remote: RemotePlace {
                address: words[2].swap_bytes(),
                key: unpair(words[3]).0,
            },
            data,
            atomic,
        })
    }
}

/// Words of an entry of a receive queue of the low layer: a data segment.
pub const RECEIVE_WORDS: usize = 2;

/// An entry of a receive queue of the low layer. Of more than [`MAX_LEN`] bytes it names so many: no message is as long.
pub const fn encode_receive(address: u64, len: u32, key: u32) -> [u64; RECEIVE_WORDS] {
    let len = if len > MAX_LEN { MAX_LEN } else { len };
    [pair(len, key), address.swap_bytes()]
}

/// Address, length and local key of an entry of a receive queue of the low layer, which may be anything.
pub const fn decode_receive(words: [u64; RECEIVE_WORDS]) -> (u64, u32, u32) {
    let (len, key) = unpair(words[0]);
    (words[1].swap_bytes(), len & !INLINE, key)
}

fn encode_data(data: &WorkData, words: &mut [u64]) {
    match *data {
        WorkData::Local { address, len, key } => {
            // One that is too long is no entry: inline data of so many bytes there cannot be.
            let len = if len > MAX_LEN { u32::MAX } else { len };
            words[0] = pair(len, key);
            words[1] = address.swap_bytes();
        }
        WorkData::Inline { bytes, len } => {
            let mut all = [0u8; 32];
            all[..4].copy_from_slice(&(INLINE | u32::from(len)).to_be_bytes());
            all[4..].copy_from_slice(&bytes);
            for (word, chunk) in words.iter_mut().zip(all.chunks_exact(8)) {
                *word = chunk
                    .iter()
                    .rev()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte));
            }
        }
    }
}

#[inline]
fn decode_pointer(words: [u64; 2]) -> Result<WorkData, BadEntry> {
    let (len, key) = unpair(words[0]);
    if len & INLINE != 0 {
        return Err(BadEntry::Inline { len: len & !INLINE });
    }
    let address = words[1].swap_bytes();
    Ok(WorkData::Local { address, len, key })
}

#[inline]
fn decode_data(words: &EntryWords) -> Result<WorkData, BadEntry> {
    let (len, _) = unpair(words[4]);
    if len & INLINE == 0 {
        return decode_pointer([words[4], words[5]]);
    }
    let len = len & !INLINE;
    if len as usize > MAX_INLINE {
        return Err(BadEntry::Inline { len });
    }
    let mut all = [0; 32];
    for (chunk, word) in all.chunks_exact_mut(8).zip(&words[4..8]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    let mut bytes = [0; MAX_INLINE];
    bytes.copy_from_slice(&all[4..]);
    Ok(WorkData::Inline {
        bytes,
        len: len as u8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &EntryWords) -> [u8; 64] {
        let mut out = [0; 64];
        for (chunk, word) in out.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    fn write() -> WorkEntry {
        WorkEntry {
            remote: RemotePlace {
                address: 0x1122_3344_5566_7788,
                key: 0xaabb_ccdd,
            },
            data: WorkData::Local {
                address: 0x4000_0000_0040,
                len: 0x1000,
                key: 0x0102_0304,
            },
            ..WorkEntry::new(WorkOpcode::Write, WorkFlags::SIGNALED)
        }
    }

    #[test]
    fn golden_bytes_of_a_write() {
        let bytes = bytes(&write().encode(0x1_0005, 0x12_3456, true));
        let expected: [&[u8]; 5] = [
            &[0, 0, 5, 8, 0x12, 0x34, 0x56, 3],
            &[1, 0, 0, 8, 0, 0, 0, 0],
            &[
                0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0xaa, 0xbb, 0xcc, 0xdd, 0, 0, 0, 0,
            ],
            &[0, 0, 0x10, 0, 1, 2, 3, 4, 0, 0, 0x40, 0, 0, 0, 0, 0x40],
            &[0; 16],
        ];
        assert_eq!(bytes.as_slice(), expected.concat());
    }

    #[test]
    fn golden_bytes_of_a_receive() {
        let words = encode_receive(0x1122_3344_5566_7788, 0x1000, 0x0102_0304);
        let bytes = words.map(u64::to_le_bytes);
        let expected = [
            [0, 0, 0x10, 0, 1, 2, 3, 4],
            [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88],
        ];
        assert_eq!(bytes, expected);
        let back = decode_receive(words);
        assert_eq!(back, (0x1122_3344_5566_7788, 0x1000, 0x0102_0304));
    }

    #[test]
    fn entries_come_back_as_they_were_written() {
        let mut inline = [0; MAX_INLINE];
        inline.copy_from_slice(b"twenty-eight bytes, no more!");
        let entries = [
            write(),
            WorkEntry {
                immediate: 7,
                data: WorkData::Inline {
                    bytes: inline,
                    len: 28,
                },
                ..WorkEntry::new(WorkOpcode::SendImmediate, WorkFlags::SOLICITED)
            },
            WorkEntry {
                atomic: [5, 9],
                ..WorkEntry::new(WorkOpcode::CompareSwap, WorkFlags::FENCE)
            },
            WorkEntry {
                opcode: WorkOpcode::Read,
                ..write()
            },
        ];
        for entry in entries {
            let words = entry.encode(3, 9, false);
            assert_eq!(WorkEntry::decode(&words), Ok(entry));
            assert!(WorkEntry::has_phase(words[PHASE_WORD], false));
            assert!(WorkEntry::has_phase(
                entry.encode(3, 9, true)[PHASE_WORD],
                true
            ));
        }
    }

    #[test]
    fn impossible_entries_are_refused() {
        let mut words = write().encode(0, 0, true);
        words[0] = pair(0x77, 0);
        assert_eq!(WorkEntry::decode(&words), Err(BadEntry::Opcode(0x77)));
        let mut words = write().encode(0, 0, true);
        words[4] = pair(INLINE | 29, 0);
        assert_eq!(WorkEntry::decode(&words), Err(BadEntry::Inline { len: 29 }));
        words[0] = pair(0x10, 0);
        assert!(WorkEntry::decode(&words).is_err());
    }
}
