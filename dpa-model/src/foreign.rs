//! Code of others that our threads run, and what becomes of its panics.
//!
//! Wakers ([`sync_event::wake`]) and what launches keep are the host program's. They run where something ends: on a worker, between
//! launches of others, so a panic of theirs ends there; and never on the stack of a kernel, which is small.

#[cfg(not(dpa_loom))]
use std::any::Any;
#[cfg(not(dpa_loom))]
use std::cell::RefCell;
#[cfg(not(dpa_loom))]
use std::panic::{AssertUnwindSafe, catch_unwind};

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
        tracing::error!(target: "doca_dpa", owner, "what it kept panicked when it was dropped");
        discard(payload);
    }
}

#[cfg(not(dpa_loom))]
thread_local! {
    /// What is to be let go of behind what this thread lets go of, if it does.
    static BEHIND: RefCell<Option<Vec<Kept>>> = const { RefCell::new(None) };
}

/// What something kept, and by whose name.
#[cfg(not(dpa_loom))]
type Kept = (&'static str, Box<dyn Any + Send>);

/// As [`let_go`], of something that may be the last that keeps another, and so on, as threads that keep the next of a long row:
/// one after the other, not from within.
// Not inlined, for where it is called the thread may be another before and after.
#[cfg(not(dpa_loom))]
#[inline(never)]
pub(crate) fn let_go_in_turn(owner: &'static str, kept: Box<dyn Any + Send>) {
    let mut next = Some((owner, kept));
    // A thread that ends has no variables any more, and lets go of each where it is.
    let _ = BEHIND.try_with(|behind| match &mut *behind.borrow_mut() {
        Some(queue) => queue.extend(next.take()),
        none => *none = Some(Vec::new()),
    });
    if next.is_none() {
        return;
    }
    let _over = Over;
    while let Some((owner, kept)) = next {
        let_go(owner, || drop(kept));
        let behind = BEHIND.try_with(|behind| behind.borrow_mut().as_mut()?.pop());
        next = behind.ok().flatten();
    }
}

/// This thread has let go of all.
#[cfg(not(dpa_loom))]
struct Over;

#[cfg(not(dpa_loom))]
impl Drop for Over {
    fn drop(&mut self) {
        let _ = BEHIND.try_with(RefCell::take);
    }
}

/// Drops what a panic of foreign code carries. Its destructor, which is foreign too, may panic as well.
#[cfg(not(dpa_loom))]
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Perhaps it panics each time.
        Box::leak(again);
    }
}
