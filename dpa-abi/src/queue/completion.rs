//! Completion-queue entries: 64 bytes, modelled on those of mlx5 devices. All fields are big-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 8..12 | number of the receive queue that a receive was taken from |
//! | 16..24 | when it was written: nanoseconds of device time |
//! | 36..40 | immediate data, or the invalidated key |
//! | 40..44 | user data: the connection's id |
//! | 44..48 | bytes of the message |
//! | 48..56 | the word before an atomic; in error entries byte 54 is 1 if nothing was sent, byte 55 is the syndrome |
//! | 56..60 | opcode of the work (8 bits), queue pair (24) |
//! | 60..62 | number of the work-queue entry |
//! | 63 | opcode (4 bits), 0 (3), owner: the phase, inverted |

use super::{EntryWords, pair, unpair};

/// The word that holds opcode and owner, and is stored last.
pub const OWNER_WORD: usize = 7;
/// An entry that has never been written: opcode 15, owned by the NIC.
pub const INVALID_OWNER_WORD: u64 = 0xf1 << 56;

/// What is complete.
#[doc(alias = "doca_dpa_dev_completion_type_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CompletionKind {
    /// Work of a send queue.
    Send = 0,
    /// A receive, used by a write with immediate.
    ReceiveWriteImmediate = 1,
    /// A receive, used by a send.
    ReceiveSend = 2,
    /// A receive, used by a send with immediate.
    ReceiveSendImmediate = 3,
    /// A receive, used by a send with invalidate.
    ReceiveSendInvalidate = 4,
    /// Nothing: a kernel asked for it, to wake whoever waits.
    Dummy = 5,
    /// Work of a send queue, failed.
    SendError = 13,
    /// A receive, failed.
    ReceiveError = 14,
}

impl CompletionKind {
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Send,
            1 => Self::ReceiveWriteImmediate,
            2 => Self::ReceiveSend,
            3 => Self::ReceiveSendImmediate,
            4 => Self::ReceiveSendInvalidate,
            5 => Self::Dummy,
            13 => Self::SendError,
            14 => Self::ReceiveError,
            _ => return None,
        })
    }

    /// Whether it is one of the two failures.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::SendError | Self::ReceiveError)
    }

    /// Whether a receive is over, not work of a send queue.
    pub const fn is_receive(self) -> bool {
        !matches!(self, Self::Send | Self::SendError | Self::Dummy)
    }
}

/// Why work failed: a code. Unknown codes stay values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Syndrome(pub u8);

impl Syndrome {
    /// No error.
    pub const NONE: Self = Self(0);
    /// A message longer than the receive.
    pub const LOCAL_LENGTH: Self = Self(0x01);
    /// The entry asks for something impossible, or the queue pair cannot do it now.
    pub const LOCAL_OPERATION: Self = Self(0x02);
    /// The local key, range or right is wrong.
    pub const LOCAL_PROTECTION: Self = Self(0x04);
    /// The queue pair failed before it was this one's turn.
    pub const FLUSHED: Self = Self(0x05);
    /// The peer found the request invalid.
    pub const REMOTE_INVALID_REQUEST: Self = Self(0x12);
    /// The remote key, range or right is wrong.
    pub const REMOTE_ACCESS: Self = Self(0x13);
    /// The peer had a problem of its own.
    pub const REMOTE_OPERATION: Self = Self(0x14);
    /// The peer did not acknowledge.
    pub const RETRIES_EXCEEDED: Self = Self(0x15);
    /// The peer was never ready to receive.
    pub const RNR_RETRIES_EXCEEDED: Self = Self(0x16);
}

impl core::fmt::Display for Syndrome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = match *self {
            Self::NONE => "no error",
            Self::LOCAL_LENGTH => "the message is longer than the receive",
            Self::LOCAL_OPERATION => "the work is not possible",
            Self::LOCAL_PROTECTION => "local memory is not registered for this",
            Self::FLUSHED => "flushed: the queue pair is in error",
            Self::REMOTE_INVALID_REQUEST => "the peer found the request invalid",
            Self::REMOTE_ACCESS => "the peer does not allow the access",
            Self::REMOTE_OPERATION => "the peer could not carry it out",
            Self::RETRIES_EXCEEDED => "the peer did not answer",
            Self::RNR_RETRIES_EXCEEDED => "the peer was not ready to receive",
            Self(code) => return write!(f, "syndrome {code:#04x}"),
        };
        f.write_str(text)
    }
}

/// A completion-queue entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionEntry {
    /// What is complete.
    #[doc(alias = "flexio_dev_cqe_get_opcode")]
    #[doc(alias = "flexio_dev_cqe_get_type")]
    pub kind: CompletionKind,
    /// Why it failed.
    #[doc(alias = "flexio_dev_cqe_get_err_synd")]
    pub syndrome: Syndrome,
    /// Of work that failed: nothing of it was sent, so it has done nothing.
    pub unsent: bool,
    /// The connection's id.
    #[doc(alias = "flexio_dev_cqe_get_user_index")]
    pub user_data: u32,
    /// Immediate data, or the key that was invalidated.
    pub immediate: u32,
    /// Bytes of the message.
    #[doc(alias = "flexio_dev_cqe_get_byte_cnt")]
    pub len: u32,
    /// The word before an atomic.
    pub original: u64,
    /// The number of the queue pair.
    #[doc(alias = "flexio_dev_cqe_get_qpn")]
    pub queue_pair: u32,
    /// Of a receive of the low layer: the number of the receive queue that it was taken from, which several queue pairs may
    /// share. Else 0.
    #[doc(alias = "doca_dpa_dev_completion_element_get_srqn")]
    pub receive_queue: u32,
    /// The number of the work-queue entry, modulo 2^16.
    #[doc(alias = "flexio_dev_cqe_get_wqe_counter")]
    pub index: u16,
    /// When it was written: nanoseconds of device time.
    pub timestamp: u64,
}

impl CompletionEntry {
    /// One of nothing.
    pub const DUMMY: Self = Self {
        kind: CompletionKind::Dummy,
        syndrome: Syndrome::NONE,
        unsent: false,
        user_data: 0,
        immediate: 0,
        len: 0,
        original: 0,
        queue_pair: 0,
        receive_queue: 0,
        index: 0,
        timestamp: 0,
    };

    /// Why it failed, as the vendor says it: 1 if nothing of the work was sent, so that it has done nothing.
    #[doc(alias = "flexio_dev_cqe_get_hw_synd")]
    #[doc(alias = "flexio_dev_cqe_get_vendor_err_synd")]
    pub const fn vendor_syndrome(&self) -> u8 {
        self.unsent as u8
    }

    /// As it lies in memory.
    #[inline]
    pub fn encode(&self, phase: bool) -> EntryWords {
        let mut words = [0; 8];
        words[1] = pair(self.receive_queue, 0);
        words[2] = self.timestamp.swap_bytes();
        words[4] = pair(0, self.immediate);
        words[5] = pair(self.user_data, self.len);
        words[6] = if self.kind.is_error() {
            u64::from(self.syndrome.0) << 56 | u64::from(self.unsent) << 48
        } else {
            self.original.swap_bytes()
        };
        let owner = u32::from(!phase);
        words[7] = pair(
            self.queue_pair & 0xff_ffff,
            u32::from(self.index) << 16 | (self.kind as u32) << 4 | owner,
        );
        words
    }

    /// The owner bit of this owner word.
    #[doc(alias = "flexio_dev_cqe_get_owner")]
    pub const fn owner(owner_word: u64) -> bool {
        owner_word >> 56 & 1 == 1
    }

    /// Whether the entry with this owner word is a valid one of the round with this phase.
    pub const fn is_valid(owner_word: u64, phase: bool) -> bool {
        let owner = (owner_word >> 56) as u8;
        (owner & 1 == 0) == phase && owner >> 4 != 15
    }

    /// Reads an entry; `None` if its opcode is none of ours.
    pub fn decode(words: &EntryWords) -> Option<Self> {
        let (queue_pair, tail) = unpair(words[7]);
        let kind = CompletionKind::from_code(tail as u8 >> 4)?;
        let (user_data, len) = unpair(words[5]);
        let syndrome = if kind.is_error() {
            Syndrome((words[6] >> 56) as u8)
        } else {
            Syndrome::NONE
        };
        Some(Self {
            kind,
            syndrome,
            unsent: kind.is_error() && words[6] >> 48 & 1 == 1,
            user_data,
            immediate: unpair(words[4]).1,
            len,
            original: if kind.is_error() {
                0
            } else {
                words[6].swap_bytes()
            },
            queue_pair: queue_pair & 0xff_ffff,
            receive_queue: unpair(words[1]).0,
            index: (tail >> 16) as u16,
            timestamp: words[2].swap_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were_written() {
        let sent = CompletionEntry {
            kind: CompletionKind::Send,
            syndrome: Syndrome::NONE,
            unsent: false,
            user_data: 0x12_3456,
            immediate: 0xcafe_0001,
            len: 77,
            original: 0x0102_0304_0506_0708,
            queue_pair: 0xab_cdef,
            receive_queue: 0x65_4321,
            index: 0xfffe,
            timestamp: 0x1122_3344_5566_7788,
        };
        let failed = CompletionEntry {
            kind: CompletionKind::SendError,
            syndrome: Syndrome::REMOTE_ACCESS,
            original: 0,
            ..sent
        };
        let never_sent = CompletionEntry {
            unsent: true,
            ..failed
        };
        for entry in [sent, failed, never_sent] {
            for phase in [true, false] {
                let words = entry.encode(phase);
                assert_eq!(CompletionEntry::decode(&words), Some(entry));
                assert!(CompletionEntry::is_valid(words[OWNER_WORD], phase));
                assert!(!CompletionEntry::is_valid(words[OWNER_WORD], !phase));
            }
        }
    }

    #[test]
    fn a_fresh_queue_has_no_valid_entry() {
        assert!(!CompletionEntry::is_valid(INVALID_OWNER_WORD, true));
        assert!(!CompletionEntry::is_valid(INVALID_OWNER_WORD, false));
    }

    #[test]
    fn golden_bytes_of_the_last_words() {
        let entry = CompletionEntry {
            kind: CompletionKind::ReceiveError,
            syndrome: Syndrome::LOCAL_LENGTH,
            unsent: false,
            user_data: 5,
            immediate: 0,
            len: 9,
            original: 0,
            queue_pair: 0x11,
            receive_queue: 0x22,
            index: 3,
            timestamp: 7,
        };
        let words = entry.encode(true);
        assert_eq!(words[1].to_le_bytes(), [0, 0, 0, 0x22, 0, 0, 0, 0]);
        assert_eq!(words[2].to_le_bytes(), [0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(words[5].to_le_bytes(), [0, 0, 0, 5, 0, 0, 0, 9]);
        assert_eq!(words[6].to_le_bytes(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(words[7].to_le_bytes(), [0, 0, 0, 0x11, 0, 3, 0, 0xe0]);
    }
}
