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
pub(super) const MOST_LOOKS: usize = 64;

/// Whether who works a NIC has enough else to do: others go on then.
pub(super) type Enough<'a> = &'a dyn Fn() -> bool;

/// What is done behind the doorbells; whether there was anything.
pub(super) type Progress = fn(&mut Engine, Duration) -> bool;

/// Which queues somebody looks at who works a NIC.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// One, which rings here while no other has; after that all.
    One(Qpn),
    All,
    /// Those of processes of a partition.
    Of(usize),
}

impl Task {
    fn has(self, engine: &Engine, number: Qpn) -> bool {
        let Self::Of(partition) = self else {
            return true;
        };
        let pair = engine.world.pairs.get(number);
        pair.is_none_or(|pair| pair.process.tenancy.partition.index == partition)
    }

    fn after_a_look(self) -> Self {
        match self {
            Self::One(_) => Self::All,
            task => task,
        }
    }
}

/// What came of looking at queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) any: bool,
    /// Some have rung that are for others to look at.
    pub(super) some_left: bool,
}

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
                .begun(now, Task::One(number), Engine::send_and_report, &|| false)
                .opened;
        }
        self.remember(number);
        self.bell.ring()
            && self
                .work(now, Task::All, Engine::send_and_report, &|| false)
                .opened
    }

    /// Works the NIC, if nobody does just now.
    pub(crate) fn poll(&self, now: u64) -> Looked {
        self.poll_for(now, None, &|| false)
    }

    /// The same for one partition, if it is given: queues of others are left to others, and what rings meanwhile, if there is
    /// `enough` else to do.
    pub(crate) fn poll_for(
        &self,
        now: u64,
        partition: Option<usize>,
        enough: Enough<'_>,
    ) -> Looked {
        let task = partition.map_or(Task::All, Task::Of);
        self.work(now, task, Engine::progress, enough)
    }

    pub(super) fn work(
        &self,
        now: u64,
        task: Task,
        progress: Progress,
        enough: Enough<'_>,
    ) -> Looked {
        match self.bell.try_begin() {
            true => self.begun(now, task, progress, enough),
            false => Looked::default(),
        }
    }

    /// Works the NIC, as the one who may.
    fn begun(&self, now: u64, mut task: Task, progress: Progress, enough: Enough<'_>) -> Looked {
        let mut looked = Looked::default();
        if self.stands_still(now) {
            return self.put_off(task);
        }
        // Only who works the NIC counts.
        let looks = self.looks.load(Ordering::Relaxed);
        self.looks.store(looks.wrapping_add(1), Ordering::Relaxed);
        let mut looks_left = MOST_LOOKS;
        let mut foreign = Vec::new();
        loop {
            let mut engine = self.engine.lock();
            let now = Duration::from_nanos(now);
            let rung = self.ring_what_is_for(task, &mut engine, now);
            looked.worked |= rung.any | progress(&mut engine, now);
            let after = engine.take_after();
            self.tell_attendant(&engine);
            let goes_on = engine.is_left();
            match goes_on {
                true => MutexGuard::unlock_fair(engine),
                false => drop(engine),
            }
            looked.opened |= run_own(after, &mut foreign);
            let ended = !goes_on && !rung.some_left && self.bell.end();
            looks_left -= 1;
            // Tasks of the host that are to be woken wait for no other look.
            let goes_on = !rung.some_left && foreign.is_empty() && !enough();
            task = task.after_a_look();
            if !ended && looks_left > 0 && goes_on {
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
            (looks_left, task) = (MOST_LOOKS, Task::All);
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
    fn put_off(&self, task: Task) -> Looked {
        if let Task::One(number) = task {
            self.remember(number);
        }
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

    /// What the task is, of what is left of the turn before and what has rung so far. What rings meanwhile has its turn the next
    /// time, so that who rings without end does not keep the NIC for itself.
    #[inline]
    pub(super) fn ring_what_is_for(&self, task: Task, engine: &mut Engine, now: Duration) -> Rung {
        let mut rung = Rung::default();
        for number in engine.world.turn.next() {
            self.ring_if_for(task, number, engine, now, &mut rung);
        }
        if let Task::One(number) = task {
            rung.any |= engine.ring(now, number);
            return rung;
        }
        for _ in 0..self.rung.len() {
            let Some(number) = self.rung.pop() else { break };
            self.ring_if_for(task, number, engine, now, &mut rung);
        }
        if self.rung_too_often.swap(false, Ordering::AcqRel) {
            rung.any = true;
            engine.ring_every(now);
        }
        rung
    }

    fn ring_if_for(
        &self,
        task: Task,
        number: Qpn,
        engine: &mut Engine,
        now: Duration,
        rung: &mut Rung,
    ) {
        if task.has(engine, number) {
            rung.any = true;
            engine.ring(now, number);
        } else {
            rung.some_left = true;
            self.remember(number);
        }
    }
}
