//! The game: a ball is written into the other's memory, which counts it, and comes back. It is played twice at the same time: from NIC
//! to NIC, and through a box between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use doca_dpa::Dpa;
use doca_dpa::rdma::{Connection, HostBuffer, HostMap, Rdma, RemoteMemoryMap, Rights};
use rdma::connection::{ConnectionInfo, RemoteRegion};
use rdma::counters::Counters;

use crate::Outcome;
use crate::counted::Counted;
use crate::relay::{Relay, Way};

/// Bytes of the ball: several packets. Behind it stands the count.
const BALL: usize = 20_000;
/// No round takes longer, whatever comes between.
const LONGEST: Duration = Duration::from_secs(10);
/// Between two rounds through the box: it is there to be recorded, not to be fast.
const PAUSE: Duration = Duration::from_millis(5);

/// One of the two players of a game.
struct Side {
    connection: Connection,
    memory: HostMap,
    theirs: Option<RemoteMemoryMap>,
}

/// What a stranger may know of a NIC.
#[derive(Clone)]
pub struct Target {
    pub at: SocketAddr,
    /// Where its peer is.
    pub peer: SocketAddr,
    pub connection: ConnectionInfo,
    /// The first number of what the peer sends.
    pub first_psn: u32,
    pub region: RemoteRegion,
    /// Its connection through the box.
    pub boxed: ConnectionInfo,
    /// What goes to it through the box, and what it sends into it.
    pub towards: Arc<Way>,
    pub back: Arc<Way>,
}

/// Two players, and how far they are.
struct Game {
    sides: [Side; 2],
    rounds: u64,
    longest: Duration,
}

pub struct Rally {
    _dpa: Dpa,
    nics: [Rdma; 2],
    direct: Game,
    relayed: Game,
    relay: Relay,
}

fn nic(dpa: &Dpa, last: u8) -> Outcome<Rdma> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(127, 110 + last, high, low));
    Ok(dpa.rdma().address(address).connections(2).open()?)
}

impl Side {
    fn new(rdma: &Rdma) -> Outcome<Self> {
        let connection = rdma.export()?;
        let rights = Rights::REMOTE_WRITE | Rights::REMOTE_READ | Rights::REMOTE_ATOMIC;
        let memory = rdma.map_host(HostBuffer::new(BALL + 8), rights | Rights::LOCAL_WRITE)?;
        Ok(Self {
            connection,
            memory,
            theirs: None,
        })
    }

    fn info(&self) -> Outcome<ConnectionInfo> {
        Ok(ConnectionInfo::from_blob(&self.connection.blob())?)
    }

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

impl Game {
    /// Between two NICs; each is told of the other's connection what `told` makes of it.
    fn new(nics: &[Rdma; 2], told: impl Fn(usize, &ConnectionInfo) -> Vec<u8>) -> Outcome<Self> {
        let (mut one, mut other) = (Side::new(&nics[0])?, Side::new(&nics[1])?);
        let blobs = [told(1, &one.info()?), told(0, &other.info()?)];
        let memory = [&one, &other].map(|side| side.memory.map().export());
        one.join(&blobs[1], &memory[1])?;
        other.join(&blobs[0], &memory[0])?;
        Ok(Self {
            sides: [one, other],
            rounds: 0,
            longest: Duration::ZERO,
        })
    }

    /// Plays for so long, and rests between the rounds.
    async fn play(&mut self, time: Duration, pause: Duration) -> Outcome {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let (number, round) = (self.rounds, Instant::now());
            let lost = |_| format!("round {number} took more than {LONGEST:?}");
            let played = tokio::time::timeout(LONGEST, self.round());
            played.await.map_err(lost)??;
            self.longest = self.longest.max(round.elapsed());
            self.rounds += 1;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
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

    fn counters(&self) -> [Counters; 2] {
        self.sides.each_ref().map(|side| side.connection.counters())
    }
}

impl Rally {
    pub fn new() -> Outcome<Self> {
        let dpa = Dpa::builder().workers(1).no_crash_report().open()?;
        let nics = [nic(&dpa, 0)?, nic(&dpa, 1)?];
        let relay = Relay::between(nics.each_ref().map(Rdma::address))?;
        let direct = Game::new(&nics, |_, other| other.to_blob())?;
        let relayed = Game::new(&nics, |to, other| relay.ways[to].told(other))?;
        Ok(Self {
            _dpa: dpa,
            nics,
            direct,
            relayed,
            relay,
        })
    }

    /// What a stranger may know.
    pub fn targets(&self) -> Outcome<[Target; 2]> {
        Ok([self.target(0, 1)?, self.target(1, 0)?])
    }

    fn target(&self, own: usize, other: usize) -> Outcome<Target> {
        let (side, theirs) = (&self.direct.sides[own], &self.direct.sides[other]);
        Ok(Target {
            at: self.nics[own].address(),
            peer: self.nics[other].address(),
            first_psn: theirs.info()?.first_psn.value(),
            connection: side.info()?,
            region: RemoteRegion::from_blob(&side.memory.map().export())?,
            boxed: self.relayed.sides[own].info()?,
            towards: self.relay.ways[own].clone(),
            back: self.relay.ways[other].clone(),
        })
    }

    /// Plays both games for so long; rounds a second of that without the box.
    pub fn play(&mut self, time: Duration) -> Outcome<f64> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        let begun = Instant::now();
        let first = self.direct.rounds;
        runtime.block_on(async {
            let direct = self.direct.play(time, Duration::ZERO);
            futures::try_join!(direct, self.relayed.play(time, PAUSE))
        })?;
        Ok((self.direct.rounds - first) as f64 / begun.elapsed().as_secs_f64())
    }

    /// What NICs and connections have counted so far.
    pub fn counted(&self) -> Counted {
        Counted {
            nics: self.nics.each_ref().map(Rdma::counters),
            direct: self.direct.counters(),
            relayed: self.relayed.counters(),
        }
    }

    /// The same in words, and the longest rounds.
    pub fn counters(&self) -> String {
        let [direct, relayed] = [&self.direct, &self.relayed].map(|game| {
            format!(
                "{} rounds, the longest took {:?}",
                game.rounds, game.longest
            )
        });
        let mut text = format!("{direct}; through the box {relayed}");
        let counted = self.counted();
        for (at, name) in ["one", "other"].iter().enumerate() {
            text += &format!("\n{name}: {}", counted.told(at));
        }
        text
    }
}
