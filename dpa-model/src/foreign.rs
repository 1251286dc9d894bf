//! Code of others that our threads run, and what becomes of its panics.
//!
//! Wakers ([`sync_event::wake`]) and what launches keep are the host program's. They run where something ends: on a worker, between
//! launches of others, so a panic of theirs ends there; and never on the stack of a kernel, which is small.

#[cfg(not(dpa_loom))]
use std::any::Any;
#[cfg(not(dpa_loom))]
use std::cell::RefCell;
#[cfg(not(dpa_loom))]
use std::collections::VecDeque;
#[cfg(not(dpa_loom))]
use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(not(dpa_loom))]
pub(crate) use sync_event::discard;

#[cfg(not(dpa_loom))]
use crate::fiber::Switch;

/// Runs what may run foreign code: on the worker's stack, also if the caller is on that of a kernel, which it can leave by `off`.
#[cfg(not(dpa_loom))]
#[inline]
pub(crate) fn on_own_stack(off: Option<&Switch>, run: impl FnOnce()) {
    match off {
        Some(switch) => switch.on_parent_stack(run),
        None => run(),
    }
}

/// Lets go of what something kept: a launch or a handler, by the name of its kernel. If that panics, it is logged, and nobody misses
/// anything else.
#[inline]
pub(crate) fn let_go(owner: &str, drop_it: impl FnOnce()) {
    // Under loom a panic is a model that fails.
    #[cfg(dpa_loom)]
    {
        let _ = owner;
        drop_it();
    }
    #[cfg(not(dpa_loom))]
    if let Err(payload) = catch_unwind(AssertUnwindSafe(drop_it)) {
        tell(
            || tracing::error!(target: "doca_dpa", owner, "what it kept panicked when it was dropped"),
        );
        discard(payload);
    }
}

/// Tells the host program's subscriber of something. That may panic, too (one that writes to a pipe nobody reads does): then nobody
/// hears of it.
#[cfg(not(dpa_loom))]
pub(crate) fn tell(say: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(say)) {
        discard(payload);
    }
}

#[cfg(not(dpa_loom))]
type Task = Box<dyn FnOnce()>;

#[cfg(not(dpa_loom))]
thread_local! {
    /// What is to be done behind what this thread does in turn, if it does something.
    static BEHIND: RefCell<Option<VecDeque<Task>>> = const { RefCell::new(None) };
}

/// Does something that may lead to the same again, and so on: closing an event ends the launches that wait for it, which may have been
/// the last publishers of others; a thread keeps the next of a long row. Such a row is as long as memory lasts, where a stack is not
/// as deep. So a thread that does one already only notes the next; whoever came first does them all, before it returns. `off`: the
/// caller is on the stack of a kernel.
// Not inlined, for where it is called the thread may be another before and after.
#[cfg(not(dpa_loom))]
#[inline(never)]
pub(crate) fn in_turn(off: Option<&Switch>, task: impl FnOnce() + 'static) {
    let mut first = Some(task);
    // A thread that ends has no variables any more, and does each where it is.
    let _ = BEHIND.try_with(|behind| match &mut *behind.borrow_mut() {
        Some(queue) => queue.extend(first.take().map(|task| Box::new(task) as Task)),
        none => *none = Some(VecDeque::new()),
    });
    let Some(first) = first else { return };
    let _over = Over;
    on_own_stack(off, || {
        first();
        let next =
            |behind: &RefCell<Option<VecDeque<Task>>>| behind.borrow_mut().as_mut()?.pop_front();
        while let Ok(Some(task)) = BEHIND.try_with(next) {
            task();
        }
    });
}

/// This thread has done all.
#[cfg(not(dpa_loom))]
struct Over;

#[cfg(not(dpa_loom))]
impl Drop for Over {
    fn drop(&mut self) {
        let _ = BEHIND.try_with(RefCell::take);
    }
}

/// As [`let_go`], of what may be the last that keeps another, and so on: [`in_turn`].
#[cfg(not(dpa_loom))]
pub(crate) fn let_go_in_turn(owner: &'static str, kept: Box<dyn Any + Send>) {
    in_turn(None, move || let_go(owner, || drop(kept)));
}
