//! The exchange among any number of programs: rank 0 is the hub.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::{Exchange, ExchangeError, Listener, Session};

/// The programs of one session that know each other's rank: 0 listens, the others come to it.
///
/// Every step is one of all members, in the same order everywhere. A step that fails closes the group's connections:
/// the others hear of it, and every later step fails. So does one whose future is dropped before it is ready.
#[derive(Debug)]
pub struct Group {
    rank: usize,
    size: usize,
    /// To the members 1.. in order of rank, at rank 0; to rank 0 elsewhere.
    links: Vec<Exchange>,
}

impl Group {
    /// Joins `size` programs as the one with this rank; rank 0 listens at `address`, the others connect to it.
    /// Returns when all have joined.
    ///
    /// # Errors
    /// `NoSuchRank` if there is none in a group of this size; `Member` if one says another size or a rank that was
    /// taken before; else what connecting and listening give.
    ///
    /// # Cancel safety
    /// Dropping the future closes its connections, and so makes the others' joining fail.
    pub async fn join(
        rank: usize,
        size: usize,
        address: &str,
        session: Session,
    ) -> Result<Self, ExchangeError> {
        numbers(rank, size)?;
        match rank {
            0 => Self::host(&mut Listener::bind(address, session).await?, size).await,
            _ => {
                let hub = Exchange::connect(address, session, session.timeout()).await?;
                Self::come(rank, size, hub).await
            }
        }
    }

    /// Joins as rank 0 with a listener there already is.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// As [`join`](Self::join).
    pub async fn host(listener: &mut Listener, size: usize) -> Result<Self, ExchangeError> {
        numbers(0, size)?;
        let timeout = listener.session().timeout();
        let links = gather_members(listener, size, timeout).await?;
        let mut group = Self {
            rank: 0,
            size,
            links,
        };
        group.tell("complete group", &[&[]]).await?;
        Ok(group)
    }

    async fn come(rank: usize, size: usize, hub: Exchange) -> Result<Self, ExchangeError> {
        let mut group = Self {
            rank,
            size,
            links: vec![hub],
        };
        let joined = group.introduce().await;
        joined.map_err(|source| of_rank(0, source))?;
        Ok(group)
    }

    async fn introduce(&mut self) -> Result<(), ExchangeError> {
        let hub = &mut self.links[0];
        let theirs = hub.swap("rank", &numbers(self.rank, self.size)?).await?;
        if theirs != numbers(0, self.size)? {
            return Err(refusal(&theirs, "we are of another group"));
        }
        hub.receive("complete group").await.map(drop)
    }

    /// Our rank.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many members there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Our end of the connection to rank 0 (at rank 0: to rank 1): an address at which it reaches this machine;
    /// `None` in a group of one.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.links.first().map(Exchange::local_addr)
    }

    /// Everyone's blob, ours included, in order of rank.
    ///
    /// # Errors
    /// `Rank` with the member that did not answer, and why.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future makes the group useless, and others may have our blob.
    pub async fn all_gather(
        &mut self,
        step: &'static str,
        mine: &[u8],
    ) -> Result<Vec<Vec<u8>>, ExchangeError> {
        let gathered = match self.rank {
            0 => self.gather_and_tell(step, mine).await,
            _ => self.tell_and_take(step, mine).await,
        };
        if gathered.is_err() {
            self.links.iter_mut().for_each(|link| link.give_up(step));
        }
        gathered
    }

    /// Returns when all members have come to this step.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future makes the group useless, and others may have gone on.
    pub async fn barrier(&mut self, step: &'static str) -> Result<(), ExchangeError> {
        self.all_gather(step, &[]).await.map(drop)
    }

    async fn gather_and_tell(
        &mut self,
        step: &'static str,
        mine: &[u8],
    ) -> Result<Vec<Vec<u8>>, ExchangeError> {
        super::frame::encode(step, mine)?;
        let taking = self.links.iter_mut().enumerate().map(async |(i, link)| {
            let taken = link.receive(step).await;
            taken.map_err(|source| of_rank(i + 1, source))
        });
        let theirs = try_join_all(taking).await?;
        let all: Vec<_> = std::iter::once(mine.to_vec()).chain(theirs).collect();
        let blobs: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        self.tell(step, &blobs).await?;
        Ok(all)
    }

    /// From rank 0: these blobs to every member.
    async fn tell(&mut self, step: &'static str, blobs: &[&[u8]]) -> Result<(), ExchangeError> {
        let telling = self.links.iter_mut().enumerate().map(async |(i, link)| {
            let told = send_all(link, step, blobs).await;
            told.map_err(|source| of_rank(i + 1, source))
        });
        try_join_all(telling).await.map(drop)
    }

    /// From another rank: our blob to rank 0, and everyone's from there.
    async fn tell_and_take(
        &mut self,
        step: &'static str,
        mine: &[u8],
    ) -> Result<Vec<Vec<u8>>, ExchangeError> {
        let told = send_and_take(&mut self.links[0], self.size, step, mine).await;
        told.map_err(|source| of_rank(0, source))
    }
}

async fn send_all(
    link: &mut Exchange,
    step: &'static str,
    blobs: &[&[u8]],
) -> Result<(), ExchangeError> {
    for blob in blobs {
        link.send(step, blob).await?;
    }
    Ok(())
}

async fn send_and_take(
    hub: &mut Exchange,
    size: usize,
    step: &'static str,
    mine: &[u8],
) -> Result<Vec<Vec<u8>>, ExchangeError> {
    hub.send(step, mine).await?;
    let mut all = Vec::with_capacity(size);
    for _ in 0..size {
        all.push(hub.receive(step).await?);
    }
    Ok(all)
}

/// The members 1.. in order of rank.
async fn gather_members(
    listener: &mut Listener,
    size: usize,
    timeout: Duration,
) -> Result<Vec<Exchange>, ExchangeError> {
    let deadline = super::after(timeout);
    let mut members: Vec<Option<Exchange>> = (1..size).map(|_| None).collect();
    for _ in 1..size {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut member = listener.accept(left).await?;
        let theirs = member.swap("rank", &numbers(0, size)?).await?;
        *place(&mut members, &theirs)? = Some(member);
    }
    Ok(members.into_iter().flatten().collect())
}

/// The free place that a member's numbers ask for.
fn place<'a>(
    members: &'a mut [Option<Exchange>],
    theirs: &[u8],
) -> Result<&'a mut Option<Exchange>, ExchangeError> {
    let Some((rank, size)) = parsed(theirs) else {
        return Err(refusal(theirs, "no rank and size"));
    };
    if size as usize != members.len() + 1 {
        return Err(refusal(theirs, "rank 0 expects another number"));
    }
    match (rank as usize)
        .checked_sub(1)
        .and_then(|i| members.get_mut(i))
    {
        Some(free @ None) => Ok(free),
        Some(_) => Err(refusal(theirs, "there was one before")),
        None => Err(refusal(theirs, "there is no such place")),
    }
}

/// Rank and size as they travel.
fn numbers(rank: usize, size: usize) -> Result<[u8; 8], ExchangeError> {
    let none = ExchangeError::NoSuchRank { rank, size };
    match (u32::try_from(rank), u32::try_from(size)) {
        (Ok(r), Ok(s)) if r < s => Ok((u64::from(s) << 32 | u64::from(r)).to_le_bytes()),
        _ => Err(none),
    }
}

fn parsed(theirs: &[u8]) -> Option<(u32, u32)> {
    let both = u64::from_le_bytes(theirs.try_into().ok()?);
    Some((both as u32, (both >> 32) as u32))
}

fn refusal(theirs: &[u8], fault: &'static str) -> ExchangeError {
    match parsed(theirs) {
        Some((rank, size)) => ExchangeError::Member { rank, size, fault },
        None => ExchangeError::Malformed {
            step: "rank",
            fault,
        },
    }
}

fn of_rank(rank: usize, source: ExchangeError) -> ExchangeError {
    let source = Box::new(source);
    ExchangeError::Rank { rank, source }
}
