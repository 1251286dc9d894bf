//! One side of ping-pong: what both nodes tell each other, the games, the figures.

use std::net::SocketAddr;
use std::time::Duration;

use doca_dpa::rdma::{
    BlobError, Connection, ConnectionInfo, ConnectionState, MemoryMap, RemoteMemoryMap,
    RemoteSyncEvent, Rights,
};
use doca_dpa::{DeviceBuffer, Error, Location, SyncEvent};
use examples_kernels::{CourtArg, FloodArgs, Game, PingPongArgs, Score, Stream, flood, ping_pong};
use thiserror::Error as ThisError;

use crate::exchange::{Exchange, ExchangeError};
use crate::node::Node;

/// A ball of so many bytes, so many rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Bytes of the ball, a multiple of 8.
    pub bytes: usize,
    /// Rounds.
    pub rounds: u64,
}

/// The most that a game of one leg takes the other side, on a machine that has much else to do.
const GAME: Duration = Duration::from_secs(300);

/// The largest ball.
pub const MAX_BYTES: usize = 1 << 20;

/// The usual legs: together more than `rounds` rounds, of which the smallest ball has most.
pub fn legs(rounds: u64) -> Vec<Leg> {
    let leg = |bytes, share: u64| Leg {
        bytes,
        rounds: (rounds / share).max(10),
    };
    vec![
        leg(8, 1),
        leg(64, 10),
        leg(512, 10),
        leg(4 << 10, 20),
        leg(32 << 10, 50),
        leg(256 << 10, 100),
        leg(MAX_BYTES, 200),
    ]
}

/// What a leg showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The leg.
    pub leg: Leg,
    /// Half of each round's time, sorted.
    pub half_rounds: Vec<Duration>,
    /// Bytes per second of writes in one direction.
    pub bytes_per_second: u64,
}

impl Figures {
    /// The time that this share of the rounds did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        let last = self.half_rounds.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.half_rounds.get(at).copied().unwrap_or_default()
    }
}

/// Why a game was broken off.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RallyError {
    /// The device or the network.
    #[error(transparent)]
    Dpa(#[from] Error),
    /// The exchange beside it.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The other node's process could not be started.
    #[error("the other node could not be started: {0}")]
    Start(std::io::Error),
    /// The other node ended in error, and has said why.
    #[error("the other node has failed")]
    OtherNode,
    /// The peer plays another game.
    #[error("the peer wants to play {theirs} rounds, we want {ours}: give both the same number")]
    Rounds {
        /// What we were told.
        ours: u64,
        /// What the peer was told.
        theirs: u64,
    },
    /// The peer sent something else than what was agreed.
    #[error("the peer sent {len} bytes as its {what}")]
    Malformed {
        /// What it was to be.
        what: &'static str,
        /// Its bytes.
        len: usize,
    },
    /// The connection failed in the middle.
    #[error("the peer was lost after {good} rounds with {bytes} bytes: {why}")]
    Lost {
        /// Rounds that were good.
        good: u64,
        /// Bytes of the ball.
        bytes: usize,
        /// Why.
        why: String,
    },
    /// Bytes arrived that were not sent.
    #[error("{bad} of {rounds} balls of {bytes} bytes were not what was thrown")]
    Corrupt {
        /// Rounds with a bad ball.
        bad: u64,
        /// Rounds.
        rounds: u64,
        /// Bytes of the ball.
        bytes: usize,
    },
}

/// One side of the game, ready to play.
#[derive(Debug)]
pub struct Side {
    node: Node,
    connection: Connection,
    exchange: Exchange,
    serves: bool,
    sent: MemoryMap,
    out: DeviceBuffer<u64>,
    inbox: DeviceBuffer<u64>,
    times: DeviceBuffer<u64>,
    score: DeviceBuffer<Score>,
    arrived: SyncEvent,
    theirs: RemoteMemoryMap,
    signal: RemoteSyncEvent,
    played: u64,
    /// Where the two nodes are.
    addresses: [SocketAddr; 2],
    /// What the peer may touch, as long as the game lasts.
    _open: (MemoryMap, doca_dpa::rdma::EventExport),
}

impl Side {
    /// Tells the peer what it must know, and takes what it tells: connection, memory, event. `serves` on exactly one side.
    ///
    /// # Errors
    /// The peer is gone or plays something else; the device has no memory.
    pub async fn meet(
        node: Node,
        mut exchange: Exchange,
        serves: bool,
        rounds: u64,
    ) -> Result<Self, RallyError> {
        agree(&mut exchange, rounds).await?;
        let (dpa, rdma) = (&node.dpa, &node.rdma);
        let words = MAX_BYTES / 8;
        let out = dpa.zeroed::<u64>(words).await.map_err(Error::from)?;
        let inbox = dpa.zeroed::<u64>(words).await.map_err(Error::from)?;
        let times = dpa
            .zeroed::<u64>(rounds.max(10) as usize)
            .await
            .map_err(Error::from)?;
        let score = dpa.zeroed::<Score>(1).await.map_err(Error::from)?;
        let arrived = SyncEvent::builder(dpa)
            .publisher(Location::Remote)
            .subscriber(Location::Device)
            .create()?;
        let connection = rdma.export().map_err(Error::from)?;
        let sent = rdma.map(&out, Rights::empty()).map_err(Error::from)?;
        let open = rdma
            .map(&inbox, Rights::REMOTE_WRITE)
            .map_err(Error::from)?;
        let export = connection.export_event(&arrived).map_err(Error::from)?;
        let peer = connect::<RallyError>(&mut exchange, &connection, serves).await?;
        let what = "connection data";
        let info = ConnectionInfo::from_blob(&peer)
            .map_err(|source| Error::from(BlobError { what, source }))?;
        let memory = exchange.swap("memory map", &open.export()).await?;
        let event = exchange.swap("event", &export.export()).await?;
        exchange.barrier("last connection").await?;
        Ok(Self {
            theirs: RemoteMemoryMap::import(&memory).map_err(Error::from)?,
            signal: RemoteSyncEvent::import(&event).map_err(Error::from)?,
            played: 0,
            addresses: [rdma.address(), info.socket()],
            _open: (open, export),
            node,
            connection,
            exchange,
            serves,
            sent,
            out,
            inbox,
            times,
            score,
            arrived,
        })
    }

    /// Where the two nodes are: this one, and its peer.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        self.addresses
    }

    /// Plays a leg, then floods the peer (or is flooded).
    ///
    /// # Errors
    /// The peer was lost; a ball was not what was thrown.
    pub async fn play(&mut self, leg: Leg) -> Result<Figures, RallyError> {
        let half_rounds = self.rally(leg).await?;
        let met = self.exchange.barrier_within("end of the rally", GAME);
        met.await?;
        let bytes_per_second = if self.serves {
            self.flood(leg).await?
        } else {
            0
        };
        let met = self.exchange.barrier_within("end of the flood", GAME);
        met.await?;
        Ok(Figures {
            leg,
            half_rounds,
            bytes_per_second,
        })
    }

    async fn rally(&mut self, leg: Leg) -> Result<Vec<Duration>, RallyError> {
        let game = Game {
            before: self.played,
            rounds: leg.rounds,
            words: (leg.bytes / 8) as u64,
            serves: self.serves.into(),
        };
        self.played += leg.rounds;
        let court = CourtArg {
            sent: &self.sent,
            peer: self.theirs,
            signal: self.signal,
            arrived: &self.arrived,
            out: &self.out,
            inbox: &self.inbox,
        };
        let launch = self
            .node
            .dpa
            .launch(ping_pong)
            .args(PingPongArgs {
                rdma: &self.node.rdma,
                court,
                game,
                times: &self.times,
                score: &self.score,
            })
            .submit()
            .map_err(Error::from)?;
        launch.await.map_err(Error::from)?;
        self.judge(leg, leg.rounds).await?;
        let times = self.times.copy_out().await.map_err(Error::from)?;
        let rounds = times.iter().take(leg.rounds as usize);
        let mut halves: Vec<_> = rounds
            .map(|nanos| Duration::from_nanos(nanos / 2))
            .collect();
        halves.sort_unstable();
        Ok(halves)
    }

    async fn flood(&mut self, leg: Leg) -> Result<u64, RallyError> {
        let times = (64usize << 20)
            .div_ceil(leg.bytes)
            .min(leg.rounds as usize * 2) as u64;
        let bytes = leg.bytes as u64;
        let launch = self
            .node
            .dpa
            .launch(flood)
            .args(FloodArgs {
                rdma: &self.node.rdma,
                done: self.node.rdma.completions(),
                sent: &self.sent,
                to: self.theirs,
                stream: Stream { bytes, times },
                score: &self.score,
            })
            .submit()
            .map_err(Error::from)?;
        launch.await.map_err(Error::from)?;
        let score = self.judge(leg, times).await?;
        let seconds = Duration::from_nanos(score.nanos.max(1)).as_secs_f64();
        Ok(((bytes * times) as f64 / seconds) as u64)
    }

    async fn judge(&self, leg: Leg, rounds: u64) -> Result<Score, RallyError> {
        let bytes = leg.bytes;
        let score = self.score.copy_out().await.map_err(Error::from)?[0];
        if score.bad > 0 {
            let bad = score.bad;
            return Err(RallyError::Corrupt { bad, rounds, bytes });
        }
        if score.lost != 0 || score.good != rounds {
            let good = score.good;
            let why = match self.connection.state() {
                ConnectionState::Failed(cause) => cause.to_string(),
                state => format!("the kernel gave up, the connection is {state:?}"),
            };
            return Err(RallyError::Lost { good, bytes, why });
        }
        Ok(score)
    }
}

/// One side asks, the other answers and echoes the nonce: so no answer to an earlier attempt is taken for this one's.
pub(crate) async fn connect<E: From<Error> + From<ExchangeError>>(
    exchange: &mut Exchange,
    connection: &Connection,
    answers: bool,
) -> Result<Vec<u8>, E> {
    let step = "connection";
    if !answers {
        exchange.send(step, &connection.blob()).await?;
    }
    let peer = exchange.receive(step).await?;
    connection.connect(&peer).map_err(Error::from)?;
    if answers {
        let answer = connection.answer(&peer).map_err(Error::from)?;
        exchange.send(step, &answer).await?;
    }
    Ok(peer)
}

async fn agree(exchange: &mut Exchange, ours: u64) -> Result<(), RallyError> {
    let theirs = exchange
        .swap("number of rounds", &ours.to_le_bytes())
        .await?;
    let len = theirs.len();
    let malformed = RallyError::Malformed {
        what: "number of rounds",
        len,
    };
    let theirs = u64::from_le_bytes(theirs.try_into().map_err(|_| malformed)?);
    if theirs == ours {
        Ok(())
    } else {
        Err(RallyError::Rounds { ours, theirs })
    }
}
