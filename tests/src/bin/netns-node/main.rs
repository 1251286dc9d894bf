//! One of two nodes in network namespaces of their own: does every kind of work with its peer, and finds everything done
//! exactly once.
//!
//! `netns-node ADDRESS RETRIES [MILLISECONDS]`: how often it sends again, and how long it waits for an acknowledgement. It
//! says what the peer must know and how far it is in lines on its standard output, and is
//! told the same of the peer on its standard input; `tests/netns.rs` carries the lines.
#![forbid(unsafe_code)]

mod kernels;
mod resident;
mod stalls;

use std::collections::VecDeque;
use std::error::Error;
use std::io::BufRead;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use doca_dpa::rdma::{
    Connection, EventExport, HostBuffer, HostMap, PathMtu, Rdma, ReceivedKind, RemoteMemoryMap,
    RemoteSyncEvent, RetryLimit, Rights,
};
use doca_dpa::{Dpa, Location, SyncEvent};
use kernels::{Kernels, PeerKernels};
use stalls::Stalls;

/// Operations of each kind.
const EACH: usize = 150;
/// For an acknowledgement, in milliseconds.
const TIMEOUT: u64 = 16;
/// The largest message.
const LARGEST: usize = 6000;
/// Places that are written in turn. Behind them lies the word that is counted up, and then a place for each write that
/// says its number.
const PLACES: usize = 8;
const WORD: u64 = (PLACES * LARGEST) as u64;
const NUMBERED: u64 = WORD + 8;
/// Atomics and messages on their way at a time.
const AHEAD: usize = 8;
/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(100);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    resident::stay();
    let failure = match tokio::time::timeout(PATIENCE, run()).await {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".into(),
    };
    println!("failed: {failure}");
    ExitCode::FAILURE
}

async fn run() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("netns-node ADDRESS RETRIES [MILLISECONDS]")
    };
    let (address, retries): (IpAddr, u32) = (next()?.parse()?, next()?.parse()?);
    let timeout = next().map_or(Ok(TIMEOUT), |given| given.parse())?;
    let timeout = Duration::from_millis(timeout);
    let node = Node::open(address, retries, timeout).await?;
    let stalls = Stalls::watch();
    let done = node.work().await;
    done.map_err(|error| format!("{error}; {}", node.state(&stalls)).into())
}

/// Says in an error what was being done.
async fn during(what: &str, work: impl Future<Output = Outcome>) -> Outcome {
    work.await
        .map_err(|error| format!("{what}: {error}").into())
}

/// What it opens to its peer.
struct Node {
    connection: Connection,
    memory: HostMap,
    signaled: SyncEvent,
    export: EventExport,
    kernels: Kernels,
    rdma: Rdma,
    _dpa: Dpa,
}

/// What the peer opens.
struct Peer {
    memory: RemoteMemoryMap,
    event: RemoteSyncEvent,
    kernels: PeerKernels,
}

impl Node {
    async fn open(address: IpAddr, retries: u32, timeout: Duration) -> Outcome<Self> {
        let dpa = Dpa::builder().workers(1).open()?;
        let rdma = dpa
            .rdma()
            .address(address)
            .mtu(PathMtu::B1024)
            .receive_queue(0)
            .timeout(timeout)
            .retries(RetryLimit::Times(retries))
            .open()?;
        let connection = rdma.export()?;
        let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
        let memory = rdma.map_host(HostBuffer::new(NUMBERED as usize + EACH * LARGEST), rights)?;
        let signaled = SyncEvent::builder(&dpa)
            .publisher(Location::Remote)
            .subscriber(Location::Host)
            .create()?;
        let export = connection.export_event(&signaled)?;
        let kernels = Kernels::new(&dpa, &rdma).await?;
        Ok(Self {
            connection,
            memory,
            signaled,
            export,
            kernels,
            rdma,
            _dpa: dpa,
        })
    }

    /// What it has counted, and how long it could not run at a time: for whoever asks why it has failed.
    fn state(&self, stalls: &Stalls) -> String {
        let (connection, nic) = (self.connection.counters(), self.rdma.counters());
        let socket = self.rdma.socket_counters();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let at = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        format!("at {at:?}; connection {connection:?}; NIC {nic:?}; {socket:?}; {stalls}")
    }

    fn meet(&self) -> Outcome<Peer> {
        said("connection", &hex(&self.connection.blob()));
        said("memory", &hex(&self.memory.map().export()));
        said("event", &hex(&self.export.export()));
        self.kernels.tell();
        self.connection.connect(&heard_bytes("connection")?)?;
        let memory = RemoteMemoryMap::import(&heard_bytes("memory")?)?;
        let event = RemoteSyncEvent::import(&heard_bytes("event")?)?;
        let kernels = PeerKernels::heard()?;
        said("connected", "yes");
        heard("connected")?;
        Ok(Peer {
            memory,
            event,
            kernels,
        })
    }

    async fn work(&self) -> Outcome {
        let peer = self.meet()?;
        let (ask, receive) = (self.ask(&peer), self.receive_all());
        futures::future::try_join(during("asking", ask), during("receiving", receive)).await?;
        during(
            "the kernels' work",
            self.kernels.work(&self.connection, &peer.kernels),
        )
        .await?;
        said("asked", "all");
        heard("asked")?;
        self.judge().await
    }

    async fn ask(&self, peer: &Peer) -> Outcome {
        during("writes and reads", self.write_and_read_back(peer)).await?;
        during("fetch-adds", self.count_up(peer)).await?;
        during("sends", self.send_all(peer)).await?;
        during("signals", self.signal(peer)).await
    }

    async fn signal(&self, peer: &Peer) -> Outcome {
        for _ in 0..EACH {
            self.connection.signal_add(&peer.event, 1)?.await?;
        }
        Ok(())
    }

    async fn write_and_read_back(&self, peer: &Peer) -> Outcome {
        for number in 0..EACH {
            let bytes = message(number);
            let place = (number % PLACES * LARGEST) as u64;
            let buffer = HostBuffer::from_bytes(&bytes);
            let wrote = self.connection.write(buffer, &peer.memory, place);
            wrote?.await?;
            let read = self.read(peer, place, bytes.len()).await?;
            if read != bytes {
                // Whether the write was wrong, or the read.
                let again = self.read(peer, place, bytes.len()).await?;
                let first = difference(&bytes, &read);
                let second = difference(&bytes, &again);
                let what =
                    format!("write {number} was not read back: {first}; read again: {second}");
                return Err(what.into());
            }
        }
        Ok(())
    }

    async fn read(&self, peer: &Peer, place: u64, len: usize) -> Outcome<Vec<u8>> {
        let read = self
            .connection
            .read(HostBuffer::new(len), &peer.memory, place);
        let read = read?.await?.buffer;
        Ok(read.ok_or("a read without its buffer")?.to_vec())
    }

    /// Nobody else adds to the word, so the words before are 0, 1, 2, ..: one for each addition, in order.
    async fn count_up(&self, peer: &Peer) -> Outcome {
        let mut on_their_way = VecDeque::new();
        let mut begun = 0;
        for expected in 0..EACH as u64 {
            while begun < EACH && on_their_way.len() < AHEAD {
                on_their_way.push_back(self.connection.fetch_add(&peer.memory, WORD, 1)?);
                begun += 1;
            }
            let first = on_their_way.pop_front().ok_or("none on its way")?;
            let before = first.await?.original;
            if before != expected {
                return Err(format!("the word was {before}, not {expected}").into());
            }
        }
        Ok(())
    }

    /// All messages, and behind each a write that says its number.
    async fn send_all(&self, peer: &Peer) -> Outcome {
        let mut on_their_way = VecDeque::new();
        for number in 0..EACH {
            let buffer = || HostBuffer::from_bytes(&message(number));
            let sent = self.connection.send_imm(buffer(), number as u32);
            on_their_way.push_back(sent?);
            let wrote =
                self.connection
                    .write_imm(buffer(), &peer.memory, place(number), number as u32);
            on_their_way.push_back(wrote?);
            while on_their_way.len() >= AHEAD {
                on_their_way.pop_front().ok_or("none on its way")?.await?;
            }
        }
        for last in on_their_way {
            last.await?;
        }
        Ok(())
    }

    /// Every message of the peer and every write with a number, once, in order.
    async fn receive_all(&self) -> Outcome {
        let post = || self.rdma.receive(HostBuffer::new(LARGEST));
        let mut posted = VecDeque::new();
        for turn in 0..2 * EACH {
            while posted.len() < AHEAD {
                posted.push_back(post()?);
            }
            let received = posted.pop_front().ok_or("none posted")?.await?;
            let (number, len) = (turn / 2, received.len as usize);
            let (expected, bytes) = match turn % 2 {
                0 => (
                    ReceivedKind::SendImmediate(number as u32),
                    received.buffer.to_vec()[..len].to_vec(),
                ),
                _ => (
                    ReceivedKind::WriteImmediate(number as u32),
                    self.written(number, len)?,
                ),
            };
            if received.kind != expected {
                return Err(format!("{:?} came, not {expected:?}", received.kind).into());
            }
            if bytes != message(number) {
                return Err(format!("{expected:?} came with other bytes").into());
            }
        }
        Ok(())
    }

    /// What the peer has written where it writes this number.
    fn written(&self, number: usize, len: usize) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.memory
            .buffer()
            .read(place(number) as usize, &mut bytes)?;
        Ok(bytes)
    }

    /// What the peer did here, once all of it is acknowledged.
    async fn judge(&self) -> Outcome {
        let mut word = [0; 8];
        self.memory.buffer().read(WORD as usize, &mut word)?;
        let found = (u64::from_ne_bytes(word), self.signaled.get());
        let expected = (EACH as u64, EACH as u64);
        if found != expected {
            return Err(format!("word and event are {found:?}, not {expected:?}").into());
        }
        self.kernels.judge().await?;
        let (ours, nic) = (self.connection.counters(), self.rdma.counters());
        let resent = ours.resent + ours.timeouts + ours.sequence_naks_received;
        let bad = nic.bad_icrc;
        let duplicates = ours.duplicates + ours.stale_answers;
        let sums = wrong_checksums()?;
        said("done", &format!("{resent} {duplicates} {bad} {sums}"));
        // The last acknowledgement of the peer may be lost: it asks again.
        heard("done")?;
        Ok(())
    }
}

/// What message or write number `n` consists of: of another length each, and full packets and parts of one.
fn message(number: usize) -> Vec<u8> {
    let len = 1 + number * 977 % LARGEST;
    (0..len).map(|at| (at * 31 + number * 7) as u8).collect()
}

/// Where two messages of one length differ: packet by packet, as the first one of the bytes that it has there instead says.
fn difference(right: &[u8], read: &[u8]) -> String {
    const PACKET: usize = 1024;
    let mut said = Vec::new();
    for (packet, (right, read)) in right.chunks(PACKET).zip(read.chunks(PACKET)).enumerate() {
        let Some(at) = (0..right.len()).find(|at| right[*at] != read[*at]) else {
            continue;
        };
        let wrong = (0..right.len())
            .filter(|at| right[*at] != read[*at])
            .count();
        let zeros = read.iter().filter(|byte| **byte == 0).count();
        let step = read[at].wrapping_sub(right[at]);
        said.push(format!(
            "packet {packet} of {} bytes, {wrong} wrong from {at} on, {zeros} zeros, the first off by {step}",
            right.len()
        ));
    }
    match said.is_empty() {
        true => "right".into(),
        false => said.join(", "),
    }
}

/// Where the peer is told the write of this number.
fn place(number: usize) -> u64 {
    NUMBERED + (number * LARGEST) as u64
}

/// Datagrams that this namespace's kernel has thrown away because of their UDP checksum.
fn wrong_checksums() -> Outcome<u64> {
    let table = std::fs::read_to_string("/proc/net/snmp")?;
    let mut rows = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (rows.next(), rows.next());
    let mut columns = names.into_iter().flat_map(|names| names.split(' '));
    let column = columns.position(|name| name == "InCsumErrors");
    let value = column.and_then(|column| values?.split(' ').nth(column));
    Ok(value.ok_or("the kernel does not count them")?.parse()?)
}

fn said(what: &str, value: &str) {
    println!("{what} {value}");
}

/// The next line from the peer, which must be about this.
fn heard(what: &str) -> Outcome<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    match line.trim().split_once(' ') {
        Some((name, value)) if name == what => Ok(value.to_owned()),
        _ => Err(format!("`{}` from the peer, not its {what}", line.trim()).into()),
    }
}

/// As [`heard`], for what was told by [`hex`].
fn heard_bytes(what: &str) -> Outcome<Vec<u8>> {
    from_hex(&heard(what)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Outcome<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}
