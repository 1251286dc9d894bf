//! A bounded queue between kernels and a sink of the host.
//!
//! Sinks are foreign code: they may be slow, block for ever, fail or panic. So they run on a thread of their own, one
//! for each channel, and never on a worker. Under the seeded driver they run on its only thread, between two steps.
//!
//! Rules:
//! 1. Items are numbered in the order in which they are put in, under the lock of `state`; they are handed to the sink
//!    in that order. What is queued never costs more than `limit`.
//! 2. Items below `due` are to be handed over. Outside of batches that is every item; in batches, those of the batches
//!    that are full or flushed.
//! 3. The sink is called without the lock of `state`, by whoever holds the lock of `outlet`. Items stay in the queue
//!    until their turn, so that a sink that does not return holds one item and no more.
//! 4. Items below `done` are settled: the sink has them (flushed), or they are counted in `lost`.
//! 5. An item that is lost leaves a gap. The number of items in a gap is told with the next item behind it, or, if
//!    there is none, when the channel is flushed or closed.
//! 6. A producer waits for the sink for `patience` at most, and not at all while another has waited that long in vain. It waits a
//!    little at a time, and may do something else between.
//! 7. Without a thread (the system gives none) items stay queued, within the limit, and nobody waits for them; the next item, flush or
//!    close asks for a thread again. If there is none when the channel is closed, they are lost.
//! 8. A channel that is closed lingers as long as it has a thread (`lingering.rs`).

mod flushed;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::foreign::{discard, let_go};
use crate::wakers::{Until, Wakers};

use super::delivery::{Delivery, FlushError, Overflow, SinkError};
use super::lingering::Lingering;
use flushed::{flushed, unserved};

pub(crate) use flushed::Flushed;

/// Something that can stand in a channel.
pub(crate) trait Item: Send + 'static {
    /// What it takes of the limit.
    fn cost(&self) -> usize;
}

/// Where the items of a channel go.
pub(crate) trait Outlet<T>: Send {
    /// Takes an item; so many were lost before it.
    fn put(&mut self, item: &T, lost: u64) -> io::Result<()>;
    /// So many were lost at the end.
    fn lost(&mut self, lost: u64) -> io::Result<()>;
    /// Passes on what it holds back.
    fn flush(&mut self) -> io::Result<()>;
}

/// The figures of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub name: String,
    pub delivery: Delivery,
    pub overflow: Overflow,
    /// Room for one batch, and for everything outside of batches.
    pub room: usize,
    pub patience: Duration,
    /// Whether the seeded driver calls the sink.
    pub seeded: bool,
    /// Where it counts when it is closed.
    pub lingering: Arc<Lingering>,
}

/// A bounded queue with a sink behind it.
pub(crate) struct Channel<T> {
    figures: Figures,
    state: Mutex<State<T>>,
    arrived: Condvar,
    settled: Condvar,
    outlet: Mutex<Option<Box<dyn Outlet<T>>>>,
    scheduled: AtomicBool,
}

struct Queued<T> {
    number: u64,
    lost_before: u64,
    item: T,
}

struct State<T> {
    queue: VecDeque<Queued<T>>,
    used: usize,
    /// Of them, in the batch that is being filled.
    fresh: usize,
    next: u64,
    due: u64,
    done: u64,
    /// Lost behind the last item of the queue.
    gap: u64,
    tell_gap: bool,
    lost: u64,
    stalled: bool,
    closed: bool,
    has_thread: bool,
    /// It counts as one that lingers.
    lingers: bool,
    /// It was to have one, and the system gave none.
    lacks_thread: bool,
    error: Option<SinkError>,
    wakers: Wakers,
}

impl<T> std::fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("figures", &self.figures)
            .finish_non_exhaustive()
    }
}

impl<T: Item> State<T> {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            used: 0,
            fresh: 0,
            next: 0,
            due: 0,
            done: 0,
            gap: 0,
            tell_gap: false,
            lost: 0,
            stalled: false,
            closed: false,
            has_thread: false,
            lingers: false,
            lacks_thread: false,
            error: None,
            wakers: Wakers::default(),
        }
    }

    fn make_due(&mut self) {
        self.due = self.next;
        self.fresh = 0;
    }

    /// Loses an item, and what was lost before it: a gap before the first of the queue.
    fn lose_first(&mut self, lost_before: u64) {
        self.lost += 1;
        match self.queue.front_mut() {
            Some(first) => first.lost_before += lost_before + 1,
            None => self.gap += lost_before + 1,
        }
    }

    /// Makes room by the rule for overflows; whether there is enough now.
    fn make_room(&mut self, cost: usize, limit: usize, overflow: Overflow) -> bool {
        while self.used + cost > limit {
            if overflow == Overflow::DropNewest || cost > limit {
                self.lost += 1;
                self.gap += 1;
                return false;
            }
            let Some(first) = self.queue.pop_front() else {
                break;
            };
            self.used -= first.item.cost();
            self.lose_first(first.lost_before);
        }
        true
    }

    fn append(&mut self, item: T) -> u64 {
        let cost = item.cost();
        self.used += cost;
        self.fresh += cost;
        self.queue.push_back(Queued {
            number: self.next,
            lost_before: std::mem::take(&mut self.gap),
            item,
        });
        self.next += 1;
        self.next
    }

    fn has_due(&self) -> bool {
        self.due > self.done || self.has_gap_to_tell()
    }

    fn has_gap_to_tell(&self) -> bool {
        self.tell_gap && self.gap > 0 && self.queue.is_empty()
    }

    fn is_settled(&self, number: u64) -> bool {
        self.done >= number && !self.has_gap_to_tell()
    }

    fn take_below(&mut self, due: u64) -> Option<Queued<T>> {
        let first = self.queue.pop_front_if(|first| first.number < due)?;
        self.used -= first.item.cost();
        Some(first)
    }

    /// There will be no thread: all is lost, and nobody is told of it by the sink.
    fn lose_all(&mut self) {
        self.lost += self.queue.len() as u64;
        self.queue.clear();
        self.used = 0;
        self.gap = 0;
        self.tell_gap = false;
        self.done = self.due;
    }

    fn take_gap(&mut self) -> u64 {
        if self.tell_gap && self.queue.is_empty() {
            self.tell_gap = false;
            return std::mem::take(&mut self.gap);
        }
        0
    }
}

impl<T: Item> Channel<T> {
    pub fn new(figures: Figures, outlet: Box<dyn Outlet<T>>) -> Arc<Self> {
        Arc::new(Self {
            figures,
            state: Mutex::new(State::new()),
            arrived: Condvar::new(),
            settled: Condvar::new(),
            outlet: Mutex::new(Some(outlet)),
            scheduled: AtomicBool::new(false),
        })
    }

    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// How many items were lost so far.
    pub fn lost(&self) -> u64 {
        self.state.lock().lost
    }

    /// The most that may be queued: in batches, one that is full beside one that is being filled.
    fn limit(&self) -> usize {
        match self.figures.delivery {
            Delivery::Batch => 2 * self.figures.room,
            _ => self.figures.room,
        }
    }

    /// Puts an item in; the count below which `done` must come for it to be settled, or nothing if it was lost or the
    /// channel is closed. Never waits.
    pub fn push(self: &Arc<Self>, item: T) -> Option<u64> {
        let mut state = self.state.lock();
        if state.closed {
            state.lost += 1;
            return None;
        }
        let (cost, room) = (item.cost(), self.figures.room);
        let batches = self.figures.delivery == Delivery::Batch;
        if batches && state.fresh + cost > room {
            state.make_due();
        }
        let number = state
            .make_room(cost, self.limit(), self.figures.overflow)
            .then(|| state.append(item));
        if !batches || state.fresh >= room {
            state.make_due();
        }
        self.kick(&mut state);
        number
    }

    /// Whether something waits to be handed over. For the seeded driver.
    pub fn is_due(&self) -> bool {
        self.state.lock().has_due()
    }

    /// Whether the caller is to see to it that the channel is woken. For the seeded driver.
    pub fn schedule(&self) -> bool {
        self.is_due() && !self.scheduled.swap(true, Ordering::Relaxed)
    }

    /// Waits until everything below `number` is settled (rule 6), for `most` at a time; false if it is to be called again. The
    /// producer waits `since` then.
    pub fn wait_for(&self, number: u64, since: Instant, most: Duration) -> bool {
        let deadline = since + self.figures.patience;
        let until = deadline.min(Instant::now() + most);
        let mut state = self.state.lock();
        while state.done < number && !state.stalled && !state.lacks_thread {
            if self.settled.wait_until(&mut state, until).timed_out() {
                let waits = state.done < number;
                state.stalled |= waits && until == deadline;
                return !waits || state.stalled;
            }
        }
        true
    }

    /// Makes everything due; the count to wait for.
    pub fn begin_flush(self: &Arc<Self>) -> u64 {
        let mut state = self.state.lock();
        state.make_due();
        state.tell_gap = true;
        self.kick(&mut state);
        state.due
    }

    /// Makes everything due; until it is settled, and how it went.
    pub fn flushed(self: &Arc<Self>) -> Until<Flushed<T>> {
        self.until_settled(true)
    }

    /// Makes everything due; until it is settled. How it went is told to who flushes next.
    pub fn settled(self: &Arc<Self>) -> Until<Flushed<T>> {
        self.until_settled(false)
    }

    fn until_settled(self: &Arc<Self>, tells: bool) -> Until<Flushed<T>> {
        let number = self.begin_flush();
        if self.figures.seeded {
            self.drain();
        }
        let channel = self.clone();
        Until::new(Flushed {
            channel,
            number,
            tells,
        })
    }

    /// Hands everything over, and waits for the sink as long as the channel's patience lasts.
    pub fn flush(self: &Arc<Self>) -> Result<(), FlushError> {
        let number = self.begin_flush();
        if self.figures.seeded {
            self.drain();
        }
        let waited = self.figures.patience;
        let deadline = Instant::now() + waited;
        let mut state = self.state.lock();
        while !state.is_settled(number) {
            if state.lacks_thread {
                return unserved(&mut state);
            }
            let up =
                self.figures.seeded || self.settled.wait_until(&mut state, deadline).timed_out();
            if up && !state.is_settled(number) {
                let left = state.queue.len();
                return Err(FlushError::TimedOut { waited, left });
            }
        }
        flushed(&mut state)
    }

    /// Takes no more. What is queued is still handed over, by the thread; nothing is waited for. Without a thread it is lost.
    pub fn close(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.closed = true;
        state.tell_gap = true;
        state.make_due();
        self.kick(&mut state);
        self.count_in(&mut state);
        if state.lacks_thread {
            state.lose_all();
        }
        let woken = state.lacks_thread.then(|| state.wakers.take());
        self.settled.notify_all();
        drop(state);
        if let Some(woken) = woken {
            woken.wake();
        }
        if self.figures.seeded {
            self.drain();
        }
    }

    /// Starts the thread, if there is none yet.
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        self.start_in(&mut self.state.lock())
    }

    fn start_in(self: &Arc<Self>, state: &mut MutexGuard<'_, State<T>>) -> io::Result<()> {
        if state.has_thread || self.figures.seeded {
            return Ok(());
        }
        let channel = self.clone();
        // The system takes no zero byte in the name of a thread.
        let name = self.figures.name.replace('\0', "");
        let started = std::thread::Builder::new()
            .name(name)
            .spawn(move || channel.serve());
        state.has_thread = started.is_ok();
        state.lacks_thread = started.is_err();
        self.count_in(state);
        started.map(drop)
    }

    /// It lingers, if it is closed and has a thread (rule 8). Before the thread sees that it is closed.
    fn count_in(&self, state: &mut State<T>) {
        if state.closed && state.has_thread && !state.lingers {
            state.lingers = true;
            self.figures.lingering.begin();
        }
    }

    /// Has what is due handed over (rule 7).
    fn kick(self: &Arc<Self>, state: &mut MutexGuard<'_, State<T>>) {
        let ends = state.closed && state.has_thread;
        if !(state.has_due() || ends) {
            return;
        }
        match self.start_in(state) {
            Ok(()) => _ = self.arrived.notify_one(),
            Err(error) => _ = state.error.get_or_insert(SinkError::Thread(error)),
        }
    }

    /// The thread.
    fn serve(&self) {
        let mut outlet = self.outlet.lock();
        loop {
            while self.round(&mut outlet) {}
            let mut state = self.state.lock();
            if state.has_due() {
                continue;
            }
            if state.closed {
                break;
            }
            self.arrived.wait(&mut state);
        }
        let last = outlet.take();
        let_go("a stream", || drop(last));
        self.figures.lingering.end();
    }

    /// Hands over what is due, on the calling thread. For the seeded driver. A sink that comes back here by itself finds
    /// the outlet taken: what it sent is handed over when it has returned. As with a thread, the outlet goes with the last of a closed
    /// channel.
    pub fn drain(&self) {
        if let Some(mut outlet) = self.outlet.try_lock() {
            while self.round(&mut outlet) {}
            let last = outlet.take_if(|_| self.state.lock().closed);
            let_go("a stream", || drop(last));
        }
    }

    /// Hands over what is due now (in sync: one item); false if there is nothing.
    fn round(&self, outlet: &mut Option<Box<dyn Outlet<T>>>) -> bool {
        let Some(upto) = self.begin_round() else {
            return false;
        };
        while let Some(queued) = self.take_below(upto) {
            let result = call(outlet, |outlet| {
                outlet.put(&queued.item, queued.lost_before)
            });
            self.after_put(&queued, result);
        }
        let gap = self.state.lock().take_gap();
        if gap > 0 {
            let told = call(outlet, |outlet| outlet.lost(gap));
            self.note_error(told);
        }
        let result = call(outlet, |outlet| outlet.flush());
        self.note_error(result);
        self.end_round(upto);
        true
    }

    fn begin_round(&self) -> Option<u64> {
        let state = self.state.lock();
        if !state.has_due() {
            return None;
        }
        let one = match (self.figures.delivery, state.queue.front()) {
            (Delivery::Sync, Some(first)) => first.number + 1,
            _ => state.due,
        };
        Some(one.min(state.due))
    }

    fn take_below(&self, upto: u64) -> Option<Queued<T>> {
        self.state.lock().take_below(upto)
    }

    fn after_put(&self, queued: &Queued<T>, result: Result<(), SinkError>) {
        let mut state = self.state.lock();
        state.stalled = false;
        if let Err(error) = result {
            state.lose_first(queued.lost_before);
            state.error.get_or_insert(error);
        }
    }

    fn note_error(&self, result: Result<(), SinkError>) {
        if let Err(error) = result {
            self.state.lock().error.get_or_insert(error);
        }
    }

    fn end_round(&self, upto: u64) {
        let mut state = self.state.lock();
        state.done = state.done.max(upto);
        let woken = state.wakers.take();
        self.settled.notify_all();
        drop(state);
        woken.wake();
    }
}

/// Calls the sink. One that panics is dropped.
fn call<T>(
    outlet: &mut Option<Box<dyn Outlet<T>>>,
    what: impl FnOnce(&mut Box<dyn Outlet<T>>) -> io::Result<()>,
) -> Result<(), SinkError> {
    let Some(sink) = outlet else {
        return Err(SinkError::Panicked);
    };
    match catch_unwind(AssertUnwindSafe(|| what(sink))) {
        Ok(result) => return Ok(result?),
        Err(payload) => discard(payload),
    }
    let broken = outlet.take();
    let_go("a stream", || drop(broken));
    Err(SinkError::Panicked)
}

/// A timer of the seeded driver.
impl<T: Item> Wake for Channel<T> {
    fn wake(self: Arc<Self>) {
        self.scheduled.store(false, Ordering::Relaxed);
        self.drain();
    }
}

#[cfg(test)]
mod tests;
