//! How launches enter a process and how they leave it.

mod held;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use dpa_abi::{Condition, EventHandle, Update};
use sync_event::{CloseReason, NotPublisher, NotSubscriber};
use thiserror::Error;

use crate::fiber::Switch;
use crate::foreign::on_own_stack;
use crate::gate::{self, Gate, Parking};
use crate::launch::{ArgBytes, Body, Extra, Gang, Keep, Launch, Outcome, Parts};
use crate::mishaps::HostQueue;
use crate::process::{Process, Wakers};
use crate::stream::{Joined, Stream};
use crate::unfinished::Left;
use held::{Gone, Slots};

/// A launch as the host asks for it.
#[derive(Debug)]
pub struct Spec {
    /// What it does.
    pub body: Body,
    /// Its packed arguments.
    pub args: ArgBytes,
    /// Its threads.
    pub threads: u32,
    /// The condition it waits for.
    pub wait: Option<(EventHandle, Condition)>,
    /// The update it makes when it has completed.
    pub then: Option<(EventHandle, Update)>,
    /// What must stay alive until it is over.
    pub keep: Option<Box<dyn Keep>>,
    /// The stream it belongs to.
    pub stream: Option<Arc<Stream>>,
    /// Its place in the order of submission, if it was given one before.
    pub seq: Option<u64>,
}

impl Spec {
    /// A launch of one thread that waits for nothing.
    pub fn new(body: Body, args: ArgBytes) -> Self {
        Self {
            body,
            args,
            threads: 1,
            wait: None,
            then: None,
            keep: None,
            stream: None,
            seq: None,
        }
    }
}

/// Why a launch was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The queue of the process is full.
    #[error("the queue is full: {limit} launches are unfinished")]
    QueueFull {
        /// How many there may be.
        limit: usize,
    },
    /// The number of threads is out of range.
    #[error("{asked} threads asked, allowed are 1 to {max}")]
    Threads {
        /// What was asked for.
        asked: u32,
        /// The most there may be.
        max: u32,
    },
    /// The arguments are not as many bytes as the kernel takes.
    #[error("{given} bytes of arguments were given, the kernel takes {takes}")]
    Arguments {
        /// How many were given.
        given: usize,
        /// How many it takes.
        takes: usize,
    },
    /// The event to wait for is not one of this process (any more).
    #[error("the event to wait for is not one of this context, or is gone")]
    NoWaitEvent,
    /// The event to update is not one of this process (any more).
    #[error("the event to update is not one of this context, or is gone")]
    NoThenEvent,
    /// A launch waits on the device, which is not a subscriber of the event.
    #[error("the event to wait for: {0}")]
    NotSubscriber(#[from] NotSubscriber),
    /// A completion update is made by the device, which is not a publisher of the event.
    #[error("the event to update: {0}")]
    NotPublisher(#[from] NotPublisher),
    /// The stream's earlier launches did not complete.
    #[error("the stream is broken: a launch before this one did not complete")]
    StreamBroken,
    /// The process is fatal.
    #[error("the process is fatal")]
    Faulted,
    /// The process is closed, or closing.
    #[error("the context is closed")]
    Closed,
}

impl Process {
    /// Accepts a launch, or hands it back.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing has happened then.
    #[expect(
        clippy::result_large_err,
        reason = "the refused launch goes back to the caller, whole"
    )]
    pub fn submit(self: &Arc<Self>, spec: Spec) -> Result<Arc<Launch>, (SubmitError, Spec)> {
        let slots = match self.check(&spec) {
            Ok(slots) => slots,
            Err(error) => return Err((error, spec)),
        };
        if let Err(error) = self
            .take_room()
            .and_then(|()| self.take_events(&spec, slots))
        {
            return Err((error, spec));
        }
        let (place, wait, stream) = (spec.seq, spec.wait, spec.stream.clone());
        let seq = place.unwrap_or_else(|| self.device.next_seq());
        let launch = self.device.pool.fill(self.make(spec, seq));
        self.note_submitted(&launch, wait);
        match stream
            .as_ref()
            .map_or(Joined::Go, |stream| stream.join(&launch))
        {
            Joined::Go => {
                if self.begin(launch.clone(), wait).is_err() {
                    let spec = self.unmake(launch, wait, place);
                    return Err((SubmitError::NoWaitEvent, spec));
                }
            }
            Joined::Waits => {}
            Joined::Broken => self.take_back(&launch, Outcome::Cancelled),
        }
        // A stop that came meanwhile may have looked through streams and queues before this launch was there.
        if self.is_stopped() {
            self.take_back(&launch, self.stop_outcome());
        }
        Ok(launch)
    }

    /// A new stream. It is broken off with the process.
    pub fn stream(&self) -> Arc<Stream> {
        self.streams.add()
    }

    /// A place in the order of submission.
    pub fn reserve_seq(&self) -> u64 {
        self.device.next_seq()
    }

    /// How launches end that a stop prevents from starting.
    pub(crate) fn stop_outcome(&self) -> Outcome {
        if self.fault().is_some() {
            Outcome::Faulted
        } else {
            Outcome::ContextClosed
        }
    }

    /// Why events are closed that a stop closes.
    pub(crate) fn stop_reason(&self) -> CloseReason {
        match self.fault() {
            Some(_) => CloseReason::Faulted,
            None => CloseReason::ContextClosed,
        }
    }

    fn check(&self, spec: &Spec) -> Result<Slots<'_>, SubmitError> {
        if self.fault().is_some() {
            return Err(SubmitError::Faulted);
        }
        if self.closing.load(Ordering::Acquire) || self.is_stopped() {
            return Err(SubmitError::Closed);
        }
        let max = self.units();
        if spec.threads == 0 || spec.threads > max {
            return Err(SubmitError::Threads {
                asked: spec.threads,
                max,
            });
        }
        let slots = self.events_of(spec)?;
        match &spec.stream {
            Some(stream) if stream.is_broken() => Err(SubmitError::StreamBroken),
            _ => Ok(slots),
        }
    }

    fn take_room(&self) -> Result<(), SubmitError> {
        let limit = self.device.config.max_unfinished;
        if !self.unfinished.take(limit) {
            return Err(SubmitError::QueueFull { limit });
        }
        if self.device.is_full(HostQueue::Launches) {
            self.finished(1, None);
            return Err(SubmitError::QueueFull { limit });
        }
        Ok(())
    }

    /// Polls for room in the queue; those who wait are woken in the order of their places.
    pub fn poll_room(&self, seq: u64, cx: &Context<'_>) -> Poll<()> {
        let limit = self.device.config.max_unfinished;
        let mut wakers = self.wakers.lock();
        let first = wakers.room.front().is_none_or(|&(s, _)| seq <= s);
        let full = self.unfinished.is_full(limit);
        if self.is_stopped() || self.closing.load(Ordering::Acquire) || (first && !full) {
            // What the task owns may be dropped with its waker: without the lock.
            let left = self.leave_line(&mut wakers, seq);
            drop(wakers);
            drop(left);
            return Poll::Ready(());
        }
        let left = self.leave_line(&mut wakers, seq);
        let place = wakers.room.binary_search_by_key(&seq, |&(s, _)| s);
        let at = place.unwrap_or_else(|at| at);
        wakers.room.insert(at, (seq, cx.waker().clone()));
        self.lined_up.store(wakers.room.len(), Ordering::Relaxed);
        drop(wakers);
        drop(left);
        Poll::Pending
    }

    /// Nobody waits for room under this place any more.
    pub fn leave_room(&self, seq: u64) {
        let mut wakers = self.wakers.lock();
        let left = self.leave_line(&mut wakers, seq);
        // The place given up may be the one that was woken: the next gets its chance.
        let next = wakers.room.front().map(|(_, w)| w.clone());
        drop(wakers);
        drop(left);
        next.into_iter().for_each(sync_event::wake);
    }

    /// Whether somebody waits for room, in front of whoever comes now.
    #[inline]
    pub fn has_line(&self) -> bool {
        self.lined_up.load(Ordering::Relaxed) > 0
    }

    /// Takes out who waits under this place.
    fn leave_line(&self, wakers: &mut Wakers, seq: u64) -> Option<Waker> {
        let at = wakers.room.binary_search_by_key(&seq, |&(s, _)| s).ok()?;
        let left = wakers.room.remove(at).map(|(_, waker)| waker);
        self.lined_up.store(wakers.room.len(), Ordering::Relaxed);
        left
    }

    fn make(&self, spec: Spec, seq: u64) -> Launch {
        let gang = (spec.threads > 1).then(|| Gang::new(spec.threads));
        let plain = gang.is_none() && spec.stream.is_none();
        let wait = spec.stream.as_ref().and(spec.wait);
        let extra = (!plain).then(|| {
            Box::new(Extra {
                stream: spec.stream,
                wait,
                gang,
                handler: None,
                queue: None,
            })
        });
        let then = spec.then.map(|(event, update)| (event.0.index, update));
        let parts = Parts {
            body: spec.body,
            args: spec.args,
            threads: spec.threads,
            proc: self.number,
            seq,
            then,
            keep: spec.keep,
        };
        Launch::new(parts, extra)
    }

    /// Parks the launch at its event, or makes it ready. It does neither if the event is gone.
    fn begin(
        self: &Arc<Self>,
        launch: Arc<Launch>,
        wait: Option<(EventHandle, Condition)>,
    ) -> Result<(), Gone> {
        let Some((event, condition)) = wait else {
            self.make_ready(launch);
            self.notify_of_ready();
            return Ok(());
        };
        let (index, slot) = (event.0.index, self.events.slot(event.0.index));
        match gate::park(slot.event, index, &launch, condition, || slot.is(event)) {
            Parking::Done => {}
            Parking::Holds(gate, value) => {
                self.opened(gate, value);
                self.notify_of_ready();
            }
            Parking::Closed(closed) => self.wait_event_closed(&launch, closed),
            Parking::Gone => return Err(Gone),
        }
        Ok(())
    }

    /// A launch that was just submitted is ready. Behind others, who can take them knows already.
    #[inline]
    fn notify_of_ready(&self) {
        self.device.notify();
        if self.unfinished.is_one() {
            self.device.urge_for(self);
        }
    }

    /// Takes a launch back that has not started. True if this call did it.
    pub fn cancel(self: &Arc<Self>, launch: &Arc<Launch>) -> bool {
        let ended = gate::take_back(launch, Outcome::Cancelled, |index| self.events.event(index));
        if ended {
            self.settled(launch, Outcome::Cancelled);
            // If it was ready, those behind it may fit where it did not.
            self.device.notify();
        }
        ended
    }

    /// Cancels what is parked at an event, and what is parked at the events those would have updated, and so on.
    /// How many launches were cancelled.
    pub fn cancel_chain(self: &Arc<Self>, event: EventHandle) -> usize {
        // It is this event's launches that are cancelled, and not those of another in its place.
        let Some(_used) = self.use_of(event) else {
            return 0;
        };
        let mut todo = vec![event.0.index];
        let mut seen = HashSet::from([event.0.index]);
        let mut found = Vec::new();
        while let Some(index) = todo.pop() {
            for launch in self.parked_launches(index) {
                let then = launch.then().map(|(next, _)| next);
                todo.extend(then.filter(|&next| seen.insert(next)));
                found.push(launch);
            }
        }
        // The last first: an event whose last publisher is cancelled ends what waits for it otherwise.
        found
            .iter()
            .rev()
            .filter(|launch| self.cancel(launch))
            .count()
    }

    fn parked_launches(&self, index: u32) -> Vec<Arc<Launch>> {
        let mut launches = Vec::new();
        self.events.event(index).each_gate(|gate| {
            if let Gate::Launch(launch) = gate {
                launches.push(launch.clone());
            }
        });
        launches
    }

    pub(crate) fn take_back(self: &Arc<Self>, launch: &Arc<Launch>, outcome: Outcome) {
        if launch.take_back(outcome) {
            self.never_started(launch, outcome);
        }
    }

    /// A launch has ended that had not started.
    pub(crate) fn never_started(self: &Arc<Self>, launch: &Arc<Launch>, outcome: Outcome) {
        if outcome == Outcome::ContextClosed {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.settled(launch, outcome);
    }

    /// A launch that has run ends. What it kept is let go of and its room is free before it is over, so whoever awaits it finds
    /// that so: nobody else can end it meanwhile, as who takes one back that has not started could.
    pub(crate) fn ended(self: &Arc<Self>, launch: &Arc<Launch>, outcome: Outcome) {
        launch.release_kept();
        let limit = self.device.config.max_unfinished;
        let room = !launch.is_beside() && self.unfinished.leave_room(limit);
        if launch.finish(outcome) {
            self.follow_end(launch, outcome);
            let left = self.unfinished.end_beside();
            self.tell_of(Left { room, ..left }, None);
        }
    }

    /// A launch has ended that had not run: what it kept is let go of, its place in the queue is free.
    pub(crate) fn settled(self: &Arc<Self>, launch: &Arc<Launch>, outcome: Outcome) {
        launch.release_kept();
        self.follow_end(launch, outcome);
        match launch.is_beside() {
            true => self.tell_of(self.unfinished.end_beside(), None),
            false => self.finished(1, None),
        }
    }

    /// What follows the end of a launch, however it ended: its stream goes on or breaks, its events are let go of.
    fn follow_end(self: &Arc<Self>, launch: &Arc<Launch>, outcome: Outcome) {
        self.note_settled(launch, outcome);
        let completed = matches!(
            outcome,
            Outcome::Completed | Outcome::CompletedButEventClosed
        );
        if let Some(extra) = &launch.extra {
            if let Some((event, _)) = extra.wait {
                self.unuse_event(event.0.index, 1);
            }
            if let Some(stream) = &extra.stream {
                self.stream_moves(stream, launch, completed);
            }
            if let Some(handler) = &extra.handler {
                self.activation_ended(handler);
            }
            if let Some(queue) = &extra.queue {
                self.worker_ended(queue);
            }
        }
        if let Some((index, _)) = launch.then() {
            self.let_go_of_event(index, 1, None);
        }
    }

    fn stream_moves(self: &Arc<Self>, stream: &Arc<Stream>, launch: &Arc<Launch>, completed: bool) {
        if completed {
            if let Some(next) = stream.advance() {
                let wait = next.extra.as_ref().and_then(|extra| extra.wait);
                let begun = self.begin(next, wait);
                debug_assert!(begun.is_ok(), "who waits in a stream uses its event");
            }
            return;
        }
        let outcome = if self.is_stopped() {
            self.stop_outcome()
        } else {
            Outcome::Cancelled
        };
        if stream.fail(launch) {
            while let Some(launch) = stream.next_lost() {
                self.take_back(&launch, outcome);
            }
        }
    }

    /// So many launches that the host submitted have ended. `off`: the caller is on the stack of a kernel.
    pub(crate) fn finished(&self, count: usize, off: Option<&Switch>) {
        let limit = self.device.config.max_unfinished;
        self.tell_of(self.unfinished.end(count, limit), off);
    }

    #[inline]
    fn tell_of(&self, left: Left, off: Option<&Switch>) {
        if left.nothing || left.room || self.closing.load(Ordering::Relaxed) {
            on_own_stack(off, || self.tell_hosts(left.nothing));
        }
    }
}

#[cfg(test)]
mod tests;
