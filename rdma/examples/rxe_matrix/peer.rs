//! The kernel's end: a small verbs program under text control over TCP, one line of answer per command.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::Failure;

/// How long the program may take to listen.
const START: Duration = Duration::from_secs(20);

/// The control connection. It never blocks.
pub struct Control {
    stream: TcpStream,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Control {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let end = Instant::now() + START;
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            outgoing: Vec::new(),
            incoming: Vec::new(),
        })
    }

    /// Queues a command.
    pub fn say(&mut self, command: &str) {
        self.outgoing.extend_from_slice(command.as_bytes());
        self.outgoing.push(b'\n');
    }

    /// Moves bytes both ways; the next answer, if it is here.
    pub fn poll(&mut self) -> io::Result<Option<String>> {
        self.push()?;
        self.pull()?;
        let Some(end) = self.incoming.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.incoming.drain(..=end).collect();
        Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()))
    }

    fn push(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn pull(&mut self) -> io::Result<()> {
        let mut piece = [0; 65_536];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.incoming.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The peer's memory: where it is and the keys it goes by.
#[derive(Clone, Copy, Debug)]
pub struct PeerMemory {
    pub base: u64,
    /// Everything is allowed.
    pub key: u32,
    /// The first 4 KiB, to be read only.
    pub readable: u32,
}

impl PeerMemory {
    /// Out of the answer to `MR`.
    pub fn parse(answer: &str) -> Option<Self> {
        let mut words = answer.split_whitespace();
        let mut next = || u64::from_str_radix(words.next()?, 16).ok();
        Some(Self {
            base: next()?,
            key: next()? as u32,
            readable: next()? as u32,
        })
    }
}

/// One entry of the peer's completion queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub work: u64,
    /// `enum ibv_wc_status`.
    pub status: u32,
    /// `enum ibv_wc_opcode`.
    pub opcode: u32,
    pub len: u32,
    pub queue_pair: u32,
    pub immediate: u32,
    /// `enum ibv_wc_flags`.
    pub flags: u32,
}

/// `IBV_WC_SUCCESS`.
pub const SUCCESS: u32 = 0;
/// `IBV_WC_REM_ACCESS_ERR`.
pub const REMOTE_ACCESS: u32 = 10;
/// `IBV_WC_RECV`.
pub const RECEIVED: u32 = 128;
/// `IBV_WC_RECV_RDMA_WITH_IMM`.
pub const RECEIVED_WRITE: u32 = 129;
/// `IBV_WC_WITH_IMM`.
pub const WITH_IMMEDIATE: u32 = 2;

impl Done {
    /// Out of the answer to `POLL`.
    pub fn parse_all(answer: &str) -> Result<Vec<Self>, Failure> {
        let entries = answer.split('[').skip(1);
        let parsed = entries.map(|entry| Self::parse(entry).ok_or(Failure::Answer(entry.into())));
        parsed.collect()
    }

    fn parse(entry: &str) -> Option<Self> {
        let number = |name: &str, radix: u32| {
            let mut words = entry.split_whitespace().skip_while(|word| *word != name);
            let word = words.nth(1)?.trim_end_matches(']');
            let digits = word.split('(').next()?;
            u64::from_str_radix(digits, radix).ok()
        };
        Some(Self {
            work: number("wr", 10)?,
            status: number("st", 10)? as u32,
            opcode: number("op", 10)? as u32,
            len: number("len", 10)? as u32,
            queue_pair: number("qp", 10)? as u32,
            immediate: number("imm", 16)? as u32,
            flags: number("fl", 16)? as u32,
        })
    }
}

/// Bytes out of hexadecimal digits.
pub fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.trim().as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| Some((value(pair[0])? * 16 + value(*pair.get(1)?)?) as u8))
        .collect()
}

/// Hexadecimal digits of bytes.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
