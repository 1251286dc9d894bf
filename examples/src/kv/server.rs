//! The server: a store, and threads that serve it.
//!
//! A completion queue starts one thread, so each worker has a queue and receives of its own, and clients are dealt out to the
//! workers. All workers work on the one store.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use doca_dpa::rdma::{Connection, MemoryMap, Rdma, RdmaOpenError, RemoteMemoryMap, Rights};
use doca_dpa::{DeviceBuffer, Dpa, DpaThread, HashTable};
use examples_kernels::kv::{
    Client, DEPTH, DeskArg, MESSAGE_WORDS, SERVER_RECEIVES, ServeArgs, StoreArg, Tally, free_words,
    serve, value_words,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::welcome::{self, Welcome};
use super::{KvError, MEETING};
use crate::exchange::{Exchange, Listener};
use crate::node::{KEEP_ALIVE, Place};
use crate::rally::connect;

/// Clients of one worker, at most.
const CLIENTS: u32 = 8;
/// Entries of a connection's queue: what a client may have under way, and as much that waits to be acknowledged.
const SEND_QUEUE: u32 = 2 * DEPTH;
/// Clients that introduce themselves at the same time, at most.
const MEETINGS: usize = 64;

/// What a server is made with.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// Where its packets go.
    pub place: Place,
    /// Entries of the store; rounded up to a power of two.
    pub entries: u32,
    /// Serving threads.
    pub workers: u32,
}

/// A server. Dropping it ends it: its clients find that it does not answer.
#[derive(Debug)]
pub struct Server {
    dpa: Dpa,
    desks: Vec<Desk>,
    entries: u32,
    sessions: AtomicU32,
}

/// What one worker has.
#[derive(Debug)]
struct Desk {
    rdma: Rdma,
    /// Each seat has a share of it.
    clients: Arc<DeviceBuffer<Client>>,
    tally: DeviceBuffer<Tally>,
    _thread: DpaThread,
}

/// What a server tells of its clients.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// One came.
    Came(SocketAddr),
    /// One is gone, and how.
    Gone(SocketAddr, &'a str),
    /// One came and was not let in.
    NotLetIn(&'a KvError),
}

/// The memory of the store.
struct Shelves {
    table: HashTable,
    values: DeviceBuffer<u64>,
    free: DeviceBuffer<u64>,
}

/// A client that is served.
struct Visit {
    // First: the connection's number is another's as soon as that is dropped.
    _seat: Seat,
    connection: Connection,
    exchange: Exchange,
}

/// A client's place at a worker, from when it has a connection. Whatever becomes of the client, nobody has it once this is dropped.
struct Seat {
    clients: Arc<DeviceBuffer<Client>>,
    at: usize,
}

impl Seat {
    /// From now on requests of this session are answered, until the seat is dropped.
    fn introduce(&self, ring: RemoteMemoryMap, session: u32) -> Result<(), KvError> {
        let client = Client {
            ring: ring.handle(),
            session: session.into(),
        };
        Ok(self.clients.write_blocking(self.at, &[client])?)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A device that is closed answers nobody anyway.
        let _ = self.clients.write_blocking(self.at, &[Client::default()]);
    }
}

impl fmt::Display for News<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Came(client) => write!(f, "client {client} came"),
            Self::Gone(client, how) => write!(f, "client {client} {how}"),
            Self::NotLetIn(error) => write!(f, "a client was not let in: {error}"),
        }
    }
}

impl Server {
    /// Opens the device, makes the store, starts the workers.
    ///
    /// # Errors
    /// The address is none of this machine's, or none is free; no memory for so many entries.
    pub async fn open(options: &ServerOptions) -> Result<Self, KvError> {
        let dpa = Dpa::builder()
            .workers(1)
            .spin(Duration::from_millis(5))
            .open()?;
        let first = options.place.take(|address| context(&dpa, address))?;
        let shelves = Shelves::new(&dpa, options.entries).await?;
        let address = first.address().ip();
        let mut desks = vec![Desk::open(&dpa, first, &shelves).await?];
        for _ in 1..options.workers {
            let rdma = context(&dpa, address)?;
            desks.push(Desk::open(&dpa, rdma, &shelves).await?);
        }
        Ok(Self {
            entries: shelves.table.capacity() as u32,
            desks,
            dpa,
            sessions: AtomicU32::new(1),
        })
    }

    /// Where its packets go.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.desks[0].rdma.address()
    }

    /// Entries that the store may have.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Serves whoever comes, until the future is dropped; `told` hears of each who comes or goes.
    ///
    /// # Errors
    /// Nobody can come any more; a worker has failed. That a client has is no error.
    ///
    /// # Cancel safety
    /// Clients are let go when the future is dropped.
    pub async fn serve(
        &mut self,
        listener: &mut Listener,
        mut told: impl FnMut(News<'_>),
    ) -> Result<Infallible, KvError> {
        let server = &*self;
        let mut meetings = FuturesUnordered::new();
        let mut visits = FuturesUnordered::new();
        loop {
            tokio::select! {
                exchange = listener.accept(Duration::MAX), if server.may_come(meetings.len()) => {
                    meetings.push(server.let_in(exchange?, server.place()));
                }
                Some(met) = meetings.next() => match met {
                    Ok(visit) => {
                        told(News::Came(visit.exchange.peer_addr()));
                        visits.push(visit.last());
                    }
                    Err(error) => told(News::NotLetIn(&error)),
                },
                Some((visit, how)) = visits.next() => {
                    told(News::Gone(visit.exchange.peer_addr(), &how));
                }
            }
            if let Some(fault) = server.dpa.last_error() {
                return Err(KvError::Lost {
                    good: server.answered()?,
                    why: fault.to_string(),
                });
            }
        }
    }

    /// Requests that were answered.
    ///
    /// # Errors
    /// The device is closed.
    pub fn answered(&self) -> Result<u64, KvError> {
        let mut answered = 0;
        for desk in &self.desks {
            let tally = desk.tally.copy_out_blocking()?;
            answered += tally.iter().map(|tally| tally.answered).sum::<u64>();
        }
        Ok(answered)
    }

    /// Never 0: no client has that.
    fn next_session(&self) -> u32 {
        match self.sessions.fetch_add(1, Ordering::Relaxed) {
            0 => self.next_session(),
            session => session,
        }
    }

    /// Whether the next may come, beside so many that introduce themselves. Where these have the last places, one may be free again
    /// before long; nobody is told that there is none until all who have one are clients.
    fn may_come(&self, meetings: usize) -> bool {
        let places = CLIENTS * self.desks.len() as u32;
        meetings == 0 || (meetings < MEETINGS && self.visitors() < places)
    }

    /// Clients that have a place, and those who introduce themselves.
    fn visitors(&self) -> u32 {
        self.desks.iter().map(Desk::visitors).sum()
    }

    /// A place at the worker that has the fewest clients, if any has one.
    fn place(&self) -> Option<(Connection, Seat)> {
        let mut desks: Vec<&Desk> = self.desks.iter().collect();
        desks.sort_by_key(|desk| desk.visitors());
        desks.into_iter().find_map(Desk::place)
    }

    async fn let_in(
        &self,
        exchange: Exchange,
        place: Option<(Connection, Seat)>,
    ) -> Result<Visit, KvError> {
        let meeting = tokio::time::timeout(MEETING, self.meet(exchange, place)).await;
        meeting.unwrap_or(Err(KvError::Meeting(MEETING)))
    }

    async fn meet(
        &self,
        mut exchange: Exchange,
        place: Option<(Connection, Seat)>,
    ) -> Result<Visit, KvError> {
        let Some((connection, seat)) = place else {
            let clients = self.visitors();
            exchange
                .send("welcome", &welcome::encode(Err(clients)))
                .await?;
            return Err(super::WelcomeError::Crowded { clients }.into());
        };
        let welcome = Welcome {
            session: self.next_session(),
            entries: self.entries,
        };
        exchange
            .send("welcome", &welcome::encode(Ok(welcome)))
            .await?;
        connect::<KvError>(&mut exchange, &connection, true).await?;
        let ring = exchange.receive("response ring").await?;
        let ring = RemoteMemoryMap::import(&ring)?;
        seat.introduce(ring, welcome.session)?;
        let mut visit = Visit {
            _seat: seat,
            connection,
            exchange,
        };
        visit.exchange.barrier("ready").await?;
        Ok(visit)
    }
}

impl Visit {
    /// Returns when the client is gone, with how.
    async fn last(mut self) -> (Self, String) {
        let how = tokio::select! {
            cause = self.connection.failed() => format!("was lost: {cause}"),
            left = self.exchange.receive("goodbye") => match left {
                Ok(_) => "left".to_owned(),
                Err(error) => format!("is gone: {error}"),
            },
        };
        (self, how)
    }
}

/// A context on the NIC at this address, with a completion queue of its own.
fn context(dpa: &Dpa, address: IpAddr) -> Result<Rdma, RdmaOpenError> {
    dpa.rdma()
        .address(address)
        .connections(CLIENTS)
        .send_queue(SEND_QUEUE)
        .receive_queue(SERVER_RECEIVES)
        // Everything that can be under way: receives, and what is flushed when all clients fail at once.
        .completion_entries(SERVER_RECEIVES + CLIENTS * SEND_QUEUE)
        .keep_alive(KEEP_ALIVE)
        .open()
}

impl Shelves {
    async fn new(dpa: &Dpa, entries: u32) -> Result<Self, KvError> {
        let table = dpa.hash_table(entries.into())?;
        let entries = table.capacity() as u32;
        Ok(Self {
            table,
            values: dpa.zeroed(value_words(entries)).await?,
            free: dpa.zeroed(free_words(entries)).await?,
        })
    }
}

impl Desk {
    async fn open(dpa: &Dpa, rdma: Rdma, shelves: &Shelves) -> Result<Self, KvError> {
        let inbox = dpa.zeroed(SERVER_RECEIVES as usize * MESSAGE_WORDS).await?;
        let outbox = dpa
            .zeroed((CLIENTS * DEPTH) as usize * MESSAGE_WORDS)
            .await?;
        let clients = dpa.zeroed(CLIENTS as usize).await?;
        let places = dpa.zeroed(SERVER_RECEIVES as usize).await?;
        let tally = dpa.zeroed(1).await?;
        let requests: MemoryMap = rdma.map(&inbox, Rights::empty())?;
        let replies = rdma.map(&outbox, Rights::empty())?;
        let args = ServeArgs {
            rdma: &rdma,
            done: rdma.completions(),
            store: StoreArg {
                table: &shelves.table,
                values: &shelves.values,
                free: &shelves.free,
            },
            desk: DeskArg {
                requests: &requests,
                inbox: &inbox,
                places: &places,
                replies: &replies,
                outbox: &outbox,
                clients: &clients,
                tally: &tally,
            },
        };
        let thread = dpa.thread(serve, args).start()?;
        thread.attach_to(rdma.completions())?;
        thread.run()?;
        // The first start posts the receives; requests do the rest.
        thread.notify();
        Ok(Self {
            _thread: thread,
            rdma,
            clients: Arc::new(clients),
            tally,
        })
    }

    /// Clients that have a seat.
    fn visitors(&self) -> u32 {
        Arc::strong_count(&self.clients) as u32 - 1
    }

    /// A place for one more client.
    fn place(&self) -> Option<(Connection, Seat)> {
        let connection = self.rdma.export().ok()?;
        let seat = Seat {
            clients: self.clients.clone(),
            at: connection.id() as usize,
        };
        Some((connection, seat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn server(workers: u32) -> Server {
        let options = ServerOptions {
            place: Place::Loopback,
            entries: 16,
            workers,
        };
        Server::open(&options).await.expect("a server")
    }

    #[tokio::test]
    async fn a_client_that_is_given_up_leaves_no_trace() {
        let server = server(1).await;
        let desk = &server.desks[0];
        let ring = server.dpa.zeroed::<u64>(8).await.expect("memory");
        let map = desk.rdma.map(&ring, Rights::all()).expect("a map");
        let ring = RemoteMemoryMap::import(&map.export()).expect("its own");
        let sessions = || desk.clients.copy_out_blocking().expect("open");
        let sits = |at: usize| sessions()[at].session;
        let (connection, seat) = server.place().expect("a place");
        let at = connection.id() as usize;
        assert_eq!((desk.visitors(), sits(at)), (1, 0));
        seat.introduce(ring, 7).expect("memory");
        assert_eq!((desk.visitors(), sits(at)), (1, 7));
        drop(seat);
        assert_eq!((desk.visitors(), sits(at)), (0, 0));
    }

    #[tokio::test]
    async fn clients_that_come_together_are_dealt_out() {
        let server = server(2).await;
        let places: Vec<_> = std::iter::from_fn(|| server.place()).collect();
        assert_eq!(places.len(), 2 * CLIENTS as usize);
        let first: Vec<_> = places[..CLIENTS as usize].iter().collect();
        let of = |desk: &Desk| {
            let sits = |seat: &Seat| Arc::ptr_eq(&seat.clients, &desk.clients);
            first.iter().filter(|(_, seat)| sits(seat)).count()
        };
        assert_eq!(of(&server.desks[0]), of(&server.desks[1]));
        assert!(!server.may_come(1), "somebody may leave before long");
        assert!(server.may_come(0), "to be told that there is no place");
    }
}
