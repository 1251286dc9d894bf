//! Two nodes play ping-pong: [`ping_pong`](struct@ping_pong) for latency, [`flood`](struct@flood) for bandwidth.

use doca_dpa_dev::prelude::*;

/// Where a node's bytes are, and where the peer's.
#[derive(Arg)]
pub struct Court<'t> {
    /// What is sent: the memory map over `out`.
    sent: LocalMemory,
    /// The peer's inbox.
    peer: RemoteMemory,
    /// The peer's event, which tells it that the ball is there.
    signal: RemoteEvent,
    /// This node's event, which the peer signals.
    arrived: DevEvent<'t>,
    /// What is sent.
    out: DevSliceMut<'t, u64>,
    /// What the peer writes.
    inbox: DevSlice<'t, u64>,
}

/// How a game is played.
#[derive(Clone, Copy, Debug, Pod)]
pub struct Game {
    /// Rounds of all games before: the event goes on from there.
    pub before: u64,
    /// Rounds.
    pub rounds: u64,
    /// Words of the ball.
    pub words: u64,
    /// 1: this node serves.
    pub serves: u64,
}

/// The word at `index` of the ball of this round, as the node that serves (or the other) sends it.
fn word(round: u64, index: u64, served: bool) -> u64 {
    let side = if served { 0x5eed } else { 0xba11 };
    (round << 32 | side << 16).wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What a kernel found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod)]
pub struct Score {
    /// Rounds whose ball arrived as it was sent.
    pub good: u64,
    /// Rounds whose ball did not.
    pub bad: u64,
    /// 1: the peer was lost on the way. 2: the queue took no more.
    pub lost: u64,
    /// Nanoseconds that the whole took.
    pub nanos: u64,
}

/// Throws the ball to and fro: a write into the peer's memory, and a signal that it is there. Each ball is compared word
/// by word with what it should be. `times` gets the nanoseconds of each round.
#[dpa_kernel]
pub fn ping_pong(
    thread: &Thread,
    rdma: Rdma,
    court: Court<'_>,
    game: Game,
    times: DevSliceMut<u64>,
    score: DevSliceMut<Score>,
) {
    let peer = rdma.connection(0);
    let serves = game.serves == 1;
    let begin = thread.time();
    let mut result = Score {
        good: 0,
        bad: 0,
        lost: 0,
        nanos: 0,
    };
    let mut last = begin;
    for round in game.before..game.before + game.rounds {
        if serves && !throw(&peer, &court, game.words, round, serves) {
            result.lost = 2;
            break;
        }
        if court.arrived.wait(Condition::ge(round + 1)).is_err() {
            result.lost = 1;
            break;
        }
        if is_ball(&court.inbox, game.words, round, !serves) {
            result.good += 1;
        } else {
            result.bad += 1;
        }
        if !serves && !throw(&peer, &court, game.words, round, serves) {
            result.lost = 2;
            break;
        }
        let now = thread.time();
        if let Some(slot) = usize::try_from(round - game.before)
            .ok()
            .filter(|s| *s < times.len())
        {
            times.write(slot, (now - last).as_nanos() as u64);
        }
        last = now;
    }
    result.nanos = (last - begin).as_nanos() as u64;
    score.write(0, result);
}

/// Writes the ball to the peer, and behind it the signal: whoever sees the signal sees all of the ball.
fn throw(peer: &Connection, court: &Court, words: u64, round: u64, served: bool) -> bool {
    for index in 0..words {
        court.out.write(index as usize, word(round, index, served));
    }
    let bytes = (words * 8) as u32;
    let quiet = PostFlags::OPTIMIZE_REPORTS;
    peer.write(court.sent.at(0, bytes), court.peer.at(0, bytes), quiet)
        .and_then(|_| peer.signal_set(court.signal, round + 1, quiet | PostFlags::FLUSH))
        .is_ok()
}

/// Whether the inbox holds the ball of this round.
fn is_ball(inbox: &DevSlice<u64>, words: u64, round: u64, served: bool) -> bool {
    (0..words).all(|index| inbox.read(index as usize) == word(round, index, served))
}

/// What [`flood`](struct@flood) writes.
#[derive(Clone, Copy, Debug, Pod)]
pub struct Stream {
    /// Bytes of each write.
    pub bytes: u64,
    /// How many writes.
    pub times: u64,
}

/// Writes the same bytes into the peer's memory `times` times, as fast as they are acknowledged, and tells how long it
/// took. At most `ahead` writes are on their way at a time.
#[dpa_kernel]
pub fn flood(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    sent: LocalMemory,
    to: RemoteMemory,
    stream: Stream,
    score: DevSliceMut<Score>,
) {
    let Stream { bytes, times } = stream;
    const AHEAD: u64 = 16;
    let peer = rdma.connection(0);
    let begin = thread.time();
    let (mut posted, mut over) = (0, 0);
    let mut lost = 0;
    while over < times && lost == 0 {
        while posted < times && posted - over < AHEAD {
            let (from, to) = (sent.at(0, bytes as u32), to.at(0, bytes as u32));
            if peer.write(from, to, PostFlags::FLUSH).is_err() {
                break;
            }
            posted += 1;
        }
        match done.wait() {
            Ok(completion) if completion.result().is_ok() => over += 1,
            _ => lost = 1,
        }
    }
    let nanos = (thread.time() - begin).as_nanos() as u64;
    let result = Score {
        good: over,
        bad: 0,
        lost,
        nanos,
    };
    score.write(0, result);
}
