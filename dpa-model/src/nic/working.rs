//! Who works a NIC, and for how long: a doorbell, a look, and what rings meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::MutexGuard;
use rdma::psn::Qpn;

use super::DeviceNic;
use super::after::{run_all, run_own};
use super::engine::Engine;

/// Doorbells that wait for whoever works a NIC, at most.
pub(super) const MOST_RUNG: usize = 4096;

/// Who works a NIC looks so often, at most, because others ring meanwhile, or what rang takes long. They might ring without end,
/// and what is due by now and what arrives is for its own thread (`attend`, `relief`), which looks next.
pub(super) const MOST_LOOKS: usize = 16;

/// Whether who works a NIC has enough else to do: others go on then.
pub(super) type Enough<'a> = &'a dyn Fn() -> bool;

/// What is done behind the doorbells; whether there was anything.
pub(super) type Progress = fn(&mut Engine, Duration) -> bool;

/// What came of a look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looked {
    /// There was something to do.
    pub(crate) worked: bool,
    /// It may have opened a kernel.
    pub(crate) opened: bool,
}

impl DeviceNic {
    /// A doorbell. `cargo xtask verbs cost` counts its instructions by its name.
    #[inline(never)]
    pub(crate) fn ring(&self, now: u64, number: Qpn) -> bool {
        // What arrives meanwhile is for whoever polls: a doorbell costs no look at the socket.
        if self.bell.try_begin_unrung() {
            return self
                .begun(now, Some(number), Engine::send_and_report, &|| false)
                .opened;
        }
        self.remember(number);
        self.bell.ring() && self.work(now, Engine::send_and_report, &|| false).opened
    }

    /// Works the NIC, if nobody does just now.
    pub(crate) fn poll(&self, now: u64) -> Looked {
        self.poll_until(now, &|| false)
    }

    /// The same, but others go on with what rings meanwhile if there is `enough` else to do.
    pub(crate) fn poll_until(&self, now: u64, enough: Enough<'_>) -> Looked {
        self.work(now, Engine::progress, enough)
    }

    pub(super) fn work(&self, now: u64, progress: Progress, enough: Enough<'_>) -> Looked {
        match self.bell.try_begin() {
            true => self.begun(now, None, progress, enough),
            false => Looked::default(),
        }
    }

    /// Works the NIC, as the one who may: for `alone`, a doorbell that rings here while no other has, or for all.
    fn begun(
        &self,
        now: u64,
        mut alone: Option<Qpn>,
        progress: Progress,
        enough: Enough<'_>,
    ) -> Looked {
        let mut looked = Looked::default();
        if self.stands_still(now) {
            return self.put_off(alone);
        }
        // Only who works the NIC counts.
        let looks = self.looks.load(Ordering::Relaxed);
        self.looks.store(looks.wrapping_add(1), Ordering::Relaxed);
        let mut looks_left = MOST_LOOKS;
        let mut foreign = Vec::new();
        loop {
            let mut engine = self.engine.lock();
            let now = Duration::from_nanos(now);
            for number in engine.world.turn.next() {
                looked.worked |= engine.ring(now, number);
            }
            match alone.take() {
                Some(number) => looked.worked |= engine.ring(now, number),
                None => looked.worked |= self.ring_all(&mut engine, now),
            }
            looked.worked |= progress(&mut engine, now);
            let after = engine.take_after();
            self.tell_attendant(&engine);
            let goes_on = engine.is_left();
            match goes_on {
                true => MutexGuard::unlock_fair(engine),
                false => drop(engine),
            }
            looked.opened |= run_own(after, &mut foreign);
            let ended = !goes_on && self.bell.end();
            looks_left -= 1;
            // Tasks of the host that are to be woken wait for no other look.
            if !ended && looks_left > 0 && foreign.is_empty() && !enough() {
                self.engine.let_others();
                continue;
            }
            let another = !ended && self.has_another();
            if !ended {
                self.bell.leave_rung();
            }
            if another {
                self.call_another();
            }
            looked.opened |= run_all(std::mem::take(&mut foreign));
            // If nobody else looks, it goes on.
            if ended || another || !self.bell.try_begin() {
                return looked;
            }
            looks_left = MOST_LOOKS;
        }
    }

    #[inline]
    fn stands_still(&self, now: u64) -> bool {
        let until = self.stalled_until.load(Ordering::Relaxed);
        if until != 0 && now >= until {
            self.stalled_until.store(0, Ordering::Relaxed);
        }
        now < until
    }

    /// It does nothing until its time is over; doorbells are kept for then.
    #[cold]
    fn put_off(&self, alone: Option<Qpn>) -> Looked {
        alone.into_iter().for_each(|number| self.remember(number));
        while !self.bell.end() {}
        Looked::default()
    }

    /// Keeps a doorbell for whoever works the NIC. Beyond [`MOST_RUNG`] it is only known that some have rung.
    pub(super) fn remember(&self, number: Qpn) {
        match self.rung.len() < MOST_RUNG {
            true => self.rung.push(number),
            false => self.rung_too_often.store(true, Ordering::Release),
        }
    }

    /// Every doorbell that has rung so far; whether there was one. Those that ring meanwhile have their turn the next time, so
    /// that who rings without end does not keep the NIC for itself.
    pub(super) fn ring_all(&self, engine: &mut Engine, now: Duration) -> bool {
        let mut any = false;
        for _ in 0..self.rung.len() {
            let Some(number) = self.rung.pop() else { break };
            any = true;
            engine.ring(now, number);
        }
        if self.rung_too_often.swap(false, Ordering::AcqRel) {
            any = true;
            engine.ring_every(now);
        }
        any
    }
}
