//! The client: requests under way, each response compared with what must be stored.

use doca_dpa_dev::prelude::*;

use super::protocol::{
    DEPTH, HEADER_WORDS, MESSAGE, MESSAGE_WORDS, Op, Request, Response, Status, words_of,
};

/// Receives of the client: each response takes one.
pub const RECEIVES: u32 = 2 * DEPTH;

/// Deletes each key once, whether it is there or not.
pub const SWEEP: u64 = 0;
/// Puts each key once.
pub const FILL: u64 = 1;
/// Gets, and of the rest three puts for one delete, of keys at random.
pub const MIXED: u64 = 2;
/// Gets each key once.
pub const ALL: u64 = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, Pod)]
pub struct Drill {
    /// [`SWEEP`], [`FILL`], [`MIXED`] or [`ALL`].
    pub kind: u64,
    /// Requests before, of all drills.
    pub before: u64,
    /// Requests.
    pub count: u64,
    /// Requests under way at most.
    pub ahead: u64,
    /// Keys, from 0 on, within those of the session.
    pub keys: u64,
    /// Bytes of a value.
    pub value: u64,
    /// How many of a hundred mixed requests are gets.
    pub gets: u64,
    /// The session that the server gave.
    pub session: u64,
    /// Nanoseconds after which no more requests are begun.
    pub time: u64,
    /// Nanoseconds that a response may take.
    pub patience: u64,
}

/// Why a drill was broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Trouble {
    /// It was not.
    None = 0,
    /// The connection has failed.
    Lost = 1,
    /// No response in time.
    Late = 2,
    /// A response that is not right.
    Wrong = 3,
    /// A queue took no more, though there was room.
    Refused = 4,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod)]
pub struct Report {
    /// Requests whose response was right.
    pub good: u64,
    /// Of them, gets that found a value.
    pub hits: u64,
    /// Of them, puts that found the store full.
    pub full: u64,
    /// A [`Trouble`].
    pub trouble: u64,
    /// The number of the request whose response was not right.
    pub wrong: u64,
    /// Nanoseconds that the whole took.
    pub nanos: u64,
}

/// What a client works with.
#[derive(Arg, Clone, Copy)]
pub struct Lane<'t> {
    /// The memory map over `outbox`.
    requests: LocalMemory,
    /// Requests, [`DEPTH`] places. A place is used again when the response is there.
    outbox: DevSliceMut<'t, u64>,
    /// The memory map over `ring`.
    responses: LocalMemory,
    /// What the server writes.
    ring: DevSlice<'t, u64>,
    /// Of each key, which request has put its value, + 1; 0: it is not there.
    stored: DevSliceMut<'t, u64>,
    /// When each request under way was sent.
    sent: DevSliceMut<'t, u64>,
    /// Nanoseconds that each response took.
    times: DevSliceMut<'t, u32>,
    /// One.
    report: DevSliceMut<'t, Report>,
}

fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let n = (n ^ (n >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ (n >> 33)
}

/// The word at `index` of the value that this request puts.
fn word(session: u64, request: u64, index: usize) -> u64 {
    mixed((session << 40) ^ (request << 6) ^ index as u64)
}

impl Drill {
    /// What the request with this number asks for, and of which key.
    fn choose(&self, request: u64) -> (Op, u64) {
        let in_turn = (request - self.before) % self.keys;
        let dice = mixed(request ^ (self.session << 32));
        let key = (dice >> 32) % self.keys;
        match self.kind {
            SWEEP => (Op::Delete, in_turn),
            FILL => (Op::Put, in_turn),
            ALL => (Op::Get, in_turn),
            _ if dice % 100 < self.gets => (Op::Get, key),
            _ if (dice >> 8) % 4 < 3 => (Op::Put, key),
            _ => (Op::Delete, key),
        }
    }

    /// Keys of sessions differ; of 4,096 sessions in a row.
    fn key(&self, key: u64) -> u32 {
        ((self.session << 20) | key) as u32
    }
}

/// Sends `drill.count` requests, and checks each response.
#[dpa_kernel]
pub fn drive(thread: &Thread, rdma: Rdma, done: Completions, drill: Drill, lane: Lane<'_>) {
    let client = Driver {
        thread,
        server: rdma.connection(0),
        rdma,
        done,
        drill,
        lane,
    };
    let begin = thread.time();
    let mut report = Report::default();
    let broken_off = client.run(&mut report);
    report.trouble = broken_off.err().unwrap_or(Trouble::None) as u64;
    report.nanos = (thread.time() - begin).as_nanos() as u64;
    lane.report.write(0, report);
}

struct Driver<'a, 't> {
    thread: &'a Thread<'t>,
    server: Connection<'t>,
    rdma: Rdma<'t>,
    done: Completions<'t>,
    drill: Drill,
    lane: Lane<'t>,
}

impl Driver<'_, '_> {
    fn run(&self, report: &mut Report) -> Result<(), Trouble> {
        if self.drill.before == 0 {
            (0..RECEIVES).try_for_each(|_| self.receive())?;
        }
        let Drill { before, ahead, .. } = self.drill;
        let until = self.now().saturating_add(self.drill.time);
        let (mut sent, mut over, mut end) = (0, 0, self.drill.count);
        while over < end {
            let now = self.now();
            if now >= until {
                end = sent;
            }
            if over == end {
                break;
            }
            if sent < end && sent - over < ahead {
                while sent < end && sent - over < ahead {
                    self.send(before + sent, now)?;
                    sent += 1;
                }
                self.server.flush();
            }
            over += self.take_responses(before + over, before + sent, report)?;
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        self.thread.time().as_nanos() as u64
    }

    fn place(request: u64) -> usize {
        (request % u64::from(DEPTH)) as usize
    }

    fn receive(&self) -> Result<(), Trouble> {
        let posted = self.rdma.post_receive(self.lane.responses.at(0, 8));
        posted.map(|_| ()).map_err(|_| Trouble::Refused)
    }

    fn send(&self, request: u64, now: u64) -> Result<(), Trouble> {
        let (op, key) = self.drill.choose(request);
        let len = if op == Op::Put {
            self.drill.value as u32
        } else {
            0
        };
        let head = Request {
            op,
            len,
            number: request as u32,
            key: self.drill.key(key),
            session: self.drill.session as u32,
        };
        let place = Self::place(request);
        let out = self.lane.outbox.part(place * MESSAGE_WORDS, MESSAGE_WORDS);
        out.write_from(0, &head.encode());
        for index in 0..words_of(len) {
            out.write(
                HEADER_WORDS + index,
                word(self.drill.session, request, index),
            );
        }
        let bytes = ((HEADER_WORDS + words_of(len)) * 8) as u32;
        let from = self
            .lane
            .requests
            .at((place as u32 * MESSAGE).into(), bytes);
        let sent = self.server.send(from, PostFlags::OPTIMIZE_REPORTS);
        self.lane.sent.write(place, now);
        sent.map(|_| ()).map_err(|_| Trouble::Refused)
    }

    /// Takes all responses that are there, at least one; how many. They come in the order of the requests.
    fn take_responses(&self, from: u64, to: u64, report: &mut Report) -> Result<u64, Trouble> {
        let mut next = Some(self.wait()?);
        let mut request = from;
        let now = self.now();
        while let Some(completion) = next {
            if completion.result().is_err() {
                return Err(Trouble::Lost);
            }
            let place = Self::place(request);
            if request == to || completion.immediate() != Some(place as u32) {
                report.wrong = request;
                return Err(Trouble::Wrong);
            }
            self.rdma.receive_ack(1);
            self.receive()?;
            if self.check(request, report).is_none() {
                report.wrong = request;
                return Err(Trouble::Wrong);
            }
            let took = now.saturating_sub(self.lane.sent.read(place));
            let at = (request - self.drill.before) as usize;
            if at < self.lane.times.len() {
                self.lane.times.write(at, took.min(u32::MAX.into()) as u32);
            }
            request += 1;
            next = self.done.poll().map_err(|_| Trouble::Lost)?;
        }
        Ok(request - from)
    }

    /// The next completion: looks for a while, then sleeps.
    fn wait(&self) -> Result<Completion, Trouble> {
        const LOOKS: u32 = 200;
        for _ in 0..LOOKS {
            if let Some(completion) = self.done.poll().map_err(|_| Trouble::Lost)? {
                return Ok(completion);
            }
        }
        let until = self.now().saturating_add(self.drill.patience);
        loop {
            match self.done.wait_timeout(Duration::from_millis(50)) {
                Ok(completion) => return Ok(completion),
                Err(CompletionError::TimedOut) if self.now() < until => {}
                Err(CompletionError::TimedOut) => return Err(Trouble::Late),
                Err(_) => return Err(Trouble::Lost),
            }
            if self.server.state() == ConnectionState::Failed {
                return Err(Trouble::Lost);
            }
        }
    }

    /// Compares a response with what must be stored, and notes what is stored now. Requests of one client are carried out in
    /// their order, so what was noted before is what was stored then.
    fn check(&self, request: u64, report: &mut Report) -> Option<()> {
        let (op, key) = self.drill.choose(request);
        let base = Self::place(request) * MESSAGE_WORDS;
        let message = self.lane.ring.part(base, MESSAGE_WORDS);
        let head = Response::decode([message.read(0), message.read(1)])?;
        let ours = head.number == request as u32
            && head.key == self.drill.key(key)
            && u64::from(head.session) == self.drill.session;
        let stored = self.lane.stored.read(key as usize);
        let there = if stored == 0 {
            Status::NotFound
        } else {
            Status::Done
        };
        let right = match (op, head.status) {
            (Op::Get, Status::Done) => stored != 0 && self.is_value(&message, &head, stored - 1),
            (Op::Get, status) => status == there,
            (Op::Put, Status::Full) => stored == 0,
            (Op::Put, status) => status == Status::Done,
            (Op::Delete, Status::Done | Status::NotFound) if self.drill.kind == SWEEP => true,
            (Op::Delete, status) => status == there,
        };
        match (op, head.status) {
            (Op::Put, Status::Done) => self.lane.stored.write(key as usize, request + 1),
            (Op::Put, _) => report.full += 1,
            (Op::Delete, _) => self.lane.stored.write(key as usize, 0),
            (Op::Get, status) => report.hits += u64::from(status == Status::Done),
        }
        report.good += u64::from(ours && right);
        (ours && right).then_some(())
    }

    fn is_value(&self, message: &DevSlice<u64>, head: &Response, put: u64) -> bool {
        u64::from(head.len) == self.drill.value
            && (0..words_of(head.len)).all(|index| {
                message.read(HEADER_WORDS + index) == word(self.drill.session, put, index)
            })
    }
}
