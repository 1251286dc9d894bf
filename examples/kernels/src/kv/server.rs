//! The server: a thread that is started by requests.

use doca_dpa_dev::prelude::*;

use super::protocol::{
    self, DEPTH, HEADER_WORDS, MESSAGE, MESSAGE_WORDS, Op, Request, Response, Status, words_of,
};
use super::store::{Store, StoreFull};

/// Receives of a serving thread, which all its clients share.
pub const SERVER_RECEIVES: u32 = 256;

/// A client, as the host lets it in.
#[derive(Clone, Copy, Debug, Default, Pod)]
pub struct Client {
    /// Where its responses go.
    pub ring: RemoteMemory,
    /// What its requests must name. 0: there is no such client.
    pub session: u64,
}

/// What a serving thread has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod)]
pub struct Tally {
    /// 1: the receives have been posted.
    pub open: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Messages of nobody who is a client now.
    pub strangers: u64,
    /// Responses that found no room in the client's queue: it has more under way than it may.
    pub dropped: u64,
}

/// What a serving thread works with.
#[derive(Arg, Clone, Copy)]
pub struct Desk<'t> {
    /// The memory map over `inbox`.
    requests: LocalMemory,
    /// Requests, in places of [`MESSAGE_WORDS`].
    inbox: DevSlice<'t, u64>,
    /// Of each receive, the place that it was posted with.
    places: DevSliceMut<'t, u32>,
    /// The memory map over `outbox`.
    replies: LocalMemory,
    /// Responses, [`DEPTH`] places for each connection. A place is used again when its client uses its number again,
    /// so when it has the response.
    outbox: DevSliceMut<'t, u64>,
    /// By connection.
    clients: DevSlice<'t, Client>,
    /// One.
    tally: DevSliceMut<'t, Tally>,
}

/// Answers all requests that are there, then waits to be started by the next.
#[dpa_kernel]
pub fn serve(thread: &Thread, rdma: Rdma, done: Completions, store: Store<'_>, desk: Desk<'_>) {
    let mut tally = desk.tally.read(0);
    if tally.open == 0 {
        (0..SERVER_RECEIVES).for_each(|place| receive(thread, &rdma, &desk, place));
        tally.open = 1;
    }
    loop {
        answer_all(thread, &rdma, &done, &store, &desk, &mut tally);
        desk.tally.write(0, tally);
        if !done.request_notification() {
            return;
        }
    }
}

fn answer_all(
    thread: &Thread,
    rdma: &Rdma,
    done: &Completions,
    store: &Store,
    desk: &Desk,
    tally: &mut Tally,
) {
    let mut to: Option<(u32, Connection)> = None;
    while let Some(completion) = next(thread, done) {
        // What a client that is gone did not take is reported, too; nothing is to be done about it.
        if !completion.kind().is_receive() {
            continue;
        }
        let place = desk
            .places
            .read((completion.index() as u32 % SERVER_RECEIVES) as usize);
        if completion.result().is_ok() {
            let id = completion.connection();
            let peer = match to {
                Some((same, peer)) if same == id => peer,
                other => {
                    other.inspect(|(_, peer)| peer.flush());
                    rdma.connection(id)
                }
            };
            to = Some((id, peer));
            answer(&peer, store, desk, tally, place, &completion);
        }
        rdma.receive_ack(1);
        receive(thread, rdma, desk, place);
    }
    to.inspect(|(_, peer)| peer.flush());
}

fn next(thread: &Thread, done: &Completions) -> Option<Completion> {
    match done.poll() {
        Ok(completion) => completion,
        Err(_) => thread.error(1),
    }
}

/// Posts a receive with this place.
fn receive(thread: &Thread, rdma: &Rdma, desk: &Desk, place: u32) {
    let buf = desk.requests.at(u64::from(place * MESSAGE), MESSAGE);
    match rdma.post_receive(buf) {
        Ok(number) => desk
            .places
            .write((u32::from(number) % SERVER_RECEIVES) as usize, place),
        Err(_) => thread.error(2),
    }
}

fn answer(
    peer: &Connection,
    store: &Store,
    desk: &Desk,
    tally: &mut Tally,
    place: u32,
    completion: &Completion,
) {
    let message = desk
        .inbox
        .part(place as usize * MESSAGE_WORDS, MESSAGE_WORDS);
    let head = [message.read(0), message.read(1)];
    let client = desk.clients.read(completion.connection() as usize);
    let session = protocol::session(head);
    if session == 0 || client.session != u64::from(session) {
        tally.strangers += 1;
        return;
    }
    let number = protocol::number(head) % DEPTH;
    let ours = completion.connection() * DEPTH + number;
    let out = desk
        .outbox
        .part(ours as usize * MESSAGE_WORDS, MESSAGE_WORDS);
    let value = out.part(HEADER_WORDS, MESSAGE_WORDS - HEADER_WORDS);
    let request = Request::decode(head, completion.len());
    let (status, len) = match request {
        Some(request) => carry_out(store, &request, &message, &value),
        None => (Status::Malformed, 0),
    };
    let response = Response {
        status,
        len,
        number: protocol::number(head),
        key: protocol::key(head),
        session,
    };
    out.write_from(0, &response.encode());
    let bytes = ((HEADER_WORDS + words_of(len)) * 8) as u32;
    let from = desk.replies.at(u64::from(ours * MESSAGE), bytes);
    let to = client.ring.at(u64::from(number * MESSAGE), bytes);
    let posted = peer.write_imm(from, to, number, PostFlags::OPTIMIZE_REPORTS);
    tally.answered += u64::from(posted.is_ok());
    tally.dropped += u64::from(posted.is_err());
}

fn carry_out(
    store: &Store,
    request: &Request,
    message: &DevSlice<u64>,
    value: &DevSliceMut<u64>,
) -> (Status, u32) {
    let found = |there| {
        if there {
            Status::Done
        } else {
            Status::NotFound
        }
    };
    match request.op {
        Op::Get => {
            let len = store.get(request.key, value);
            (found(len.is_some()), len.unwrap_or(0))
        }
        Op::Put => {
            let given = message.part(HEADER_WORDS, words_of(request.len));
            match store.put(request.key, &given, request.len) {
                Ok(()) => (Status::Done, 0),
                Err(StoreFull) => (Status::Full, 0),
            }
        }
        Op::Delete => (found(store.delete(request.key)), 0),
    }
}
