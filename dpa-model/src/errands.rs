//! What comes due by the clock and may take long: wakers, which are foreign, what needs the lock of a NIC, and the end of a
//! process. The keeper has it done by threads of their own, for it keeps the time of everybody.
//!
//! Rules:
//! 1. What is due for one process is done in order, by one thread at a time. So who takes long holds up their own process only.
//! 2. A thread is started when there is something for which none is free: so there are no more than processes for which there is
//!    something, and [`MOST`] at most. One that has had nothing for [`LINGER`] ends.
//! 3. Of each process there are two errands at most: one that does what is late by then
//!    ([`Clock::waking`](crate::clock::Clock::waking)), and one that ends it.
//! 4. Who posts does not wait, but where the system has no thread to give: then it does everything itself. When the keeper ends, what
//!    is posted is done still, and nobody waits for that.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::foreign::discard;

/// Threads at a time: so many processes, also such as are closed by now, can take long at once without a delay for others.
const MOST: usize = 1024;
/// How long a thread waits for more.
const LINGER: Duration = Duration::from_secs(1);

/// Something to be done.
pub(crate) type Errand = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// By process, what is to be done. Who stands here has a thread, or waits for one in `next`.
    of: HashMap<u32, VecDeque<Errand>>,
    next: VecDeque<u32>,
    threads: usize,
    /// Threads that wait for something.
    free: usize,
    over: bool,
}

struct Inner {
    state: Mutex<State>,
    more: Condvar,
    most: usize,
}

/// The errands of a keeper. When this is dropped, the threads end when they have done what there is.
pub(crate) struct Errands(Arc<Inner>);

impl Default for Errands {
    fn default() -> Self {
        Self::with(MOST)
    }
}

impl Errands {
    /// With so many threads at most.
    fn with(most: usize) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            more: Condvar::new(),
            most,
        }))
    }

    /// Has this done for a process.
    pub(crate) fn post(&self, process: u32, errand: Errand) {
        let mut state = self.0.state.lock();
        let waits = state.of.get_mut(&process);
        if let Some(waiting) = waits {
            waiting.push_back(errand);
            return;
        }
        state.of.insert(process, VecDeque::from([errand]));
        state.next.push_back(process);
        if state.free >= state.next.len() {
            self.0.more.notify_one();
        } else if state.threads < self.0.most {
            state.threads += 1;
            drop(state);
            self.start();
        }
    }

    fn start(&self) {
        let inner = self.0.clone();
        let thread = std::thread::Builder::new().name("dpa-errands".into());
        if thread.spawn(move || inner.run(LINGER)).is_err() {
            // There is none to be had: later is better than never.
            self.0.run(Duration::ZERO);
        }
    }
}

impl Drop for Errands {
    fn drop(&mut self) {
        self.0.state.lock().over = true;
        self.0.more.notify_all();
    }
}

fn run(errand: Errand) {
    // Of what is foreign, others miss nothing.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(errand)) {
        discard(payload);
    }
}

impl Inner {
    /// Does what there is, as one of the threads, until there has been nothing for so long.
    fn run(&self, linger: Duration) {
        let mut state = self.state.lock();
        while let Some(process) = self.next(&mut state, linger) {
            let errands = state.of.get_mut(&process).map(std::mem::take);
            MutexGuard::unlocked(&mut state, || {
                errands.into_iter().flatten().for_each(run);
            });
            match state.of.get(&process).is_some_and(|more| !more.is_empty()) {
                true => state.next.push_back(process),
                false => drop(state.of.remove(&process)),
            }
        }
        state.threads -= 1;
    }

    /// Waits for a process for which there is something; `None`: this thread is not needed any more.
    fn next(&self, state: &mut MutexGuard<'_, State>, linger: Duration) -> Option<u32> {
        loop {
            if let Some(process) = state.next.pop_front() {
                return Some(process);
            }
            if state.over || linger.is_zero() {
                return None;
            }
            state.free += 1;
            let waited = self.more.wait_for(state, linger);
            state.free -= 1;
            if waited.timed_out() && state.next.is_empty() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Instant;

    const LIMIT: Duration = Duration::from_secs(60);

    fn next<T>(from: &Receiver<T>) -> T {
        from.recv_timeout(LIMIT).expect("in time")
    }

    #[test]
    fn who_takes_long_holds_up_its_own_process_only() {
        let errands = Errands::default();
        let (say, said) = channel();
        let (let_go, gate) = channel::<()>();
        errands.post(7, Box::new(move || next(&gate)));
        for n in 0..3 {
            let say = say.clone();
            errands.post(7, Box::new(move || say.send((7, n)).expect("listens")));
        }
        for process in [8, 9] {
            for n in 0..3 {
                let say = say.clone();
                errands.post(
                    process,
                    Box::new(move || say.send((process, n)).expect("listens")),
                );
            }
        }
        let mut first: Vec<_> = (0..6).map(|_| next(&said)).collect();
        first.sort_unstable();
        assert_eq!(first, [(8, 0), (8, 1), (8, 2), (9, 0), (9, 1), (9, 2)]);
        let_go.send(()).expect("it waits");
        assert_eq!([(); 3].map(|()| next(&said)), [(7, 0), (7, 1), (7, 2)]);
    }

    #[test]
    fn what_is_posted_is_done_after_the_end_and_the_threads_end() {
        let errands = Errands::default();
        let inner = errands.0.clone();
        let (say, said) = channel();
        let (let_go, gate) = channel::<()>();
        errands.post(1, Box::new(move || next(&gate)));
        errands.post(1, Box::new(move || say.send("done").expect("listens")));
        drop(errands);
        let_go.send(()).expect("it waits");
        assert_eq!(next(&said), "done");
        let begun = Instant::now();
        while inner.state.lock().threads > 0 {
            assert!(begun.elapsed() < LIMIT, "it ends");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(inner.state.lock().of.is_empty());
    }

    #[test]
    fn threads_are_few_however_many_take_long() {
        const MOST: usize = 8;
        let errands = Errands::with(MOST);
        let (say, said) = channel();
        let gates: Vec<_> = (0..MOST as u32 + 3)
            .map(|process| {
                let (let_go, gate) = channel::<()>();
                let say = say.clone();
                let errand = move || {
                    next(&gate);
                    say.send(process).expect("listens");
                };
                errands.post(process, Box::new(errand));
                let_go
            })
            .collect();
        assert_eq!(errands.0.state.lock().threads, MOST);
        for let_go in &gates {
            let_go.send(()).expect("it waits, or will");
        }
        let mut all: Vec<u32> = gates.iter().map(|_| next(&said)).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..MOST as u32 + 3));
    }

    #[test]
    fn many_that_take_long_hold_up_nobody_else() {
        let errands = Errands::default();
        let stuck: Vec<_> = (0..100)
            .map(|process| {
                let (let_go, gate) = channel::<()>();
                errands.post(process, Box::new(move || _ = gate.recv()));
                let_go
            })
            .collect();
        let (say, said) = channel();
        errands.post(100, Box::new(move || say.send(()).expect("listens")));
        next(&said);
        drop(stuck);
    }
}
