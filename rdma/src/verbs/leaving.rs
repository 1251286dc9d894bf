//! Queue pairs that their owners have dropped, while the device may still have receives for them.
//!
//! A device takes a receive out of a shared queue when a message begins. If the queue pair is destroyed before the device has
//! reported the receive, nobody is told of it, and the pool has one less for good. So in ERR it is kept until the device
//! says that the last one was reported (IBTA volume 1, 10.3.1: "last WQE reached"), or for a bounded time.
//!
//! One whose own work the device has not flushed when its owner goes is destroyed then, receive or not: the device must not touch
//! what that works on. Devices flush within microseconds, so they are given [`QUIET`].

use std::time::{Duration, Instant};

use super::pair::Pair;
use super::raw_pair::RawQueuePair;
use super::{FLUSH, NEVER, VerbsNic};
use crate::psn::Qpn;
use crate::queue_pair::Cause;
use crate::soft::Host;

/// How long the device has for the work of a queue pair whose owner goes, with the NIC locked.
const QUIET: Duration = Duration::from_millis(1);
/// It is polled so often at least: the thread may not run meanwhile.
const POLLS: u32 = 16;

/// One of them. It is in ERR, and its work is over.
#[derive(Debug)]
pub(super) struct Leaving {
    number: Qpn,
    pool: usize,
    /// Which completion queue it uses, and what it takes of that.
    reserved: (usize, u32),
    /// The device has reported its last receive.
    drained: bool,
    until: Duration,
    _raw: RawQueuePair,
}

impl Leaving {
    /// Whether it reports to this completion queue.
    pub(super) fn reports_to(&self, queue: usize) -> bool {
        self.reserved.0 == queue
    }
}

impl VerbsNic {
    /// The owner of a queue pair goes: its work is flushed, if the device does that soon. One without a pool has nothing to lose by
    /// being destroyed.
    pub(super) fn await_flush(&mut self, number: Qpn, host: &mut dyn Host) {
        let Some(slot) = self.index.get(&number).copied() else {
            return;
        };
        if self.pairs[slot].is_idle() || self.pairs[slot].pool.is_none() {
            return;
        }
        self.pairs[slot].fail(Cause::Closed);
        let since = Instant::now();
        let mut polls = 0;
        while !self.pairs[slot].is_flushed() && (polls < POLLS || since.elapsed() < QUIET) {
            self.poll_queues(host);
            polls += 1;
            std::hint::spin_loop();
        }
    }

    /// The owner of a queue pair is gone. It is destroyed, now or soon.
    pub(super) fn leave(&mut self, now: Duration, mut pair: Pair, host: &mut dyn Host) {
        let (number, reserved) = (pair.number, (pair.queue, pair.reserved));
        let Some(pool) = pair.pool else {
            drop(pair);
            self.free(reserved);
            return;
        };
        if let Some(raw) = pair.take_undrained() {
            let until = now + FLUSH;
            self.leaving.push(Leaving {
                number,
                pool,
                reserved,
                drained: false,
                until,
                _raw: raw,
            });
            self.pools.hold(pool);
            self.look_at = self.look_at.min(until);
        } else {
            drop(pair);
            self.poll_queues(host);
            self.free(reserved);
        }
        self.pools.remove(pool, number, &self.keys);
    }

    fn free(&mut self, (queue, entries): (usize, u32)) {
        self.queues[queue].room += entries;
        self.give_back(queue);
    }

    /// The device has reported the last receive of a queue pair; whether that is one of these.
    pub(super) fn has_left(&mut self, number: Qpn) -> bool {
        let mut all = self.leaving.iter_mut();
        let found = all.find(|one| one.number == number);
        if let Some(one) = found {
            one.drained = true;
            self.look_at = self.now;
            return true;
        }
        false
    }

    /// The device will report nothing of these any more.
    pub(super) fn have_left(&mut self, which: impl Fn(&Leaving) -> bool) {
        let these = self.leaving.iter_mut().filter(|one| which(one));
        these.for_each(|one| one.drained = true);
    }

    /// Destroys those that are drained, or had their time; when to look at the others.
    pub(super) fn look_at_leaving(&mut self, now: Duration, host: &mut dyn Host) -> Duration {
        self.destroy_leaving(host, |one| one.drained || now >= one.until);
        let next = self.leaving.iter().map(|one| one.until).min();
        next.unwrap_or(NEVER)
    }

    /// Destroys those of a pool that is gone.
    pub(super) fn destroy_leaving_of(&mut self, pool: usize, host: &mut dyn Host) {
        self.destroy_leaving(host, |one| one.pool == pool);
    }

    fn destroy_leaving(&mut self, host: &mut dyn Host, which: impl Fn(&Leaving) -> bool) {
        if !self.leaving.iter().any(&which) {
            return;
        }
        let all = std::mem::take(&mut self.leaving).into_iter();
        let (gone, rest): (Vec<_>, Vec<_>) = all.partition(which);
        self.leaving = rest;
        let places: Vec<_> = gone.iter().map(|one| (one.pool, one.reserved)).collect();
        drop(gone);
        // What they reported last.
        self.poll_queues(host);
        for (pool, reserved) in places {
            self.free(reserved);
            self.pools.release(pool, &self.keys);
        }
    }
}
