//! The client: what it asks for, and what came of it.

use std::time::{Duration, Instant};

use doca_dpa::rdma::{Connection, ConnectionState, MemoryMap, Rdma, RdmaOpenError, Rights};
use doca_dpa::{DeviceBuffer, Dpa};
use examples_kernels::kv::{
    ALL, DEPTH, Drill, DriveArgs, FILL, LaneArg, MESSAGE_WORDS, MIXED, RECEIVES, Report, SWEEP,
    Trouble, drive,
};

use super::KvError;
use super::welcome::Welcome;
use crate::exchange::Exchange;
use crate::node::{KEEP_ALIVE, Node, Place};
use crate::rally::connect;

/// Mixed requests of one launch: the requests under way run dry once in so many.
const BATCH: u64 = 1 << 16;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Mixed requests, at most.
    pub requests: u64,
    /// Time for the mixed requests, at most.
    pub time: Duration,
    /// Keys: at most 2^20.
    pub keys: u32,
    /// Bytes of a value: 1 to [`examples_kernels::kv::MAX_VALUE`].
    pub value: u32,
    /// Requests under way: 1 to [`examples_kernels::kv::DEPTH`].
    pub outstanding: u32,
    /// How many of a hundred requests are gets.
    pub gets: u32,
    /// How long an answer may take.
    pub patience: Duration,
}

/// What the mixed requests showed.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Requests, each answered as it had to be.
    pub requests: u64,
    /// Gets that found a value.
    pub hits: u64,
    /// Puts that found the store full.
    pub full: u64,
    /// What all of them took.
    pub took: Duration,
    /// What each took, in nanoseconds, sorted.
    pub times: Vec<u32>,
}

impl Figures {
    /// Requests per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// The time that this share of the requests did not exceed.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        let nanos = self.times.get(at).copied().unwrap_or_default();
        Duration::from_nanos(nanos.into())
    }

    fn add(&mut self, report: &Report, times: &[u32]) {
        self.requests += report.good;
        self.hits += report.hits;
        self.full += report.full;
        self.took += Duration::from_nanos(report.nanos);
        self.times.extend_from_slice(times);
    }
}

/// A node for a client.
///
/// # Errors
/// No address is free, or the given one is not; the system gives no memory or threads.
pub fn node(place: Place) -> Result<Node, KvError> {
    let dpa = Dpa::builder()
        .workers(1)
        .spin(Duration::from_millis(5))
        .open()?;
    let rdma = place.take(|address| context(&dpa, address))?;
    Ok(Node { dpa, rdma })
}

/// Introduces itself to the server, fills the store, asks, and takes out again what it has put there. Every answer is
/// compared with what must be stored.
///
/// # Errors
/// The server is lost, or too late; an answer is wrong.
///
/// # Cancel safety
/// Dropping it leaves the server; keys may stay there.
pub async fn bench(node: Node, exchange: Exchange, load: &Load) -> Result<Figures, KvError> {
    let mut client = Client::meet(node, exchange, load).await?;
    let keys = u64::from(load.keys);
    client.drill(SWEEP, keys, None).await?;
    let filled = client.drill(FILL, keys, None).await?;
    let mut figures = Figures {
        requests: 0,
        hits: 0,
        full: 0,
        took: Duration::ZERO,
        times: Vec::new(),
    };
    let until = Instant::now() + load.time;
    while figures.requests < load.requests && Instant::now() < until {
        let count = BATCH.min(load.requests - figures.requests);
        let left = until.saturating_duration_since(Instant::now());
        let report = client.drill(MIXED, count, Some(left)).await?;
        let times = client.times.slice(..report.good as usize)?.read()?;
        figures.add(&report, &times);
    }
    figures.full += filled.full;
    figures.times.sort_unstable();
    client.drill(ALL, keys, None).await?;
    client.drill(SWEEP, keys, None).await?;
    client.exchange.send("goodbye", &[]).await?;
    Ok(figures)
}

struct Client {
    dpa: Dpa,
    rdma: Rdma,
    connection: Connection,
    exchange: Exchange,
    load: Load,
    welcome: Welcome,
    before: u64,
    requests: MemoryMap,
    outbox: DeviceBuffer<u64>,
    responses: MemoryMap,
    ring: DeviceBuffer<u64>,
    stored: DeviceBuffer<u64>,
    sent: DeviceBuffer<u64>,
    times: DeviceBuffer<u32>,
    report: DeviceBuffer<Report>,
}

impl Client {
    async fn meet(node: Node, mut exchange: Exchange, load: &Load) -> Result<Self, KvError> {
        let welcome = exchange.receive("welcome").await?;
        let welcome = Welcome::try_from(&welcome[..])?;
        let Node { dpa, rdma } = node;
        let words = DEPTH as usize * MESSAGE_WORDS;
        let outbox = dpa.zeroed(words).await?;
        let ring = dpa.zeroed(words).await?;
        let requests = rdma.map(&outbox, Rights::empty())?;
        let responses = rdma.map(&ring, Rights::REMOTE_WRITE)?;
        let connection = rdma.export()?;
        connect::<KvError>(&mut exchange, &connection, false).await?;
        exchange.send("response ring", &responses.export()).await?;
        exchange.barrier("ready").await?;
        Ok(Self {
            stored: dpa.zeroed(load.keys as usize).await?,
            sent: dpa.zeroed(DEPTH as usize).await?,
            times: dpa.zeroed(BATCH as usize).await?,
            report: dpa.zeroed(1).await?,
            load: *load,
            before: 0,
            dpa,
            rdma,
            connection,
            exchange,
            welcome,
            requests,
            outbox,
            responses,
            ring,
        })
    }

    async fn drill(
        &mut self,
        kind: u64,
        count: u64,
        time: Option<Duration>,
    ) -> Result<Report, KvError> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let drill = Drill {
            kind,
            before: self.before,
            count,
            ahead: self.load.outstanding.into(),
            keys: self.load.keys.into(),
            value: self.load.value.into(),
            gets: self.load.gets.into(),
            session: self.welcome.session.into(),
            time: time.map_or(u64::MAX, nanos),
            patience: nanos(self.load.patience),
        };
        let args = DriveArgs {
            rdma: &self.rdma,
            done: self.rdma.completions(),
            drill,
            lane: LaneArg {
                requests: &self.requests,
                outbox: &self.outbox,
                responses: &self.responses,
                ring: &self.ring,
                stored: &self.stored,
                sent: &self.sent,
                times: &self.times,
                report: &self.report,
            },
        };
        let launch = self.dpa.launch(drive).args(args).submit();
        launch?.await?;
        let report = self.report.copy_out().await?[0];
        self.before += report.good;
        self.judge(report)
    }

    fn judge(&self, report: Report) -> Result<Report, KvError> {
        let good = self.before;
        if report.trouble == Trouble::None as u64 {
            return Ok(report);
        }
        if report.trouble == Trouble::Wrong as u64 {
            let request = report.wrong;
            return Err(KvError::Wrong { request });
        }
        if let ConnectionState::Failed(cause) = self.connection.state() {
            let why = cause.to_string();
            return Err(KvError::Lost { good, why });
        }
        if report.trouble == Trouble::Late as u64 {
            let waited = self.load.patience;
            return Err(KvError::Late { good, waited });
        }
        Err(KvError::Refused { good })
    }
}

fn context(dpa: &Dpa, address: std::net::IpAddr) -> Result<Rdma, RdmaOpenError> {
    dpa.rdma()
        .address(address)
        .send_queue(2 * DEPTH)
        .receive_queue(RECEIVES)
        .completion_entries(2 * (RECEIVES + 2 * DEPTH))
        .keep_alive(KEEP_ALIVE)
        .open()
}
