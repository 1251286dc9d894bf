//! What travels: requests and responses, each a head of two words with a value behind it.
//!
//! | word | request | response |
//! |---|---|---|
//! | 0 | operation (8 bits), bytes of the value (24), number (32) | status (8), bytes of the value (24), number (32) |
//! | 1 | key (32), session (32) | the same as in the request |
//! | 2.. | the value of a put | the value of a get |
//!
//! Fields of a word stand from its lowest bit up; words are little-endian, like the device. A client has at most [`DEPTH`]
//! requests under way; the response to number n goes to place n % `DEPTH` of its ring.

/// Words in front of a value.
pub const HEADER_WORDS: usize = 2;
/// The longest value, in bytes.
pub const MAX_VALUE: u32 = 256;
/// Words of the longest message.
pub const MESSAGE_WORDS: usize = HEADER_WORDS + words_of(MAX_VALUE);
/// Bytes of the longest message.
pub const MESSAGE: u32 = (MESSAGE_WORDS * 8) as u32;
/// Requests that a client has under way at most, and places of its ring.
pub const DEPTH: u32 = 64;

/// Words that a value of so many bytes takes.
pub const fn words_of(bytes: u32) -> usize {
    bytes.div_ceil(8) as usize
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// The value of the key.
    Get = 1,
    /// To store a value under the key.
    Put = 2,
    /// To take the key out.
    Delete = 3,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done; a get brings the value.
    Done = 1,
    /// The key is not there.
    NotFound = 2,
    /// The key is new, and the store is full. Nothing has changed.
    Full = 3,
    /// Not a request that this server knows.
    Malformed = 4,
}

/// The head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub op: Op,
    /// Bytes of the value: of a put 1 to [`MAX_VALUE`], else 0.
    pub len: u32,
    /// Its number.
    pub number: u32,
    /// The key.
    pub key: u32,
    /// The client's session, which the server has given it.
    pub session: u32,
}

/// The head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub status: Status,
    /// Bytes of the value: 0, but for a get that found one.
    pub len: u32,
    /// The number of the request.
    pub number: u32,
    /// The key of the request.
    pub key: u32,
    /// The session of the request.
    pub session: u32,
}

const fn head(code: u8, len: u32, number: u32, key: u32, session: u32) -> [u64; HEADER_WORDS] {
    let first = code as u64 | (len as u64) << 8 | (number as u64) << 32;
    [first, key as u64 | (session as u64) << 32]
}

const fn code(head: [u64; HEADER_WORDS]) -> u8 {
    head[0] as u8
}

const fn len(head: [u64; HEADER_WORDS]) -> u32 {
    (head[0] as u32) >> 8
}

/// The session that a message names, whatever else is in it.
pub(super) const fn session(head: [u64; HEADER_WORDS]) -> u32 {
    (head[1] >> 32) as u32
}

/// The number that a message names, whatever else is in it.
pub(super) const fn number(head: [u64; HEADER_WORDS]) -> u32 {
    (head[0] >> 32) as u32
}

/// The key that a message names, whatever else is in it.
pub(super) const fn key(head: [u64; HEADER_WORDS]) -> u32 {
    head[1] as u32
}

impl Request {
    /// The head as it travels.
    pub const fn encode(&self) -> [u64; HEADER_WORDS] {
        head(self.op as u8, self.len, self.number, self.key, self.session)
    }

    /// The head of a message of so many bytes; `None` if no client sends such a one.
    pub const fn decode(head: [u64; HEADER_WORDS], bytes: u32) -> Option<Self> {
        let op = match code(head) {
            1 => Op::Get,
            2 => Op::Put,
            3 => Op::Delete,
            _ => return None,
        };
        let len = len(head);
        let fits = match op {
            Op::Put => len >= 1 && len <= MAX_VALUE,
            _ => len == 0,
        };
        if !fits || bytes as usize != (HEADER_WORDS + words_of(len)) * 8 {
            return None;
        }
        Some(Self {
            op,
            len,
            number: number(head),
            key: key(head),
            session: session(head),
        })
    }
}

impl Response {
    /// The head as it travels.
    pub const fn encode(&self) -> [u64; HEADER_WORDS] {
        head(
            self.status as u8,
            self.len,
            self.number,
            self.key,
            self.session,
        )
    }

    /// The head of a message; `None` if no server sends such a one.
    pub const fn decode(head: [u64; HEADER_WORDS]) -> Option<Self> {
        let status = match code(head) {
            1 => Status::Done,
            2 => Status::NotFound,
            3 => Status::Full,
            4 => Status::Malformed,
            _ => return None,
        };
        if len(head) > MAX_VALUE {
            return None;
        }
        Some(Self {
            status,
            len: len(head),
            number: number(head),
            key: key(head),
            session: session(head),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(len: u32) -> Request {
        Request {
            op: Op::Put,
            len,
            number: u32::MAX,
            key: 0x8000_0001,
            session: 0xdead_beef,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for len in [1, 7, 8, 9, MAX_VALUE] {
            let bytes = ((HEADER_WORDS + words_of(len)) * 8) as u32;
            assert_eq!(Request::decode(put(len).encode(), bytes), Some(put(len)));
        }
        for status in [
            Status::Done,
            Status::NotFound,
            Status::Full,
            Status::Malformed,
        ] {
            let response = Response {
                status,
                len: MAX_VALUE,
                number: 7,
                key: u32::MAX,
                session: 1,
            };
            assert_eq!(Response::decode(response.encode()), Some(response));
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let head = put(64).encode();
        assert!(Request::decode(head, 80).is_some());
        for bytes in [0, 16, 72, 79, 81, 88, MESSAGE] {
            assert_eq!(Request::decode(head, bytes), None, "{bytes}");
        }
        assert_eq!(Request::decode(put(0).encode(), 16), None);
        assert_eq!(Request::decode(put(MAX_VALUE + 1).encode(), 280), None);
        let get = Request {
            op: Op::Get,
            ..put(8)
        };
        assert_eq!(Request::decode(get.encode(), 24), None);
    }

    #[test]
    fn unknown_codes_are_refused() {
        assert_eq!(Request::decode([0, 0], 16), None);
        assert_eq!(Request::decode([4, 0], 16), None);
        assert_eq!(Response::decode([0, 0]), None);
        assert_eq!(Response::decode([5, 0]), None);
        assert_eq!(Response::decode([1 | 257 << 8, 0]), None);
    }
}
