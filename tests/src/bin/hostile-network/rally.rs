//! The game: a ball is written into the other's memory, which counts it, and comes back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use doca_dpa::Dpa;
use doca_dpa::rdma::{Connection, HostBuffer, HostMap, Rdma, RemoteMemoryMap, Rights};
use rdma::connection::{ConnectionInfo, RemoteRegion};

use crate::Outcome;

/// Bytes of the ball: several packets. Behind it stands the count.
const BALL: usize = 20_000;
/// No round takes longer, whatever comes between.
const LONGEST: Duration = Duration::from_secs(10);

/// One of the two.
struct Side {
    rdma: Rdma,
    connection: Connection,
    memory: HostMap,
    theirs: Option<RemoteMemoryMap>,
}

/// What a stranger may know of a side.
#[derive(Clone)]
pub struct Target {
    pub at: SocketAddr,
    /// Where its peer is.
    pub peer: SocketAddr,
    pub connection: ConnectionInfo,
    /// The first number of what the peer sends.
    pub first_psn: u32,
    pub region: RemoteRegion,
}

pub struct Rally {
    _dpa: Dpa,
    sides: [Side; 2],
    rounds: u64,
    longest: Duration,
}

fn side(dpa: &Dpa, last: u8) -> Outcome<Side> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(127, 110 + last, high, low));
    let rdma = dpa.rdma().address(address).open()?;
    let connection = rdma.export()?;
    let rights = Rights::REMOTE_WRITE | Rights::REMOTE_READ | Rights::REMOTE_ATOMIC;
    let memory = rdma.map_host(HostBuffer::new(BALL + 8), rights | Rights::LOCAL_WRITE)?;
    Ok(Side {
        rdma,
        connection,
        memory,
        theirs: None,
    })
}

impl Side {
    fn join(&mut self, other: &[u8], memory: &[u8]) -> Outcome {
        self.connection.connect(other)?;
        self.theirs = Some(RemoteMemoryMap::import(memory)?);
        Ok(())
    }

    /// Throws the ball to the other and counts it there.
    async fn throw(&self, ball: &[u8], count: u64) -> Outcome {
        let theirs = self.theirs.as_ref().ok_or("not joined")?;
        let write = self
            .connection
            .write(HostBuffer::from_bytes(ball), theirs, 0);
        let write = write?;
        let add = self.connection.fetch_add(theirs, BALL as u64, 1)?;
        write.await?;
        let done = add.await?;
        match done.original {
            before if before == count => Ok(()),
            before => Err(format!("ball {count} was counted as {before}").into()),
        }
    }

    /// The ball that has come.
    fn caught(&self, count: u64) -> Outcome<Vec<u8>> {
        let mut bytes = self.memory.buffer().to_vec();
        let counted = u64::from_ne_bytes(word(&bytes, BALL)?);
        if counted != count {
            return Err(format!("{count} balls were thrown, {counted} counted").into());
        }
        bytes.truncate(BALL);
        Ok(bytes)
    }
}

fn word(bytes: &[u8], at: usize) -> Outcome<[u8; 8]> {
    let word = bytes.get(at..at + 8).ok_or("no word")?;
    Ok(word.try_into()?)
}

/// A ball that no other round has.
fn ball(round: u64) -> Vec<u8> {
    let word = |n: u64| (round << 32 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..BALL as u64 / 8)
        .flat_map(|n| word(n).to_ne_bytes())
        .collect()
}

impl Rally {
    pub fn new() -> Outcome<Self> {
        let dpa = Dpa::builder().workers(1).no_crash_report().open()?;
        let (mut one, mut other) = (side(&dpa, 0)?, side(&dpa, 1)?);
        let blobs = [&one, &other].map(|side| (side.connection.blob(), side.memory.map().export()));
        one.join(&blobs[1].0, &blobs[1].1)?;
        other.join(&blobs[0].0, &blobs[0].1)?;
        Ok(Self {
            _dpa: dpa,
            sides: [one, other],
            rounds: 0,
            longest: Duration::ZERO,
        })
    }

    /// What a stranger may know.
    pub fn targets(&self) -> Outcome<[Target; 2]> {
        let of = |own: &Side, other: &Side| {
            let connection = ConnectionInfo::from_blob(&own.connection.blob())?;
            let theirs = ConnectionInfo::from_blob(&other.connection.blob())?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Target {
                at: own.rdma.address(),
                peer: other.rdma.address(),
                first_psn: theirs.first_psn.value(),
                connection,
                region: RemoteRegion::from_blob(&own.memory.map().export())?,
            })
        };
        let [one, other] = &self.sides;
        Ok([of(one, other)?, of(other, one)?])
    }

    /// Plays for so long; rounds a second.
    pub fn play(&mut self, time: Duration) -> Outcome<f64> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        let begun = Instant::now();
        let first = self.rounds;
        while begun.elapsed() < time {
            let round = Instant::now();
            runtime.block_on(async {
                let lost = |_| format!("round {} took more than {LONGEST:?}", self.rounds);
                let played = tokio::time::timeout(LONGEST, self.round());
                played.await.map_err(lost)?
            })?;
            self.longest = self.longest.max(round.elapsed());
            self.rounds += 1;
        }
        Ok((self.rounds - first) as f64 / begun.elapsed().as_secs_f64())
    }

    async fn round(&self) -> Outcome {
        let ball = ball(self.rounds);
        let [one, other] = &self.sides;
        one.throw(&ball, self.rounds).await?;
        let caught = other.caught(self.rounds + 1)?;
        if caught != ball {
            return Err(format!("round {}: the ball was damaged on its way", self.rounds).into());
        }
        other.throw(&caught, self.rounds).await?;
        match one.caught(self.rounds + 1)? == ball {
            true => Ok(()),
            false => Err(format!(
                "round {}: the ball was damaged on its way back",
                self.rounds
            )
            .into()),
        }
    }

    /// What the NICs and connections have counted, and the longest round.
    pub fn counters(&self) -> String {
        let mut text = format!(
            "{} rounds, the longest took {:?}",
            self.rounds, self.longest
        );
        for (name, side) in ["one", "other"].iter().zip(&self.sides) {
            let (nic, connection) = (side.rdma.counters(), side.connection.counters());
            text += &format!(
                "\n{name}: dropped {}: length {}, version {}, partition {}, queue pair {}, address {}, ICRC {}, opcode {}, \
                 stale answers {}, behind a gap {}, lost duplicates {}; answered again {}; sequence NAKs {} sent, {} received; \
                 resent {}; timeouts {}",
                nic.dropped() + connection.dropped(),
                nic.bad_length + connection.bad_length,
                nic.bad_version + connection.bad_version,
                nic.bad_partition + connection.bad_partition,
                nic.unknown_queue_pair,
                connection.wrong_address,
                nic.bad_icrc + connection.bad_icrc,
                nic.bad_opcode + connection.bad_opcode,
                connection.stale_answers,
                connection.behind_gap,
                connection.lost_duplicates,
                connection.duplicates,
                connection.sequence_naks_sent,
                connection.sequence_naks_received,
                connection.resent,
                connection.timeouts,
            );
        }
        text
    }
}
